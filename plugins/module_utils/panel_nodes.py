# SPDX-License-Identifier: MIT
"""From what a panel answers about a node to the variables of a host.

Ansible hands connection variables to a shell and to ssh, so each is checked against its grammar here, however well the
panel was guarded.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.panel_api import PanelError

LISTS = ("tenant_accounts", "php_fpm_pools", "nginx_sites")
ROLES = ("tenant", "php_fpm", "nginx")
_GRAMMAR = {
    "name": r"[a-z0-9][a-z0-9.-]{0,252}",
    "address": r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|[0-9A-Fa-f:]{2,39}(%[A-Za-z0-9.]{1,15})?",
    "user": r"[a-z_][a-z0-9_-]{0,31}",
    "host_key": r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/]{40,4096}={0,3}( [^\x00-\x1f\x7f]*)?",
    "interpreter": r"/[A-Za-z0-9._/-]{1,250}",
    "identity_file": r"(/[A-Za-z0-9._/-]{1,250})?",
}


def connection(node: dict[str, Any], private_key_file: str) -> dict[str, Any]:
    """Return the variables by which Ansible reaches a node. Raises PanelError for a value that cannot be one."""
    variables: dict[str, Any] = {"ansible_python_interpreter": _checked(node, "interpreter")}
    name = _checked(node, "name")
    if node.get("connection") == "local":
        return variables | {"ansible_connection": "local"}
    if node.get("connection") != "ssh":
        raise PanelError(
            f"The node {name} is connected by {node.get('connection')!r}, which this collection does not know."
        )
    user = _checked(node, "user")
    variables |= {
        "ansible_connection": "ssh",
        "ansible_host": _checked(node, "address"),
        "ansible_port": _port(node),
        "ansible_user": user,
        "ansible_ssh_common_args": _pinned(name, _checked(node, "host_key")),
    }
    if user != "root":
        variables |= {"ansible_become": True, "ansible_become_method": "sudo"}
    key = private_key_file or _checked(node, "identity_file")
    return variables | ({"ansible_ssh_private_key_file": key} if key else {})


def server_states(wanted: dict[str, Any]) -> dict[str, str]:
    """Return the variables *_server_state for an entry ``server``: the roles that it names are present or absent."""
    unknown = sorted(set(wanted) - set(ROLES))
    if unknown:
        raise PanelError(f"The panel names a role {unknown[0]!r}, which this collection does not have. Update it.")
    states = {True: "present", "absent": "absent"}
    return {f"{role}_server_state": states[value] for role, value in wanted.items() if value in states}


def unmanaged() -> dict[str, str]:
    """Return the variables *_server_state for a node on which the panel has set up nothing for itself."""
    return {f"{role}_server_state": "unmanaged" for role in ROLES}


def _pinned(name: str, host_key: str) -> str:
    """Return SSH options that accept this host key and no other, without a file (KnownHostsCommand, OpenSSH 8.5)."""
    kind, data = host_key.split(" ")[:2]
    options = {
        "KnownHostsCommand": f"/bin/echo {name} {kind} {data}",
        "HostKeyAlias": name,
        "UserKnownHostsFile": "/dev/null",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
    }
    return " ".join(f"-o {shlex.quote(f'{key}={value}')}" for key, value in options.items())


def _checked(node: dict[str, Any], field: str) -> str:
    value = node.get(field)
    if not isinstance(value, str) or re.fullmatch(_GRAMMAR[field], value, re.ASCII) is None:
        raise PanelError(f"The panel's node {node.get('name')!r} has {value!r} for {field}, which cannot be one.")
    return value


def _port(node: dict[str, Any]) -> int:
    value = node.get("port")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        raise PanelError(f"The panel's node {node.get('name')!r} has {value!r} for port, which cannot be one.")
    return value
