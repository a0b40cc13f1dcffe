"""The functions behind the operations on domains."""

from __future__ import annotations

from typing import Any

from wcp360.core.actor import Actor
from wcp360.core.errors import Conflict, FieldError, Invalid
from wcp360.core.hostnames import MAX_LENGTH, is_within
from wcp360.core.lifecycle import require_module
from wcp360.core.listing import query_of
from wcp360.core.ports import State
from wcp360.core.resources import Life, Ref, Resource
from wcp360.core.status import status_of, statuses_of
from wcp360.core.views import Page
from wcp360.modules.domains.inputs import (
    DomainCreate,
    DomainDelete,
    DomainKey,
    DomainList,
    DomainSpec,
    DomainUpdate,
    DomainView,
)

KIND = "domain"
WEBSERVER = "webserver"


def owner(state: State, given: DomainKey) -> str | None:
    """Own an operation by the tenant that owns the domain; raise NotFound where there is none."""
    return state.known(Ref(KIND, given.name)).tenant


def new_owner(state: State, given: DomainCreate) -> str:
    """Own the creation by the tenant that is to have the domain."""
    return given.tenant


def list_domains(state: State, given: DomainList, actor: Actor) -> Page[DomainView]:
    """Answer the domains in the actor's scope."""
    page = state.page(KIND, query_of(given), tenants=actor.tenants)
    standing = statuses_of(state, page.items)
    return Page[DomainView](items=[_view(one, *standing[one.ref]) for one in page.items], next=page.next)


def show_domain(state: State, given: DomainKey, actor: Actor) -> DomainView:
    """Answer one domain."""
    resource = state.get(Ref(KIND, given.name))
    return _view(resource, *status_of(state, resource))


def create_domain(state: State, given: DomainCreate, actor: Actor, reserved: frozenset[str]) -> None:
    """Put a new domain with its site; the web server module comes along where the node has none yet."""
    ref = Ref(KIND, given.name)
    tenant = state.get(Ref("tenant", given.tenant))
    found = state.find(ref)
    if found is not None and found.tenant == given.tenant:
        raise _exists(found)
    aliases = _default_aliases(state, given) if given.aliases is None else given.aliases
    _check_names(state, ref, given.tenant, aliases, reserved)
    require_module(state, actor, WEBSERVER, tenant.spec["placement"][WEBSERVER])
    spec = DomainSpec(aliases=tuple(aliases), redirect=given.redirect, document_root=given.document_root, php=given.php)
    state.put(ref, spec, tenant=given.tenant)
    state.claim(ref, given.tenant, [given.name, *aliases])


def update_domain(state: State, given: DomainUpdate, actor: Actor, reserved: frozenset[str]) -> None:
    """Replace the fields that are given."""
    resource = state.get(Ref(KIND, given.name))
    changes = given.model_dump(exclude={"name"}, exclude_none=True)
    if given.aliases is not None:
        _check_names(state, resource.ref, str(resource.tenant), given.aliases, reserved)
        state.claim(resource.ref, str(resource.tenant), [given.name, *given.aliases])
    _put(state, resource, {**resource.spec, **changes}, resource.life)


def suspend_domain(state: State, given: DomainKey, actor: Actor) -> None:
    """Answer the site with the suspended page."""
    resource = state.get(Ref(KIND, given.name))
    _put(state, resource, resource.spec, Life.SUSPENDED)


def unsuspend_domain(state: State, given: DomainKey, actor: Actor) -> None:
    """Take a suspension back."""
    resource = state.get(Ref(KIND, given.name))
    _put(state, resource, resource.spec, Life.PRESENT)


def delete_domain(state: State, given: DomainDelete, actor: Actor) -> None:
    """Leave a tombstone that holds the names until the node has let go; try again where it has refused."""
    state.bury(Ref(KIND, given.name), purge=given.purge)


def _put(state: State, resource: Resource, spec: Any, life: Life) -> None:
    state.put(resource.ref, DomainSpec.model_validate(spec, strict=False), tenant=resource.tenant, life=life)


def _default_aliases(state: State, given: DomainCreate) -> tuple[str, ...]:
    alias = f"www.{given.name}"
    if given.name.startswith("www.") or len(alias) > MAX_LENGTH or state.find(Ref(KIND, alias)) is not None:
        return ()
    return (alias,)


def _exists(found: Resource) -> Conflict:
    if found.life is Life.ABSENT:
        return Conflict(f"{found.ref.name} is still being removed; wait for that to end.", code="being_removed")
    return Conflict(
        f"The tenant has the domain {found.ref.name} already; `wcp360 domain update` changes it.", code="name_taken"
    )


def _check_names(state: State, ref: Ref, tenant: str, aliases: tuple[str, ...], reserved: frozenset[str]) -> None:
    """Refuse a name that anybody has, and one above or below a name of another tenant."""
    named = [("name", ref.name), *((f"aliases.{index}", alias) for index, alias in enumerate(aliases))]
    if len({name for _, name in named}) < len(named):
        raise _wrong_name("aliases", "The same name is given twice; leave the repetition out.")
    for field, name in named:
        if any(is_within(name, parent) for parent in reserved):
            raise _wrong_name(field, f"{name} belongs to the panel itself and cannot be a tenant's domain.")
        for claim in state.claims_near(name):
            if claim.leaving and claim.tenant == tenant and claim.hostname == name and claim.owner != ref:
                raise Conflict(
                    f"{name} is still served by {claim.owner.name}, which has given it up. Wait until that is applied.",
                    code="name_taken",
                )
            if claim.tenant != tenant or (claim.hostname == name and claim.owner != ref):
                raise Conflict(
                    f"{name} is taken, or lies above or below a name of another tenant. Choose another name, or have "
                    "the owner create it.",
                    code="name_taken",
                )


def _wrong_name(field: str, message: str) -> Invalid:
    return Invalid(message, errors=(FieldError(field, message, "reserved_name"),))


def _view(resource: Resource, status: str, reason: str) -> DomainView:
    spec = DomainSpec.model_validate(resource.spec, strict=False)
    return DomainView(
        name=resource.ref.name,
        tenant=str(resource.tenant),
        state=resource.life.value,
        status=status,
        reason=reason,
        aliases=list(spec.aliases),
        redirect=spec.redirect,
        document_root=spec.document_root,
        php=spec.php,
        nodes=list(resource.nodes),
        created=resource.created,
        updated=resource.updated,
    )
