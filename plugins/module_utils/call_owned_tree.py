# SPDX-License-Identifier: MIT
"""The Ansible module owned_tree: its arguments, and one call of it."""

from __future__ import annotations

from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.items import converge_items
from ansible_collections.wcp360.hosting.plugins.module_utils.owned_tree import Entry, OwnedTree

OWNER = {"uid": {"type": "int"}, "gid": {"type": "int"}}
DIRECTORY = {"path": {"type": "str", "required": True}, "mode": {"type": "str", "default": "0750"}, **OWNER}
SEED = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str", "default": ""},
    "mode": {"type": "str", "default": "0640"},
    "only_with": {"type": "str", "required": True},
    **OWNER,
}
ITEM = {
    "id": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "base": {"type": "path", "required": True},
    "owner_uid": {"type": "int", "required": True},
    "owner_gid": {"type": "int", "required": True},
    "directories": {"type": "list", "elements": "dict", "options": DIRECTORY, "default": []},
    "seeds": {"type": "list", "elements": "dict", "options": SEED, "default": []},
    "path": {"type": "str", "default": ""},
    "trash": {"type": "path"},
    "trash_name": {"type": "str", "default": ""},
    "purge": {"type": "bool", "default": False},
}
ARGUMENTS = {
    "items": {"type": "list", "elements": "dict", "options": ITEM, "required": True},
    "lock_timeout": {"type": "int", "default": 60},
}


def run(module: Any) -> None:
    """Converge the trees, or preview that, and end with one result for each item."""
    coming: dict[str, Entry] = {}
    converge_items(module, lambda item: OwnedTree(item, module.check_mode, coming).plan())
