# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Filters of the role tenant: from its list of accounts to the items of the Ansible modules that converge them."""

from __future__ import annotations

from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.values import truth

#: What the module ``accounts`` takes of an account.
ACCOUNT_KEYS = ("id", "name", "state", "uid", "gid", "comment", "home", "shell", "authorized_keys")
#: Directories that every home has: name, mode, and whether the web server's group may enter.
HOME_DIRECTORIES = (("web", "0750", True), ("tmp", "0700", False), ("sessions", "0700", False), (".ssh", "0700", False))

Item = dict[str, Any]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"tenant_steps": tenant_steps}


def tenant_steps(accounts: list[Item], options: Item, part: str = "tenant") -> list[Item]:
    """Return the steps that bring accounts about, for the Ansible module steps.

    ``part`` keeps the keys of two lists apart that one call does. ``options['keys']`` is empty where the tree of SSH
    keys goes as a whole.
    """
    users = {
        "group": options["group"],
        "sftp_group": options["sftp_group"],
        "home_base": options["home_base"],
        "items": [{**_complete(account, options), "refuse": _bad_purge(account)} for account in accounts],
    }
    sound = [_sound(account, options) for account in accounts if not _bad_purge(account)]
    links = {"after": [f"{part}.users"], "owners": f"{part}.users"}
    homes = {"items": [_tree(account, options) for account in sound]}
    keys = {"path": options["keys"], "items": [_keys(account) for account in sound], "directory_mode": "0711"}
    steps = [
        _step(part, "users", "Converge the users", "accounts", users),
        _step(part, "homes", "Converge the homes", "owned_tree", homes, **links),
    ]
    return steps + (
        [_step(part, "keys", "Write the SSH keys", "config_tree", keys, **links)] if options["keys"] else []
    )


def _step(part: str, key: str, name: str, use: str, args: Item, **links: Any) -> Item:
    return {"key": f"{part}.{key}", "name": name, "role": "tenant", "use": use, "args": args, **links}


def _tree(account: Item, options: Item) -> Item:
    """Return an item of ``owned_tree``; the step before finds out whose uid and gid the account has."""
    base = str(options["home_base"])
    home = account["home"][len(base) + 1 :]
    tree = {"id": account["id"], "account": account["name"], "base": base}
    if account["state"] != "absent":
        return {**tree, **_home(home, options)}
    trash = {"trash": f"{base}/.wcp360-trash", "trash_name": f"{account['name']}-{{uid}}"}
    return {**tree, "state": "absent", "path": home, "purge": account["purge"], **trash}


def _keys(account: Item) -> Item:
    """Return an item of ``config_tree``: one root-owned file of public keys for an account that has any."""
    if account["state"] == "absent" or not account["authorized_keys"]:
        return {"id": account["id"], "state": "absent"}
    content = "".join(f"{key}\n" for key in account["authorized_keys"])
    # sshd reads it as the account itself, and nobody else has to.
    file = {"path": account["name"], "content": content, "mode": "0640"}
    return {"id": account["id"], "account": account["name"], "files": [file]}


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


def _sound(account: Item, options: Item) -> Item:
    return {**_complete(account, options), "purge": truth(account.get("purge"), "purge")}


def _bad_purge(account: Item) -> str:
    try:
        truth(account.get("purge"), "purge")
    except ValueError as error:
        return f"The account {account.get('name')} was left as it is. {error}"
    return ""


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
