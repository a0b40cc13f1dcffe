"""The rules of WCP360: operations, their registry and the one door. No I/O and no framework lives here."""
