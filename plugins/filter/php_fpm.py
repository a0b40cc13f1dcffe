# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Filters of the role php_fpm: from its list of pools to the items of the Ansible modules that converge them."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.php_settings import SettingError, directives
from ansible_collections.wcp360.hosting.plugins.module_utils.values import whole

NAME = re.compile(r"[a-z][a-z0-9]{2,15}", re.ASCII)
HOME = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+", re.ASCII)
#: Below are the system's own accounts (Debian policy 9.2.2), among them www-data, which may open every socket.
LOWEST_ID = 1000
HIGHEST_ID = 4_294_967_293
MOST_CHILDREN = 200


class PoolError(ValueError):
    """A pool cannot be made; the message is a sentence for people."""


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"php_fpm_steps": php_fpm_steps, "php_fpm_gone": php_fpm_gone}


def php_fpm_steps(pools: list[dict[str, Any]], options: dict[str, Any], part: str = "php_fpm") -> list[dict[str, Any]]:
    """Return the steps that bring pools about, for the Ansible module steps.

    ``part`` keeps the keys of two lists apart that one call does.
    """
    items = _items(pools, options)
    written = {
        "path": options["tree"],
        "items": items["tree"],
        "directory_mode": "0711",
        "checker": {
            "service": "PHP-FPM",
            "argv": [options["program"], "--test", "--fpm-config", "{file}"],
            "per_file": True,
            "together": "include={file}",
        },
    }

    def step(key: str, name: str, use: str, args: dict[str, Any], **links: Any) -> dict[str, Any]:
        return {"key": f"{part}.{key}", "name": name, "role": "php_fpm", "use": use, "args": args, **links}

    return [
        step("made", "Make the pools' directories", "owned_tree", {"items": items["directories"]}),
        step("written", "Write the pools' configuration", "config_tree", written, after=[f"{part}.made"]),
        step(
            "running",
            "Have the masters run what is written",
            "instances",
            {"items": items["instances"]},
            after=[f"{part}.made"],
            generations=f"{part}.written",
        ),
        step(
            "removed",
            "Remove the directories of pools that are gone",
            "owned_tree",
            {"items": items["removals"]},
            after=[f"{part}.running"],
        ),
    ]


