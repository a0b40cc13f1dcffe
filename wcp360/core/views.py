"""What queries answer about WCP360's own records: changes, previews, runs, events and the audit log.

Times are RFC 3339 in UTC. Lists are pages: ``next`` is the cursor of the following page, None on the last.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import Field

from wcp360.core.operation import View

Item = TypeVar("Item")


class Page(View, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: str | None = Field(default=None, description="Pass it as `cursor` to get the following page.")


class ChangeStatus(StrEnum):
    """PENDING until every touched resource is applied or failed on each of its nodes."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class ResourceOutcome(View):
    """How far one resource of a change has come on one node."""

    resource: str = Field(description="Kind and name, as in domain:example.com.")
    node: str
    revision: int
    status: ChangeStatus
    reason: str = Field(default="", description="Why it failed or still waits, as a sentence.")


class ChangeView(View):
    """One accepted operation."""

    id: str
    operation: str
    input: dict[str, Any]
    actor: str
    tenant: str | None
    status: ChangeStatus
    reason: str
    resources: list[ResourceOutcome]
    runs: list[str]
    correlation: str
    created: str
    finished: str | None
    preview: str = Field(default="", description="The preview that it applies exactly; empty for none.")


class ChangeRow(View):
    """One accepted operation in a list; what was asked and what it touched is in the change itself."""

    id: str
    operation: str
    actor: str
    tenant: str | None
    status: ChangeStatus
    reason: str
    correlation: str
    created: str
    finished: str | None


class FileDiff(View):
    """One difference: a file, account, unit or package before and after."""

    name: str
    before: str
    after: str


class PredictedItem(View):
    """What a run did, or a dry run says it would do, to one resource or one part of the server."""

    resource: str
    task: str = Field(default="", description="The role and task that did it.")
    changed: bool
    failed: bool
    message: str = ""
    not_checked: str = Field(default="", description="Why a dry run cannot judge this yet; empty where it did.")
    diff: list[FileDiff] = Field(default_factory=list)


class RecordStatus(StrEnum):
    """The states of a preview or run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class PreviewView(View):
    """A dry run, kept."""

    id: str
    operation: str
    input: dict[str, Any]
    actor: str
    tenant: str | None
    status: RecordStatus
    reason: str
    base: dict[str, int] = Field(description="The revision of every resource that the preview was made from.")
    changed: bool | None = Field(description="Whether anything would change; None until it is known.")
    items: list[PredictedItem]
    correlation: str
    created: str
    finished: str | None


class PreviewRow(View):
    """A kept dry run in a list; the differences are in the preview itself."""

    id: str
    operation: str
    actor: str
    tenant: str | None
    status: RecordStatus
    reason: str
    changed: bool | None = Field(description="Whether anything would change; None until it is known.")
    correlation: str
    created: str
    finished: str | None


class RunView(View):
    """One execution of ansible-runner on one node."""

    id: str
    node: str
    check: bool
    status: RecordStatus
    reason: str
    resources: list[str]
    changes: list[str]
    items: list[PredictedItem]
    correlation: str
    created: str
    finished: str | None


class RunRow(View):
    """One execution of ansible-runner in a list; what it changed is in the run itself."""

    id: str
    node: str
    check: bool
    status: RecordStatus
    reason: str
    correlation: str
    created: str
    finished: str | None


class EventView(View):
    """One event: ordered by ``id``, kept, and sent to who may see ``tenant``."""

    id: int
    time: str
    type: str
    tenant: str | None
    data: dict[str, Any]
    correlation: str


class AuditView(View):
    """One entry of the audit log; ``hash`` covers the entry and the hash before it."""

    id: int
    time: str
    actor: str
    operation: str
    tenant: str | None
    outcome: str
    input: dict[str, Any]
    correlation: str
    previous: str
    hash: str


class AuditVerdict(View):
    """Whether the audit log's hash chain holds."""

    intact: bool
    entries: int
    detail: str
