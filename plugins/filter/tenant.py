# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Filters of the role tenant: from its list of accounts to the items of the Ansible modules that converge them."""

from __future__ import annotations

from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.values import truth

DOCUMENTATION = r"""
name: tenant_accounts
short_description: Complete the role's list of accounts with the role's defaults
version_added: "0.1.0"
author: WCP360 contributors (@wcp360)
description:
  - Fills in O(options.shell), the home and the id where an account has none.
options:
  _input: {description: The accounts., type: list, elements: dict, required: true}
  options: {description: The role's options for all accounts., type: dict, required: true}
"""

RETURN = r"""
_value:
  description: Items for the Ansible module accounts.
  type: list
"""

#: What the module ``accounts`` takes of an account.
ACCOUNT_KEYS = ("id", "name", "state", "uid", "gid", "comment", "home", "shell", "authorized_keys")
#: Directories that every home has: name, mode, and whether the web server's group may enter.
HOME_DIRECTORIES = (("web", "0750", True), ("tmp", "0700", False), ("sessions", "0700", False), (".ssh", "0700", False))

Item = dict[str, Any]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"tenant_accounts": tenant_accounts, "tenant_trees": tenant_trees, "tenant_keys": tenant_keys}


def tenant_accounts(accounts: list[Item], options: Item) -> list[Item]:
    """Return items for ``accounts`` with the role's defaults filled in."""
    return [{**_complete(account, options), "refuse": _bad_purge(account)} for account in accounts]


def tenant_trees(accounts: list[Item], converged: Item, options: Item) -> list[Item]:
    """Return items of ``owned_tree``: the homes of accounts that ``converged`` (the result of ``accounts``) took."""
    trees = []
    for account in _sound(accounts, converged, options):
        known = converged["accounts"][account["name"]]
        base = str(options["home_base"])
        tree: Item = {
            "id": account["id"],
            "base": base,
            # -1 is nobody's: a home whose owner is not known any more is left alone, with a sentence.
            "owner_uid": -1 if known["uid"] is None else known["uid"],
            "owner_gid": -1 if known["gid"] is None else known["gid"],
        }
        home = account["home"][len(base) + 1 :]
        trees.append({**tree, **(_removal(account, home, tree) if _absent(account) else _home(home, options))})
        if _absent(account):
            trees[-1]["trash"] = f"{base}/.wcp360-trash"
    return trees


def tenant_keys(accounts: list[Item], converged: Item, options: Item) -> list[Item]:
    """Return items of ``config_tree``: one root-owned file of public keys for each account that has any."""
    items = []
    for account in _sound(accounts, converged, options):
        gid = converged["accounts"][account["name"]]["gid"]
        if _absent(account) or not account["authorized_keys"]:
            items.append({"id": account["id"], "state": "absent"})
            continue
        content = "".join(f"{key}\n" for key in account["authorized_keys"])
        # sshd reads it as the account itself, and nobody else has to.
        file = {"path": account["name"], "content": content, "mode": "0640", "group": str(gid)}
        items.append({"id": account["id"], "files": [file]})
    return items


def _complete(account: Item, options: Item) -> Item:
    name = str(account.get("name", ""))
    item = {key: account[key] for key in ACCOUNT_KEYS if account.get(key) is not None}
    item.setdefault("id", name)
    item.setdefault("shell", options["shell"])
    item.setdefault("state", "present")
    item.setdefault("authorized_keys", [])
    if not item.get("home"):
        item["home"] = f"{options['home_base']}/{name}"
    item["name"] = name
    return item


def _sound(accounts: list[Item], converged: Item, options: Item) -> list[Item]:
    failed = {result["id"] for result in converged["items"] if result["failed"]}
    sound = [(_complete(account, options), account) for account in accounts if not _bad_purge(account)]
    return [
        {**completed, "purge": truth(given.get("purge"), "purge")}
        for completed, given in sound
        if completed["id"] not in failed
    ]


def _bad_purge(account: Item) -> str:
    try:
        truth(account.get("purge"), "purge")
    except ValueError as error:
        return f"The account {account.get('name')} was left as it is. {error}"
    return ""


def _absent(account: Item) -> bool:
    return bool(account["state"] == "absent")


def _removal(account: Item, home: str, tree: Item) -> Item:
    trash_name = f"{account['name']}-{tree['owner_uid']}"
    return {"state": "absent", "path": home, "trash_name": trash_name, "purge": account["purge"]}


def _home(home: str, options: Item) -> Item:
    web_gid = int(options["web_gid"])
    directories: list[Item] = [{"path": home, "mode": "0711"}]
    for name, mode, for_web in HOME_DIRECTORIES:
        group = {"gid": web_gid} if for_web else {}
        directories.append({"path": f"{home}/{name}", "mode": mode, **group})
    seeds = [
        {
            "path": f"{home}/{seed['path']}",
            "content": seed["content"],
            "mode": seed.get("mode", "0644"),
            "only_with": home,
        }
        for seed in options["skeleton"]
    ]
    return {"directories": directories, "seeds": seeds}
