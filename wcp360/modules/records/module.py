"""The declaration of the module ``records``."""

from __future__ import annotations

from collections.abc import Callable

from wcp360.core.declare import change, query
from wcp360.core.kept import Batches
from wcp360.core.operation import Operation, of_actor, of_server
from wcp360.core.ports import State
from wcp360.core.registry import Module, Registry
from wcp360.core.views import (
    AuditVerdict,
    AuditView,
    ChangeRow,
    ChangeView,
    EventView,
    Page,
    PreviewRow,
    PreviewView,
    RunRow,
    RunView,
)
from wcp360.modules.records import functions, inputs
from wcp360.modules.records.applying import NAME as APPLY
from wcp360.modules.records.applying import Applying
from wcp360.modules.records.changeset import NAME, ChangeSets

EXAMPLE_ID = "01JD0000000000000000000000"


def build(registry: Callable[[], Registry], compile_batches: Callable[[State], Batches]) -> Module:
    """Declare the module; ``registry`` returns the finished registry once all modules are in it.

    ``compile_batches`` is what previews are compiled by.
    """
    return Module(
        name="records",
        title="Records",
        operations=(
            *_changes(ChangeSets(registry)),
            *_runs(Applying(registry, compile_batches)),
            *_logs(),
            *_operations(functions.Operations(registry)),
        ),
    )


def _changes(sets: ChangeSets) -> tuple[Operation, ...]:
    return (
        query(
            "change.list",
            "List the changes, newest first.",
            input=inputs.ChangeList,
            result=Page[ChangeRow],
            function=functions.list_records("change"),
            tenant_of=of_actor,
            example={"status": "failed", "limit": 20},
        ),
        query(
            "change.show",
            "Show one change: what it touched, how far it is, why it failed.",
            input=inputs.RecordKey,
            result=ChangeView,
            function=functions.show_change,
            tenant_of=functions.change_owner,
            example={"id": EXAMPLE_ID},
            key="id",
        ),
        change(
            NAME,
            "Submit several operations as one change, accepted all or none.",
            input=inputs.ChangeSet,
            function=sets.create,
            tenant_of=of_actor,
            example={
                "operations": [
                    {"operation": "tenant.create", "input": {"name": "acme"}},
                    {"operation": "domain.create", "input": {"name": "acme.example", "tenant": "acme"}},
                ]
            },
            conflicts=("name_taken",),
            prepare=sets.prepare,
        ),
        change(
            "change.retry",
            "Try again what failed of a change.",
            input=inputs.RecordKey,
            function=functions.retry_change,
            tenant_of=functions.change_owner,
            example={"id": EXAMPLE_ID},
            key="id",
            conflicts=("not_failed",),
        ),
    )


def _runs(applying: Applying) -> tuple[Operation, ...]:
    return (
        change(
            APPLY,
            "Apply a preview: exactly what it showed, or nothing.",
            input=inputs.RecordKey,
            function=applying.apply,
            tenant_of=functions.preview_owner,
            example={"id": EXAMPLE_ID},
            key="id",
            conflicts=("preview_unfinished", "preview_failed", "preview_applied", "preview_stale"),
        ),
        query(
            "preview.list",
            "List the kept previews, newest first.",
            input=inputs.PreviewList,
            result=Page[PreviewRow],
            function=functions.list_records("preview"),
            tenant_of=of_actor,
            example={"limit": 20},
        ),
        query(
            "preview.show",
            "Show one preview with its diffs.",
            input=inputs.RecordKey,
            result=PreviewView,
            function=functions.show_preview,
            tenant_of=functions.preview_owner,
            example={"id": EXAMPLE_ID},
            key="id",
        ),
        query(
            "run.list",
            "List the runs of Ansible, newest first.",
            input=inputs.RunList,
            result=Page[RunRow],
            function=functions.list_for_server("run"),
            tenant_of=of_server,
            example={"limit": 20},
        ),
        query(
            "run.show",
            "Show one run of Ansible with what it changed.",
            input=inputs.RecordKey,
            result=RunView,
            function=functions.show_run,
            tenant_of=of_server,
            example={"id": EXAMPLE_ID},
            key="id",
        ),
    )


def _logs() -> tuple[Operation, ...]:
    return (
        query(
            "event.list",
            "List events in their order, to be resumed after a number.",
            input=inputs.EventList,
            result=Page[EventView],
            function=functions.list_records("event"),
            tenant_of=of_actor,
            example={"after": 0},
        ),
        query(
            "audit.list",
            "List the audit log in its order.",
            input=inputs.AuditList,
            result=Page[AuditView],
            function=functions.list_for_server("audit"),
            tenant_of=of_server,
            example={"after": 0},
        ),
        query(
            "audit.verify",
            "Check that nobody changed the audit log afterwards.",
            input=inputs.Nothing,
            result=AuditVerdict,
            function=functions.verify_audit,
            tenant_of=of_server,
            example={},
        ),
    )


def _operations(operations: functions.Operations) -> tuple[Operation, ...]:
    return (
        query(
            "operation.list",
            "List all operations with route, permission and command.",
            input=inputs.OperationList,
            result=Page[inputs.OperationView],
            function=operations.list_all,
            tenant_of=of_actor,
            example={},
        ),
        query(
            "operation.show",
            "Show one operation: route, permission, Ansible roles, example, where it is declared.",
            input=inputs.OperationKey,
            result=inputs.OperationView,
            function=operations.show,
            tenant_of=of_actor,
            example={"name": "domain.create"},
            key="name",
        ),
    )
