"""Settling: after an operation has written resources, work out what their nodes shall have now."""

from __future__ import annotations

from wcp360.core.ports import State
from wcp360.core.registry import Registry
from wcp360.core.resources import Ref, Resource

TENANT = "tenant"


def settle(state: State, registry: Registry) -> None:
    """Compile what the touched resources take part in; storage counts a revision up only where the outcome differs.

    A tenant is rendered from what it owns (its PHP master serves its domains), and what it owns from the tenant.
    """
    for ref in _affected(state):
        resource = state.find(ref)
        if resource is not None:
            _settle_one(resource, state, registry)


def _settle_one(resource: Resource, state: State, registry: Registry) -> None:
    nodes = registry.type_of(resource.ref.kind).nodes(resource, state)
    renderers = registry.renderers_of(resource.ref.kind)
    items = tuple(item for renderer in renderers for item in renderer.items(resource, state))
    depends = {
        node: tuple(ref for renderer in renderers for ref in renderer.depends(resource, state, node)) for node in nodes
    }
    state.want(resource.ref, items, nodes, depends)


def _affected(state: State) -> list[Ref]:
    affected = set(state.touched)
    for ref in state.touched:
        if ref.kind == TENANT:
            affected |= {resource.ref for resource in state.of_tenant(ref.name)}
            continue
        resource = state.find(ref)
        if resource is not None and resource.tenant is not None:
            affected.add(Ref(TENANT, resource.tenant))
    return sorted(affected)
