"""The command ``wcp360``: built from a manifest, speaks HTTP to the server, and imports nothing of it at run time."""
