"""Let Ansible find this checkout as the collection wcp360.hosting."""

from __future__ import annotations

from pathlib import Path

from .common import CHECKOUT, locked


def link() -> Path:
    """Have `.ansible/collections` in the checkout point back at it; returns the path for ANSIBLE_COLLECTIONS_PATH.

    The place is the one where ansible-lint looks for a linked collection.
    """
    collections = CHECKOUT / ".ansible" / "collections"
    place = collections / "ansible_collections" / "wcp360" / "hosting"
    with locked("collection"):
        if not (place.is_symlink() and place.resolve() == CHECKOUT):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(CHECKOUT)
    return collections
