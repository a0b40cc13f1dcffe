"""WCP360: a hosting control panel in which every change to a server is an Ansible run."""

__version__ = "0.1.0"
