"""The declaration of the module ``accounts``."""

from __future__ import annotations

from functools import partial

from wcp360.core.declare import change, query
from wcp360.core.operation import Operation, of_actor
from wcp360.core.registry import Module
from wcp360.core.resources import Renderer, ResourceType
from wcp360.core.views import Page
from wcp360.modules.accounts import desired, functions
from wcp360.modules.accounts.footprint import FOOTPRINTS
from wcp360.modules.accounts.inputs import (
    TenantCreate,
    TenantDelete,
    TenantKey,
    TenantList,
    TenantSpec,
    TenantUpdate,
    TenantView,
)


def build(default_node: str) -> Module:
    """Declare the module; ``default_node`` serves the tenants that name none."""
    return Module(
        name=functions.NAME,
        title="Tenants (Unix accounts and file transfer)",
        operations=(*_queries(), *_changes(default_node)),
        types=(ResourceType("tenant", TenantSpec, desired.nodes),),
        renderers=(Renderer("tenant", desired.items, desired.depends), Renderer("module", desired.server)),
        roles=("tenant",),
        footprints=FOOTPRINTS,
    )


def _queries() -> tuple[Operation, ...]:
    return (
        query(
            "tenant.list",
            "List the tenants.",
            input=TenantList,
            result=Page[TenantView],
            function=functions.list_tenants,
            tenant_of=of_actor,
            example={"limit": 50},
        ),
        query(
            "tenant.show",
            "Show one tenant.",
            input=TenantKey,
            result=TenantView,
            function=functions.show_tenant,
            tenant_of=functions.owner,
            example={"name": "acme"},
            key="name",
        ),
    )


def _changes(default_node: str) -> tuple[Operation, ...]:
    return (
        change(
            "tenant.create",
            "Create a tenant: a Unix user with a private home.",
            input=TenantCreate,
            function=partial(functions.create_tenant, default_node=default_node),
            tenant_of=functions.owner,
            example={"name": "acme", "display_name": "Acme Ltd", "php_settings": {"memory_limit": "256M"}},
            key="name",
            conflicts=("name_taken", "being_removed", "exhausted", "module_disabled", "module_not_installed"),
        ),
        change(
            "tenant.update",
            "Change a tenant; what is not given stays.",
            input=TenantUpdate,
            function=functions.update_tenant,
            tenant_of=functions.owner,
            example={"name": "acme", "shell": "/bin/bash"},
            key="name",
        ),
        change(
            "tenant.suspend",
            "Suspend a tenant: no login, no PHP, its sites say so.",
            input=TenantKey,
            function=functions.suspend_tenant,
            tenant_of=functions.owner,
            example={"name": "acme"},
            key="name",
        ),
        change(
            "tenant.unsuspend",
            "Take a tenant's suspension back.",
            input=TenantKey,
            function=functions.unsuspend_tenant,
            tenant_of=functions.owner,
            example={"name": "acme"},
            key="name",
        ),
        change(
            "tenant.delete",
            "Delete a tenant with its domains; its data is kept for 7 days unless purged.",
            input=TenantDelete,
            function=functions.delete_tenant,
            tenant_of=functions.owner,
            example={"name": "acme"},
            key="name",
            confirm=True,
        ),
    )
