"""Where tenants live on a node; what the role ``tenant`` makes and what the other roles are told has to agree."""

from __future__ import annotations

HOME_BASE = "/home"


def home_of(name: str) -> str:
    """Return the home directory of a tenant."""
    return f"{HOME_BASE}/{name}"
