"""What can be asked about WCP360's records, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from wcp360.core.fields import ActorName, NamePart, NodeName, OperationName, RecordId, Sequence, TenantName
from wcp360.core.listing import By, Dated, ListInput, Match, sorted_by
from wcp360.core.operation import Input, View
from wcp360.core.views import ChangeStatus, RecordStatus

ResourceName = Annotated[str, Field(pattern=r"^[a-z]+:[a-z0-9.@_-]+$", max_length=300)]
EventType = Annotated[str, Field(pattern=r"^[a-z]+\.[a-z_]+$", max_length=64)]
Outcome = Literal["accepted", "previewed", "refused", "denied", "failed"]


class Records(Dated):
    """A page of records; newest first, unless asked otherwise."""

    operation: Annotated[OperationName | None, By("operation")] = Field(
        default=None, description="Only this operation's."
    )
    actor: Annotated[ActorName | None, By("actor")] = Field(default=None, description="Only what this actor asked for.")
    tenant: Annotated[TenantName | None, By("tenant")] = Field(default=None, description="Only this tenant's.")
    sort: Literal["created", "-created"] = sorted_by("-created")


class ChangeList(Records):
    """Which changes to list."""

    status: Annotated[ChangeStatus | None, By("status")] = Field(default=None, description="Only those that stand so.")
    node: Annotated[NodeName | None, By("node")] = Field(default=None, description="Only those that touch this node.")
    resource: Annotated[ResourceName | None, By("resource")] = Field(
        default=None, description="Only those that touch this resource, as in domain:example.com."
    )


class PreviewList(Records):
    """Which previews to list."""

    status: Annotated[RecordStatus | None, By("status")] = Field(default=None, description="Only those that stand so.")


class RunList(Dated):
    """Which runs to list."""

    node: Annotated[NodeName | None, By("node")] = Field(default=None, description="Only those on this node.")
    status: Annotated[RecordStatus | None, By("status")] = Field(default=None, description="Only those that stand so.")
    check: Annotated[bool | None, By("check")] = Field(
        default=None, description="Only dry runs, or only those that were not."
    )
    change: Annotated[RecordId | None, By("change")] = Field(default=None, description="Only those for this change.")
    sort: Literal["created", "-created"] = sorted_by("-created")


class EventList(Dated):
    """Which events to list; oldest first, unless asked otherwise."""

    after: Annotated[Sequence | None, By("id", Match.AFTER)] = Field(
        default=None, description="Only those after this number."
    )
    type: Annotated[EventType | None, By("type")] = Field(default=None, description="Only this type.")
    tenant: Annotated[TenantName | None, By("tenant")] = Field(default=None, description="Only this tenant's.")
    correlation: Annotated[RecordId | None, By("correlation")] = Field(
        default=None, description="Only those of the request with this X-Request-Id."
    )
    sort: Literal["created", "-created"] = sorted_by("created")


class AuditList(Records):
    """Which entries of the audit log to list; oldest first, unless asked otherwise."""

    after: Annotated[Sequence | None, By("id", Match.AFTER)] = Field(
        default=None, description="Only those after this number."
    )
    outcome: Annotated[Outcome | None, By("outcome", Match.STARTS)] = Field(
        default=None, description="Only those that ended so; a refusal's code follows it."
    )
    sort: Literal["created", "-created"] = sorted_by("created")


class RecordKey(Input):
    """A record by its ULID."""

    id: RecordId = Field(description="The record's ULID.")


class Nothing(Input):
    """No input."""


class OperationList(ListInput):
    """Which operations to list."""

    name_prefix: Annotated[NamePart | None, By("name", Match.STARTS)] = Field(
        default=None, description="Only names that start with this, as in tenant."
    )
    kind: Annotated[Literal["query", "change", "task"] | None, By("kind")] = Field(
        default=None, description="Only those of this kind."
    )
    sort: Literal["name", "-name"] = sorted_by("name")


class OperationKey(Input):
    """An operation by name."""

    name: OperationName = Field(description="The operation's name, as in domain.create.")


# A set runs in one transaction, during which nobody else writes; benchmarks/bench_storage.py has what 1,200 take.
MOST_MEMBERS = 2000


class SetMember(Input):
    """One operation of a change set."""

    operation: OperationName = Field(description="The operation's name, as in domain.create.")
    input: dict[str, Any] = Field(description="Its input.")


class ChangeSet(Input):
    """Several operations, accepted all or none, in the order given."""

    # Two kilobytes for each: a tenant's with two RSA keys of 4096 bits, or a domain's with a hundred aliases.
    most_bytes: ClassVar[int] = 4 * 2**20

    operations: list[SetMember] = Field(min_length=1, max_length=MOST_MEMBERS, description="The operations.")


class OperationView(View):
    """One operation."""

    name: str
    kind: str
    summary: str
    permission: str
    method: str
    path: str
    command: str
    roles: list[str] = Field(description="The Ansible roles that carry it out; empty for queries.")
    conflicts: list[str] = Field(description="The codes of its 409 answers.")
    example: dict[str, Any]
    source: str = Field(description="Module and line of the declaration.")
