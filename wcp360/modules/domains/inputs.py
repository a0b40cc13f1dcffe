"""What can be asked about domains, and what is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wcp360.core.fields import DocumentRoot, DomainName, NodeName, RedirectUrl, TenantName
from wcp360.core.listing import By, LifeWord, Named, StatusWord, sorted_by
from wcp360.core.operation import Input, View
from wcp360.core.resources import Spec

Aliases = Annotated[tuple[DomainName, ...], Field(max_length=100)]


class DomainSpec(Spec):
    """A domain and its web site as wanted."""

    aliases: tuple[str, ...] = ()
    redirect: str = ""
    document_root: str = "public"
    php: bool = True


class DomainKey(Input):
    """A domain by name."""

    name: DomainName = Field(description="The domain's name; Unicode is stored as its A-label form.")


class DomainList(Named):
    """Which domains to list."""

    tenant: Annotated[TenantName | None, By("tenant")] = Field(default=None, description="Only this tenant's domains.")
    status: Annotated[StatusWord | None, By("status")] = Field(default=None, description="Only those that stand so.")
    state: Annotated[LifeWord | None, By("state")] = Field(default=None, description="Only those in this state.")
    node: Annotated[NodeName | None, By("node")] = Field(default=None, description="Only those on this node.")
    sort: Literal["name", "-name", "tenant", "-tenant", "created", "-created", "updated", "-updated"] = sorted_by(
        "name"
    )


class DomainCreate(DomainKey):
    """A new domain."""

    tenant: TenantName = Field(description="The tenant that shall own it.")
    aliases: Aliases | None = Field(
        default=None, description="Further names of the same site; default: www. before the name.", strict=False
    )
    redirect: RedirectUrl = Field(default="", description="Answer everything with a redirect to this URL.")
    document_root: DocumentRoot = Field(default="public", description="Path below the domain's own directory.")
    php: bool = Field(default=True, description="Run PHP files.")


class DomainUpdate(DomainKey):
    """What to change; fields that are left out stay as they are."""

    aliases: Aliases | None = Field(default=None, description="Further names: replaces the list.", strict=False)
    redirect: RedirectUrl | None = Field(default=None, description="Redirect to this URL; empty: no redirect.")
    document_root: DocumentRoot | None = Field(default=None, description="Path below the domain's own directory.")
    php: bool | None = Field(default=None, description="Run PHP files.")


class DomainDelete(DomainKey):
    """A domain to remove."""

    purge: bool = Field(default=False, description="Delete the files at once instead of keeping them for 7 days.")


class DomainView(View):
    """A domain."""

    name: str
    tenant: str
    state: str = Field(description="present, suspended or absent (being removed).")
    status: str = Field(description="applied, pending, removing or failed.")
    reason: str = Field(description="Why it failed or still waits; empty otherwise.")
    aliases: list[str]
    redirect: str
    document_root: str = Field(description="Path below ~/web/<domain>/ of the tenant.")
    php: bool
    nodes: list[str]
    created: str
    updated: str
