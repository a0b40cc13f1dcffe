"""Where tenants live on a node; what the role ``tenant`` makes and what the other roles are told has to agree."""

from __future__ import annotations

HOME_BASE = "/home"
# What is removed and not purged is kept here for a while.
HOME_TRASH = f"{HOME_BASE}/.wcp360-trash"


def home_of(name: str) -> str:
    """Return the home directory of a tenant."""
    return f"{HOME_BASE}/{name}"
