"""The declaration of the module ``domains``; what serves a domain is rendered by the service modules."""

from __future__ import annotations

from functools import partial

from wcp360.core.declare import change, query
from wcp360.core.operation import Operation, of_actor
from wcp360.core.ports import State
from wcp360.core.registry import Module
from wcp360.core.resources import Ref, Resource, ResourceType
from wcp360.core.views import Page
from wcp360.modules.domains import functions
from wcp360.modules.domains.inputs import (
    DomainCreate,
    DomainDelete,
    DomainKey,
    DomainList,
    DomainSpec,
    DomainUpdate,
    DomainView,
)


def build(reserved: frozenset[str]) -> Module:
    """Declare the module; ``reserved`` are the panel's own host names."""
    return Module(
        name="domains",
        title="Domains",
        operations=(*_queries(), *_changes(reserved)),
        types=(ResourceType("domain", DomainSpec, _nodes),),
    )


def _queries() -> tuple[Operation, ...]:
    return (
        query(
            "domain.list",
            "List the domains.",
            input=DomainList,
            result=Page[DomainView],
            function=functions.list_domains,
            tenant_of=of_actor,
            example={"tenant": "acme"},
        ),
        query(
            "domain.show",
            "Show one domain.",
            input=DomainKey,
            result=DomainView,
            function=functions.show_domain,
            tenant_of=functions.owner,
            example={"name": "acme.example"},
            key="name",
        ),
    )


def _changes(reserved: frozenset[str]) -> tuple[Operation, ...]:
    return (
        change(
            "domain.create",
            "Give a tenant a domain with a web site.",
            input=DomainCreate,
            function=partial(functions.create_domain, reserved=reserved),
            tenant_of=functions.new_owner,
            example={"name": "acme.example", "tenant": "acme"},
            key="name",
            conflicts=("name_taken", "being_removed", "module_disabled", "module_not_installed"),
        ),
        change(
            "domain.update",
            "Change a domain's site; what is not given stays.",
            input=DomainUpdate,
            function=partial(functions.update_domain, reserved=reserved),
            tenant_of=functions.owner,
            example={"name": "acme.example", "aliases": ["www.acme.example", "shop.acme.example"]},
            key="name",
            conflicts=("name_taken",),
        ),
        change(
            "domain.suspend",
            "Suspend a domain: its site says so.",
            input=DomainKey,
            function=functions.suspend_domain,
            tenant_of=functions.owner,
            example={"name": "acme.example"},
            key="name",
        ),
        change(
            "domain.unsuspend",
            "Take a domain's suspension back.",
            input=DomainKey,
            function=functions.unsuspend_domain,
            tenant_of=functions.owner,
            example={"name": "acme.example"},
            key="name",
        ),
        change(
            "domain.delete",
            "Delete a domain; its files are kept for 7 days unless purged.",
            input=DomainDelete,
            function=functions.delete_domain,
            tenant_of=functions.owner,
            example={"name": "acme.example"},
            key="name",
            confirm=True,
        ),
    )


def _nodes(resource: Resource, state: State) -> tuple[str, ...]:
    """A domain lives where its tenant's web server is."""
    tenant = state.find(Ref("tenant", str(resource.tenant)))
    return () if tenant is None else (tenant.spec["placement"][functions.WEBSERVER],)
