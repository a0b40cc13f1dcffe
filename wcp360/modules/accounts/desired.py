"""From a tenant to the accounts of the role ``tenant``."""

from __future__ import annotations

from wcp360.core.homes import home_of
from wcp360.core.lifecycle import module_ref
from wcp360.core.ports import State
from wcp360.core.resources import Life, Ref, Resource, RoleItem
from wcp360.modules.accounts.functions import NAME


def nodes(resource: Resource, state: State) -> tuple[str, ...]:
    """A tenant has its account on every node that serves a module for it."""
    return tuple(sorted(set(resource.spec["placement"].values())))


def items(resource: Resource, state: State) -> tuple[RoleItem, ...]:
    """Compile the account. The comment stays empty: GECOS cannot hold what a display name may."""
    spec = resource.spec
    account = {
        "id": str(resource.ref),
        "name": resource.ref.name,
        "state": resource.life.value,
        "uid": spec["uid"],
        "gid": spec["gid"],
        "home": home_of(resource.ref.name),
        "shell": spec["shell"],
        "authorized_keys": list(spec["authorized_keys"]),
        "purge": resource.purge,
    }
    return (RoleItem("tenant_accounts", account),)


def depends(resource: Resource, state: State, node: str) -> tuple[Ref, ...]:
    """An account needs the module's own base on the node; it is removed only after all that it owns there is gone."""
    base = (module_ref(NAME, node),)
    if resource.life is not Life.ABSENT:
        return base
    owned = (other for other in state.of_tenant(resource.ref.name) if other.ref != resource.ref)
    return base + tuple(other.ref for other in owned if node in other.nodes)


def server(module: Resource, state: State) -> tuple[RoleItem, ...]:
    """Compile what all accounts of a node share: groups, file transfer and the trash of the role ``tenant``."""
    if module.spec["module"] != NAME:
        return ()
    return (RoleItem("server", {"tenant": "absent" if module.life is Life.ABSENT else True}),)
