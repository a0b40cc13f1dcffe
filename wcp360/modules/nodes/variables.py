"""What a node shall have, as variables of the roles: for inventories outside of the panel, and to take it away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from wcp360.core.actor import Actor
from wcp360.core.declare import query
from wcp360.core.fields import Limit
from wcp360.core.listing import ListInput, page_of, query_of, sorted_by
from wcp360.core.operation import Operation, View, of_server
from wcp360.core.ports import State
from wcp360.core.resources import Ref, RoleItem
from wcp360.core.views import Page
from wcp360.modules.nodes.inputs import NodeKey

KIND = "node"


class NodeVariables(NodeKey, ListInput):
    """Which node's variables to answer."""

    sort: Literal["resource", "-resource"] = sorted_by("resource")
    limit: Limit = Field(default=1000, description="How many entries to answer at most.")


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


@dataclass(frozen=True, slots=True)
class _Entry:
    """An item with its place in the list: a resource has several."""

    resource: str
    number: int
    item: RoleItem


def node_variables(state: State, given: NodeVariables, actor: Actor) -> Page[RoleVariable]:
    """Answer the wanted role items of a node by resource; what a node has refused is among them."""
    node = state.get(Ref(KIND, given.name))
    entries = [
        _Entry(str(target.ref), number, item)
        for target in state.targets([node.ref.name])
        for number, item in enumerate(target.items)
    ]
    page = page_of(query_of(given), entries, lambda entry: (entry.number,))
    shown = [
        RoleVariable(variable=entry.item.variable, resource=entry.resource, value=dict(entry.item.value))
        for entry in page.items
    ]
    return Page[RoleVariable](items=shown, next=page.next)
