"""The request file that ``playbooks/converge.yml`` reads: a fixed list of keys, values that Ansible never evaluates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from wcp360.core.resources import RoleItem

VERSION = 2
SERVER_ROLES = ("tenant", "php_fpm", "nginx")
LISTS = ("tenant_accounts", "php_fpm_pools", "nginx_sites")
SERVER = "server"


def build_request(items: Iterable[RoleItem], facts: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Merge role items into one request.

    ``facts`` are those of the node as the panel remembers them, or none where the run shall look at it first; a run
    that changes the node's server level has to, because it changes them.

    Raises ValueError for a variable that is not on the fixed list: a caller's value never becomes a key.
    """
    server: dict[str, Any] = dict.fromkeys(SERVER_ROLES, False)
    lists: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS}
    for item in items:
        if item.variable == SERVER:
            _merge_server(server, item)
        elif item.variable in lists:
            lists[item.variable].append(dict(item.value))
        else:
            raise ValueError(f"{item.variable!r} is not a variable of the request file.")
    known = {} if any(server.values()) else dict(facts)
    return {"version": VERSION, "facts": known, "server": server, **lists}


def _merge_server(server: dict[str, Any], item: RoleItem) -> None:
    for role, wanted in item.value.items():
        if role not in server:
            raise ValueError(f"{role!r} is not a role of the request file.")
        server[role] = wanted