def php_fpm_gone(pools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the items of ``config_tree`` of the pools that go away."""
    return [
        {"id": str(pool.get("id") or pool.get("name")), "state": "absent"}
        for pool in pools
        if pool.get("state") == "absent"
    ]


def _items(pools: list[dict[str, Any]], options: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the items of ``owned_tree``, ``config_tree`` and ``instances`` for ``pools``.

    Each pool is checked by grammar and bounds. A bad one becomes an item that its module refuses with a sentence, so
    that it fails alone and keeps what was applied last.
    """
    items: dict[str, list[dict[str, Any]]] = {"directories": [], "removals": [], "tree": [], "instances": []}
    for given in pools:
        pool = {"state": "present", "settings": {}, **given}
        pool["id"] = str(pool.get("id") or pool.get("name"))
        try:
            _check_identity(pool)
        except PoolError as error:
            items["tree"].append({"id": pool["id"], "refuse": str(error)})
            continue
        written = _tree_item(pool, options)
        items["tree"].append(written)
        items["instances"].append(_instance(pool, options))
        if pool["state"] == "absent":
            items["removals"] += _removals(pool, options)
        elif "refuse" not in written:
            items["directories"] += _directories(pool, options)
    return items


def _check_identity(pool: dict[str, Any]) -> None:
    name, home = str(pool.get("name")), str(pool.get("home"))
    if not NAME.fullmatch(name):
        raise PoolError(f"The pool's name is {name[:60]!r}: give 3 to 16 of a-z and 0-9, a letter first.")
    if pool["state"] not in ("present", "suspended", "absent"):
        raise PoolError(f"The state of pool {name} is {str(pool['state'])[:60]!r}: give present, suspended or absent.")
    if not HOME.fullmatch(home) or len(home) > 200:
        raise PoolError(f"The home of pool {name} is {home[:60]!r}: give an absolute path of plain characters.")
    for key in ("uid", "gid"):
        pool[key] = _whole(pool.get(key), LOWEST_ID, HIGHEST_ID, f"The {key} of pool {name}")


def _whole(value: Any, low: int, high: int, what: str) -> int:
    number = whole(value)
    if number is None or not low <= number <= high:
        raise PoolError(f"{what} is {str(value)[:60]!r}: give a whole number from {low} to {high}.")
    return number


def _tree_item(pool: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    if pool["state"] == "absent":
        return {"id": pool["id"], "state": "absent"}
    try:
        children = pool.get("max_children") or options["max_children"]
        variables = {
            **{key: pool[key] for key in ("name", "uid", "gid", "home")},
            "max_children": _whole(children, 1, MOST_CHILDREN, "max_children"),
            "directives": directives(pool["settings"] or {}),
            "state_directory": f"{options['state_directory']}/{pool['name']}",
        }
    except (SettingError, PoolError) as error:
        return {"id": pool["id"], "refuse": f"Pool {pool['name']}: {error}"}
    file = {"path": f"{pool['name']}.conf", "template": "pool.conf.j2", "variables": {"php_fpm_values": variables}}
    return {"id": pool["id"], "files": [{**file, "mode": "0640", "group": str(pool["gid"])}]}


def _directories(pool: dict[str, Any], options: dict[str, Any]) -> list[dict[str, Any]]:
    owners = {"owner_uid": pool["uid"], "owner_gid": pool["gid"], "id": pool["id"]}
    state = {"path": pool["name"], "mode": "0710", "uid": 0, "gid": options["web_gid"]}
    # The group goes to the log, which root's service manager makes: the tenant reads it and cannot write to it.
    log = {"path": pool["name"], "mode": "2750", "uid": 0, "gid": pool["gid"]}
    return [
        {**owners, "base": options["state_directory"], "directories": [state]},
        {**owners, "base": options["log_directory"], "directories": [log]},
    ]


def _removals(pool: dict[str, Any], options: dict[str, Any]) -> list[dict[str, Any]]:
    owners = {"owner_uid": pool["uid"], "owner_gid": pool["gid"], "id": pool["id"], "path": pool["name"]}
    bases = (options["state_directory"], options["log_directory"])
    return [{**owners, "base": base, "state": "absent", "trash": f"{base}/.trash", "purge": True} for base in bases]


def _instance(pool: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    name = pool["name"]
    state = f"{options['state_directory']}/{name}"
    log = f"{options['log_directory']}/{name}/error.log"
    return {
        "id": pool["id"],
        "name": f"php-{name}",
        "state": {"present": "started", "suspended": "stopped", "absent": "absent"}[pool["state"]],
        "unit": f"wcp360-php@{name}.service",
        "socket_unit": f"wcp360-php@{name}.socket",
        "on_demand": True,
        "boot_file": f"{state}/boot",
        "executable": options["program"],
        "ask": {"fastcgi": {"socket": f"{state}/status.sock", "path": "/ping"}},
        "wait": options["wait"],
        "error_log": log,
        "command": _command(pool, options, state, log),
    }


def _command(pool: dict[str, Any], options: dict[str, Any], state: str, log: str) -> dict[str, Any]:
    lock = f"opcache.lockfile_path={pool['home']}/tmp"  # noqa: S108
    file = f"{options['tree']}/current/{pool['name']}.conf"
    return {
        "argv": [options["program"], "--nodaemonize", "--force-stderr", "-d", lock, "--fpm-config", file],
        "uid": pool["uid"],
        "gid": pool["gid"],
        "output": log,
        "reload_signal": "USR2",
        "stop_signal": "QUIT",
        "sockets": [
            {"path": f"{state}/fpm.sock", "gid": options["web_gid"], "mode": "0660"},
            {"path": f"{state}/status.sock", "gid": 0, "mode": "0600"},
        ],
        "sockets_variable": "FPM_SOCKETS",
    }
