"""From tenants and domains to the variables of the roles ``php_fpm`` and ``nginx``."""

from __future__ import annotations

from typing import Any

from wcp360.core.homes import home_of
from wcp360.core.lifecycle import module_ref
from wcp360.core.ports import State
from wcp360.core.resources import Life, Ref, Resource, RoleItem

NAME = "webserver"


def pool(tenant: Resource, state: State) -> tuple[RoleItem, ...]:
    """Compile the tenant's PHP master; it exists for as long as a domain of the tenant runs PHP."""
    if tenant.life is Life.ABSENT or not _runs_php(tenant, state):
        return ()
    value = {
        "id": str(tenant.ref),
        "name": tenant.ref.name,
        "state": tenant.life.value,
        **_account(tenant),
        "settings": dict(tenant.spec["php_settings"]),
    }
    return (RoleItem("php_fpm_pools", value),)


def pool_depends(tenant: Resource, state: State, node: str) -> tuple[Ref, ...]:
    """A PHP master needs the web server module on its node."""
    return (module_ref(NAME, node),) if pool(tenant, state) else ()


def site(domain: Resource, state: State) -> tuple[RoleItem, ...]:
    """Compile the domain's virtual host; a suspended tenant suspends all its sites."""
    tenant = state.find(Ref("tenant", str(domain.tenant)))
    if tenant is None:
        return ()
    value = {
        "id": str(domain.ref),
        "name": domain.ref.name,
        "state": _life(domain, tenant).value,
        "tenant": tenant.ref.name,
        **_account(tenant),
        "aliases": list(domain.spec["aliases"]),
        "redirect": domain.spec["redirect"],
        "document_root": domain.spec["document_root"],
        "php": domain.spec["php"],
        "purge": domain.purge,
    }
    return (RoleItem("nginx_sites", value),)


def site_depends(domain: Resource, state: State, node: str) -> tuple[Ref, ...]:
    """A site needs the web server and its tenant's account; its removal needs neither to be right."""
    if domain.life is Life.ABSENT:
        return ()
    return (module_ref(NAME, node), Ref("tenant", str(domain.tenant)))


def server(module: Resource, state: State) -> tuple[RoleItem, ...]:
    """Compile the server level of the module itself."""
    if module.spec["module"] != NAME:
        return ()
    wanted: bool | str = "absent" if module.life is Life.ABSENT else True
    return (RoleItem("server", {"php_fpm": wanted, "nginx": wanted}),)


def _account(tenant: Resource) -> dict[str, Any]:
    return {"uid": tenant.spec["uid"], "gid": tenant.spec["gid"], "home": home_of(tenant.ref.name)}


def _runs_php(tenant: Resource, state: State) -> bool:
    return state.owns(tenant.ref.name, "domain", lambda domain: domain.life is not Life.ABSENT and domain.spec["php"])


def _life(domain: Resource, tenant: Resource) -> Life:
    if domain.life is Life.PRESENT and tenant.life is Life.SUSPENDED:
        return Life.SUSPENDED
    return domain.life
