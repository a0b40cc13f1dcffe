"""What can be asked about nodes, and what is answered."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from wcp360.core.fields import AbsolutePath, HostAddress, NodeName, Port
from wcp360.core.listing import By, Named, StatusWord, sorted_by
from wcp360.core.operation import Input, View
from wcp360.core.resources import Spec
from wcp360.core.sshkeys import normalise_key


def _host_key(value: str) -> str:
    if value == "" or re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", value, re.ASCII):
        return value
    return normalise_key(value)


def _unix_name(value: str) -> str:
    if re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", value, re.ASCII) is None:
        raise ValueError("Give the name of a Unix user.")
    return value


HostKey = Annotated[str, AfterValidator(_host_key)]
UnixName = Annotated[str, AfterValidator(_unix_name)]
Connection = Literal["local", "ssh"]


class NodeSpec(Spec):
    """How a node is reached."""

    connection: Connection
    address: str = ""
    port: int = 22
    user: str = "root"
    host_key: str = ""
    identity_file: str = ""
    interpreter: str = "/usr/bin/python3"


class NodeKey(Input):
    """A node by name."""

    name: NodeName = Field(description="The node's name.")


class NodeList(Named):
    """Which nodes to list."""

    status: Annotated[StatusWord | None, By("status")] = Field(default=None, description="Only those that stand so.")
    sort: Literal["name", "-name", "created", "-created", "updated", "-updated"] = sorted_by("name")


class NodeCreate(NodeKey):
    """A new node."""

    connection: Connection = Field(default="ssh", description="local for this machine, ssh for others.")
    address: HostAddress | None = Field(default=None, description="Address or host name; needed with ssh.")
    port: Port = Field(default=22, description="Port of the SSH server.")
    user: UnixName = Field(default="root", description="root, or a user who may use sudo without a password.")
    host_key: HostKey = Field(default="", description="The server's public host key or its SHA256: fingerprint.")
    identity_file: AbsolutePath = Field(default="", description="Private key file; empty: the panel's own key.")
    interpreter: AbsolutePath = Field(default="/usr/bin/python3", description="The node's Python.")

    @model_validator(mode="after")
    def _reachable(self) -> NodeCreate:
        if self.connection == "ssh" and self.address is None:
            raise ValueError("A node that is reached by SSH needs an address.")
        return self


class NodeView(View):
    """A node."""

    name: str
    status: str = Field(description="applied, pending, removing or failed.")
    reason: str = Field(description="Why it failed or still waits; empty otherwise.")
    connection: str
    address: str
    port: int
    user: str
    host_key: str
    identity_file: str
    interpreter: str
    facts: dict[str, Any] = Field(description="What the last run learned: service manager, distribution, Python…")
    created: str
    updated: str
