"""The declaration of the module ``nodes`` and the functions behind it."""

from __future__ import annotations

from typing import Any

from wcp360.core.actor import Actor
from wcp360.core.declare import change, query
from wcp360.core.errors import Conflict
from wcp360.core.lifecycle import MODULE
from wcp360.core.listing import query_of
from wcp360.core.operation import of_server
from wcp360.core.ports import State
from wcp360.core.registry import Module
from wcp360.core.resources import Life, Ref, Renderer, Resource, ResourceType
from wcp360.core.status import status_of, statuses_of
from wcp360.core.views import Page
from wcp360.modules.nodes import variables
from wcp360.modules.nodes.hostkey import confirmed_key
from wcp360.modules.nodes.inputs import NodeCreate, NodeKey, NodeList, NodeSpec, NodeView

KIND = "node"


def build() -> Module:
    """Declare the module."""
    return Module(
        name="nodes",
        title="Nodes",
        operations=(
            query(
                "node.list",
                "List the managed servers.",
                input=NodeList,
                result=Page[NodeView],
                function=list_nodes,
                tenant_of=of_server,
                example={"limit": 50},
            ),
            query(
                "node.show",
                "Show one managed server with what was learned about it.",
                input=NodeKey,
                result=NodeView,
                function=show_node,
                tenant_of=of_server,
                example={"name": "local"},
                key="name",
            ),
            variables.operation(),
            change(
                "node.create",
                "Take a server under management; its SSH host key is pinned.",
                input=NodeCreate,
                function=create_node,
                tenant_of=of_server,
                example={"name": "web1", "address": "192.0.2.10", "host_key": EXAMPLE_KEY},
                key="name",
                conflicts=("name_taken", "host_key_unconfirmed"),
                prepare=pin_host_key,
            ),
            change(
                "node.check",
                "Connect to a server again and learn its facts.",
                input=NodeKey,
                function=check_node,
                tenant_of=of_server,
                example={"name": "local"},
                key="name",
            ),
            change(
                "node.delete",
                "Take a server out of management; what WCP360 set up for itself there is removed.",
                input=NodeKey,
                function=delete_node,
                tenant_of=of_server,
                example={"name": "web1"},
                key="name",
                conflicts=("in_use",),
                confirm=True,
            ),
        ),
        types=(ResourceType(KIND, NodeSpec, nodes),),
        renderers=(Renderer(KIND, lambda resource, state: (), last),),
    )


EXAMPLE_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5yoFGzpPcqWnhqtA7a9tw1XzsmqRVRHzZZ1mAQ5Ggu"


def nodes(node: Resource, state: State) -> tuple[str, ...]:
    """A node is on itself; one that goes and has nothing of ours on it need not be reached for that."""
    if node.life is Life.ABSENT and not _there(state, node.ref.name):
        return ()
    return (node.ref.name,)


def _there(state: State, name: str) -> list[Ref]:
    """Return what lives on a node, beside the node itself."""
    return sorted(target.ref for target in state.targets([name]) if target.ref != Ref(KIND, name))


def last(node: Resource, state: State, name: str) -> tuple[Ref, ...]:
    """A node goes after the modules on it; a run without role items only learns the node's facts."""
    if node.life is not Life.ABSENT:
        return ()
    return tuple(other for other in _there(state, name) if other.kind == MODULE)


def pin_host_key(given: NodeCreate, actor: Actor) -> NodeCreate:
    """Complete the input with the key to pin; local nodes have none."""
    if given.connection == "local":
        return given
    return given.model_copy(update={"host_key": confirmed_key(str(given.address), given.port, given.host_key)})


def list_nodes(state: State, given: NodeList, actor: Actor) -> Page[NodeView]:
    """Answer all nodes."""
    page = state.page(KIND, query_of(given))
    standing = statuses_of(state, page.items)
    facts = state.facts_of([node.ref for node in page.items])
    return Page[NodeView](items=[_view(one, facts[one.ref], *standing[one.ref]) for one in page.items], next=page.next)


def show_node(state: State, given: NodeKey, actor: Actor) -> NodeView:
    """Answer one node."""
    resource = state.get(Ref(KIND, given.name))
    return _view(resource, state.facts(resource.ref), *status_of(state, resource))


def create_node(state: State, given: NodeCreate, actor: Actor) -> None:
    """Put a new node."""
    ref = Ref(KIND, given.name)
    if state.find(ref) is not None:
        raise Conflict(f"There is a node {given.name} already; choose another name.", code="name_taken")
    fields = given.model_dump(exclude={"name"}) | {"address": given.address or ""}
    state.put(ref, NodeSpec(**fields))


def check_node(state: State, given: NodeKey, actor: Actor) -> None:
    """Ask for the node to be looked at again."""
    state.retry(state.get(Ref(KIND, given.name)).ref)


def delete_node(state: State, given: NodeKey, actor: Actor) -> None:
    """Leave tombstones for the node and the modules on it, unless a tenant still lives there."""
    ref = Ref(KIND, given.name)
    state.known(ref)
    there = _there(state, given.name)
    others = [str(other) for other in there if other.kind != MODULE]
    if others:
        listed = ", ".join(others[:5]) + (" and more" if len(others) > 5 else "")
        raise Conflict(
            f"The node {given.name} still serves {listed}. Delete the tenants there first.",
            code="in_use",
        )
    for other in [*there, ref]:
        state.bury(other, purge=False)


def _view(resource: Resource, facts: dict[str, Any], status: str, reason: str) -> NodeView:
    return NodeView(
        name=resource.ref.name,
        status=status,
        reason=reason,
        facts=facts,
        created=resource.created,
        updated=resource.updated,
        **resource.spec,
    )
