"""What a node shall have, as variables of the roles: for inventories outside of the panel, and to take it away."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from pydantic import Field

from wcp360.core.actor import Actor
from wcp360.core.declare import query
from wcp360.core.errors import FieldError, Invalid
from wcp360.core.fields import Cursor, Limit
from wcp360.core.operation import Operation, View, of_server
from wcp360.core.ports import State
from wcp360.core.resources import Ref
from wcp360.core.views import Page
from wcp360.modules.nodes.inputs import NodeKey

KIND = "node"


class NodeVariables(NodeKey):
    """Which node's variables to answer."""

    limit: Limit = Field(default=1000, description="How many resources one page covers.")
    cursor: Cursor = Field(default="", description="The `next` of the page before.")


class RoleVariable(View):
    """One entry of a list that a role takes, or which roles' server level the node shall have (variable `server`)."""

    variable: str = Field(description="tenant_accounts, php_fpm_pools, nginx_sites or server.")
    resource: str = Field(description="Whose it is: kind and name, as in domain:example.com.")
    value: dict[str, Any]


def operation() -> Operation:
    """Declare node.variables; its permission is one of its own, because the answer says what all tenants have."""
    return query(
        "node.variables",
        "Show what a server shall have, as variables of the Ansible roles.",
        input=NodeVariables,
        result=Page[RoleVariable],
        function=node_variables,
        tenant_of=of_server,
        permission="node.variables",
        example={"name": "local"},
        key="name",
    )


def node_variables(state: State, given: NodeVariables, actor: Actor) -> Page[RoleVariable]:
    """Answer the wanted role items of a node by resource; what a node has refused is among them."""
    node = state.get(Ref(KIND, given.name))
    start = _place(given.cursor)
    targets = sorted(state.targets([node.ref.name]), key=lambda target: str(target.ref))
    rest = [target for target in targets if str(target.ref) > start]
    page = rest[: given.limit]
    entries = [
        RoleVariable(variable=item.variable, resource=str(target.ref), value=dict(item.value))
        for target in page
        for item in target.items
    ]
    return Page[RoleVariable](items=entries, next=_cursor(str(page[-1].ref)) if len(rest) > len(page) else None)


def _cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place(cursor: str) -> str:
    """Return the resource that a page ended with. Raises Invalid for what is no cursor."""
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        message = "This is no cursor of ours; pass the `next` of the page before, or leave it out."
        raise Invalid(message, errors=(FieldError("cursor", message, "invalid"),)) from None
