"""The functions behind the operations on tenants."""

from __future__ import annotations

from typing import Any

from wcp360.core.actor import Actor
from wcp360.core.errors import Conflict
from wcp360.core.homes import home_of
from wcp360.core.lifecycle import require_module
from wcp360.core.listing import query_of
from wcp360.core.ports import State
from wcp360.core.resources import Life, Ref, Resource
from wcp360.core.status import status_of, statuses_of
from wcp360.core.views import Page
from wcp360.modules.accounts.inputs import (
    TenantCreate,
    TenantDelete,
    TenantKey,
    TenantList,
    TenantSpec,
    TenantUpdate,
    TenantView,
)

NAME = "accounts"
KIND = "tenant"
# Above Debian's range for people (1000 to 59999 starts low) and below the kernel's overflow ids; docs/adr names why.
FIRST_UID, LAST_UID = 20_000, 59_999


def owner(state: State, given: TenantKey) -> str:
    """Own an operation by the tenant that its input names."""
    return given.name


def list_tenants(state: State, given: TenantList, actor: Actor) -> Page[TenantView]:
    """Answer the tenants in the actor's scope."""
    page = state.page(KIND, query_of(given), tenants=actor.tenants)
    standing = statuses_of(state, page.items)
    return Page[TenantView](items=[_view(one, *standing[one.ref]) for one in page.items], next=page.next)


def show_tenant(state: State, given: TenantKey, actor: Actor) -> TenantView:
    """Answer one tenant."""
    resource = state.get(Ref(KIND, given.name))
    return _view(resource, *status_of(state, resource))


def create_tenant(state: State, given: TenantCreate, actor: Actor, default_node: str) -> None:
    """Put a new tenant; its uid is the next that was never used."""
    ref = Ref(KIND, given.name)
    found = state.find(ref)
    if found is not None:
        being_removed = found.life is Life.ABSENT
        raise Conflict(
            f"The tenant {given.name} is still being removed; wait for that to end, then create it."
            if being_removed
            else f"There is a tenant {given.name} already; choose another name.",
            code="being_removed" if being_removed else "name_taken",
        )
    node = given.node or default_node
    state.get(Ref("node", node))
    require_module(state, actor, NAME, node)
    number = state.allocate("uid", FIRST_UID, LAST_UID)
    spec = TenantSpec(
        uid=number,
        gid=number,
        display_name=given.display_name,
        shell=given.shell,
        authorized_keys=given.authorized_keys,
        php_settings=given.php_settings,
        placement={"webserver": node},
    )
    state.put(ref, spec, tenant=given.name)


def update_tenant(state: State, given: TenantUpdate, actor: Actor) -> None:
    """Replace the fields that are given."""
    resource = state.get(Ref(KIND, given.name))
    changes = given.model_dump(exclude={"name"}, exclude_none=True)
    _put(state, resource, {**resource.spec, **changes}, resource.life)


def suspend_tenant(state: State, given: TenantKey, actor: Actor) -> None:
    """Stop logins and PHP, and answer its sites with the suspended page."""
    resource = state.get(Ref(KIND, given.name))
    _put(state, resource, resource.spec, Life.SUSPENDED)


def unsuspend_tenant(state: State, given: TenantKey, actor: Actor) -> None:
    """Take a suspension back."""
    resource = state.get(Ref(KIND, given.name))
    _put(state, resource, resource.spec, Life.PRESENT)


def delete_tenant(state: State, given: TenantDelete, actor: Actor) -> None:
    """Leave tombstones for the tenant and all that it owns; they hold the names until the nodes have let go.

    Where a node has refused a removal, it is tried again.
    """
    state.known(Ref(KIND, given.name))
    for owned in state.of_tenant(given.name):
        state.bury(owned.ref, purge=given.purge)


def _put(state: State, resource: Resource, spec: Any, life: Life) -> None:
    state.put(resource.ref, TenantSpec.model_validate(spec, strict=False), tenant=resource.tenant, life=life)


def _view(resource: Resource, status: str, reason: str) -> TenantView:
    spec = TenantSpec.model_validate(resource.spec, strict=False)
    return TenantView(
        name=resource.ref.name,
        display_name=spec.display_name,
        state=resource.life.value,
        status=status,
        reason=reason,
        uid=spec.uid,
        home=home_of(resource.ref.name),
        shell=spec.shell,
        authorized_keys=list(spec.authorized_keys),
        php_settings=spec.php_settings,
        placement=spec.placement,
        created=resource.created,
        updated=resource.updated,
    )
