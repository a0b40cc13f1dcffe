"""What can be asked about tenants, and what is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wcp360.core.fields import DisplayName, NodeName, SshKey, TenantName
from wcp360.core.listing import By, LifeWord, Named, StatusWord, sorted_by
from wcp360.core.operation import Input, View
from wcp360.core.php import PhpSettings
from wcp360.core.resources import Spec

NOLOGIN: Literal["/usr/sbin/nologin"] = "/usr/sbin/nologin"
Shell = Literal["/usr/sbin/nologin", "/bin/bash", "/bin/sh"]
Keys = Annotated[tuple[SshKey, ...], Field(max_length=100)]


class TenantSpec(Spec):
    """A tenant as wanted."""

    uid: int
    gid: int
    display_name: str = ""
    shell: str = NOLOGIN
    authorized_keys: tuple[str, ...] = ()
    php_settings: dict[str, str] = Field(default_factory=dict)
    placement: dict[str, str]


class TenantKey(Input):
    """A tenant by name."""

    name: TenantName = Field(description="The tenant's name, which is also its Unix user.")


class TenantList(Named):
    """Which tenants to list."""

    status: Annotated[StatusWord | None, By("status")] = Field(default=None, description="Only those that stand so.")
    state: Annotated[LifeWord | None, By("state")] = Field(default=None, description="Only those in this state.")
    node: Annotated[NodeName | None, By("node")] = Field(default=None, description="Only those on this node.")
    sort: Literal["name", "-name", "created", "-created", "updated", "-updated"] = sorted_by("name")


class TenantCreate(TenantKey):
    """A new tenant."""

    display_name: DisplayName = Field(default="", description="Name of the person or company, for people to read.")
    shell: Shell = Field(default=NOLOGIN, description="Login shell; nologin allows file transfer by SFTP only.")
    authorized_keys: Keys = Field(default=(), description="SSH public keys that may log in.", strict=False)
    php_settings: PhpSettings = Field(default_factory=dict, description="PHP settings, as in memory_limit=256M.")
    node: NodeName | None = Field(default=None, description="Node that serves the tenant; default: the panel's.")


class TenantUpdate(TenantKey):
    """What to change; fields that are left out stay as they are."""

    display_name: DisplayName | None = Field(default=None, description="Name of the person or company.")
    shell: Shell | None = Field(default=None, description="Login shell; nologin allows file transfer by SFTP only.")
    authorized_keys: Keys | None = Field(default=None, description="SSH public keys: replaces the list.", strict=False)
    php_settings: PhpSettings | None = Field(default=None, description="PHP settings: replaces all of them.")


class TenantDelete(TenantKey):
    """A tenant to remove, with all that it owns."""

    purge: bool = Field(default=False, description="Delete the data at once instead of keeping it for 7 days.")


class TenantView(View):
    """A tenant."""

    name: str
    display_name: str
    state: str = Field(description="present, suspended or absent (being removed).")
    status: str = Field(description="applied, pending, removing or failed.")
    reason: str = Field(description="Why it failed or still waits; empty otherwise.")
    uid: int
    home: str
    shell: str
    authorized_keys: list[str]
    php_settings: dict[str, str]
    placement: dict[str, str] = Field(description="Which node serves which module.")
    created: str
    updated: str
