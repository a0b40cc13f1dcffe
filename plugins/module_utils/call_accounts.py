# SPDX-License-Identifier: MIT
"""The Ansible module accounts: its arguments, and one call of it."""

from __future__ import annotations

from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.accounts import Accounts, Groups
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError, Step, converge_items

ITEM = {
    "id": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "suspended", "absent"], "default": "present"},
    "uid": {"type": "int"},
    "gid": {"type": "int"},
    "comment": {"type": "str", "default": ""},
    "home": {"type": "str", "required": True},
    "shell": {"type": "str", "default": "/usr/sbin/nologin"},
    "authorized_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "refuse": {"type": "str", "default": ""},
}
ARGUMENTS = {
    "group": {"type": "str", "default": "wcp360-tenants"},
    "sftp_group": {"type": "str", "default": "wcp360-sftp"},
    "home_base": {"type": "str", "default": ""},
    "items": {"type": "list", "elements": "dict", "options": ITEM, "required": True},
    "lock_timeout": {"type": "int", "default": 60},
}


def run(module: Any) -> None:
    """Converge the accounts, or preview that, and end with one result for each item."""
    groups = Groups(module.params["group"], module.params["sftp_group"])
    accounts = Accounts(groups, module.params["home_base"].rstrip("/"), module.check_mode)

    def plan(item: dict[str, Any]) -> list[Step]:
        if item["refuse"]:
            raise ItemError(item["refuse"])
        return accounts.plan(item)

    converge_items(module, plan, lambda: {"accounts": accounts.ids})
