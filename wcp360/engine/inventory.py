"""The inventory of a run: exactly one host, with its connection pinned.

Ansible takes inventory values for trusted templates and hands some of them to a shell, so everything is checked
against its grammar here again, however well the database was guarded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic

from wcp360.core.fields import AbsolutePath, HostAddress, NodeName
from wcp360.core.sshkeys import normalise_key


class Node(pydantic.BaseModel):
    """How a node is reached. Unknown members are ignored: the node's own specification may say more."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    name: NodeName
    connection: Literal["local", "ssh"] = "local"
    address: HostAddress | None = None
    port: int = pydantic.Field(default=22, ge=1, le=65535)
    user: str = pydantic.Field(default="root", pattern=r"^[a-z_][a-z0-9_-]{0,31}$")
    host_key: str = ""
    identity_file: AbsolutePath = ""
    interpreter: AbsolutePath = "/usr/bin/python3"

    @pydantic.field_validator("address", mode="before")
    @classmethod
    def _no_address(cls, value: object) -> object:
        return value or None


def read_node(values: Mapping[str, Any]) -> Node:
    """Check a node's specification. Raises ValueError with a sentence that names what is wrong."""
    try:
        node = Node.model_validate(dict(values))
    except pydantic.ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"The node's {'.'.join(map(str, first['loc']))} is not valid: {first['msg']}.") from error
    if node.connection == "ssh":
        if node.address is None:
            raise ValueError(f"Node {node.name} is reached by SSH but has no address; give it one.")
        try:
            normalise_key(node.host_key)
        except ValueError as error:
            raise ValueError(f"Node {node.name} has no valid host key to be known by: {error}") from error
    return node


def inventory(node: Node, state_dir: Path, known_hosts: Path) -> dict[str, Any]:
    """Return the inventory; it can be written as JSON, which Ansible reads as YAML."""
    variables: dict[str, Any] = {
        "ansible_python_interpreter": node.interpreter,
        "ansible_become": needs_become(node),
        "ansible_become_method": "sudo",
    }
    if node.connection == "local":
        variables["ansible_connection"] = "local"
    else:
        variables |= _ssh_variables(node, state_dir, known_hosts)
    return {"all": {"hosts": {node.name: variables}}}


def needs_become(node: Node) -> bool:
    """Tell whether root has to be reached through sudo."""
    return os.geteuid() != 0 if node.connection == "local" else node.user != "root"


def known_hosts_line(node: Node) -> str:
    """Return the one line that the run's known_hosts file has."""
    kind, data = node.host_key.split(" ")[:2]
    return f"{node.name} {kind} {data}\n"


def control_path(node: Node, state_dir: Path) -> str:
    """Return where the kept SSH connection listens, or ``none`` where that path would be too long for a socket.

    The name depends on everything that the connection was proved with: after a changed host key or identity a kept
    connection is not taken up again. unix(7) allows 108 bytes; ssh appends up to 17 while it starts to listen.
    """
    proof = json.dumps([node.address, node.port, node.user, node.host_key, node.identity_file])
    path = f"{state_dir}/cp/{hashlib.sha256(proof.encode()).hexdigest()[:16]}"
    return path if len(path.encode()) <= 90 else "none"


def _ssh_variables(node: Node, state_dir: Path, known_hosts: Path) -> dict[str, Any]:
    options = {
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": node.name,
        "UpdateHostKeys": "no",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "ControlPath": control_path(node, state_dir),
    }
    arguments = " ".join(f"-o {name}={value}" for name, value in options.items())
    return {
        "ansible_connection": "ssh",
        "ansible_host": node.address,
        "ansible_port": node.port,
        "ansible_user": node.user,
        "ansible_ssh_private_key_file": node.identity_file or str(state_dir / "ssh" / "id_ed25519"),
        "ansible_ssh_common_args": f"-F none {arguments}",
    }
