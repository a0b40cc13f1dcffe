"""What can be asked about WCP360's records, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from wcp360.core.fields import Cursor, Limit, RecordId, Sequence
from wcp360.core.operation import Input, View
from wcp360.core.views import AuditView, EventView

OperationName = Annotated[str, Field(pattern=r"^[a-z]+\.[a-z_]+$", max_length=64)]


class RecordList(Input):
    """A page of records, newest first."""

    limit: Limit = Field(default=100, description="How many to answer at most.")
    after: Cursor = Field(default="", description="The cursor `next` of the page before.")


class SequenceList(Input):
    """A page of numbered entries, oldest first."""

    limit: Limit = Field(default=100, description="How many to answer at most.")
    after: Sequence = Field(default=0, description="Answer the entries after this number.")


class RecordKey(Input):
    """A record by its ULID."""

    id: RecordId = Field(description="The record's ULID.")


class Nothing(Input):
    """No input."""


class OperationKey(Input):
    """An operation by name."""

    name: OperationName = Field(description="The operation's name, as in domain.create.")


# A set runs in one transaction, during which nobody else writes: 300 members take about two seconds.
MOST_MEMBERS = 300


class SetMember(Input):
    """One operation of a change set."""

    operation: OperationName = Field(description="The operation's name, as in domain.create.")
    input: dict[str, Any] = Field(description="Its input.")


class ChangeSet(Input):
    """Several operations, accepted all or none, in the order given."""

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


class EventPage(View):
    """A page of events."""

    items: list[EventView]
    next: int | None = Field(description="Pass it as `after` to get the following page.")


class AuditPage(View):
    """A page of audit entries."""

    items: list[AuditView]
    next: int | None = Field(description="Pass it as `after` to get the following page.")
