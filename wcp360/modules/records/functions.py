"""The functions behind the queries on records, and ``change.retry``."""

from __future__ import annotations

from collections.abc import Callable

from wcp360.core.actor import Actor
from wcp360.core.errors import Conflict
from wcp360.core.operation import Kind, Operation
from wcp360.core.ports import State
from wcp360.core.registry import Registry
from wcp360.core.resources import Ref
from wcp360.core.routes import route_of
from wcp360.core.views import AuditVerdict, ChangeStatus, ChangeView, Page, PredictedItem, PreviewView, RunView
from wcp360.modules.records.inputs import (
    AuditPage,
    EventPage,
    Nothing,
    OperationKey,
    OperationView,
    RecordKey,
    RecordList,
    SequenceList,
)

# A preview of a tenant's operation holds no other tenant's resources; the rest is the server's.
OWNED = ("tenant:", "domain:")
ROLES = {"tenant": ["tenant", "php_fpm"], "domain": ["php_fpm", "nginx"]}


def change_owner(state: State, given: RecordKey) -> str | None:
    """Own a change by its tenant."""
    return state.change(given.id).tenant


def preview_owner(state: State, given: RecordKey) -> str | None:
    """Own a preview by its tenant."""
    return state.preview(given.id).tenant


def list_changes(state: State, given: RecordList, actor: Actor) -> Page[ChangeView]:
    """Answer the changes in the actor's scope."""
    return state.changes(tenants=actor.tenants, limit=given.limit, after=given.after)


def show_change(state: State, given: RecordKey, actor: Actor) -> ChangeView:
    """Answer one change."""
    return state.change(given.id)


def retry_change(state: State, given: RecordKey, actor: Actor) -> None:
    """Ask for what failed of a change to be applied again."""
    change = state.change(given.id)
    failed = {Ref.parse(o.resource) for o in change.resources if o.status is ChangeStatus.FAILED}
    # A name may belong to somebody else by now: what the actor does not see is not the change's any more.
    still_there = (state.find(ref) for ref in sorted(failed))
    mine = [resource.ref for resource in still_there if resource is not None and actor.sees(resource.tenant)]
    if not mine:
        raise Conflict(f"Nothing of the change {given.id} is left to be tried again.", code="not_failed")
    for ref in mine:
        state.retry(ref)


def list_previews(state: State, given: RecordList, actor: Actor) -> Page[PreviewView]:
    """Answer the previews in the actor's scope."""
    page = state.previews(tenants=actor.tenants, limit=given.limit, after=given.after)
    return Page[PreviewView](items=[_readable(preview, actor) for preview in page.items], next=page.next)


def show_preview(state: State, given: RecordKey, actor: Actor) -> PreviewView:
    """Answer one preview."""
    return _readable(state.preview(given.id), actor)


def list_runs(state: State, given: RecordList, actor: Actor) -> Page[RunView]:
    """Answer the runs."""
    return state.runs(limit=given.limit, after=given.after)


def show_run(state: State, given: RecordKey, actor: Actor) -> RunView:
    """Answer one run."""
    return state.run(given.id)


def list_events(state: State, given: SequenceList, actor: Actor) -> EventPage:
    """Answer the events in the actor's scope."""
    items = state.events(tenants=actor.tenants, limit=given.limit, after=given.after)
    return EventPage(items=items, next=items[-1].id if len(items) == given.limit else None)


def list_audit(state: State, given: SequenceList, actor: Actor) -> AuditPage:
    """Answer the audit entries."""
    items = state.audit(limit=given.limit, after=given.after)
    return AuditPage(items=items, next=items[-1].id if len(items) == given.limit else None)


def verify_audit(state: State, given: Nothing, actor: Actor) -> AuditVerdict:
    """Check the hash chain."""
    return state.verify_audit()


def _readable(preview: PreviewView, actor: Actor) -> PreviewView:
    """Return a preview with the differences that the actor may read; of what all tenants share there is one line."""
    if actor.tenants is None:
        return preview
    items = [item if item.resource.startswith(OWNED) else _summary(item) for item in preview.items]
    return preview.model_copy(update={"items": items})


def _summary(item: PredictedItem) -> PredictedItem:
    message = f"{len(item.diff)} differences in what all tenants of the server share."
    return item.model_copy(update={"diff": [], "message": message, "not_checked": ""})


class Operations:
    """The functions behind ``operation.*``; the registry is there only after all modules are declared."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry

    def list_all(self, state: State, given: Nothing, actor: Actor) -> Page[OperationView]:
        """Answer every operation that this installation has."""
        return Page[OperationView](items=[self._view(operation) for operation in self._registry()])

    def show(self, state: State, given: OperationKey, actor: Actor) -> OperationView:
        """Answer one operation."""
        return self._view(self._registry().operation(given.name))

    def _view(self, operation: Operation) -> OperationView:
        route = route_of(operation)
        return OperationView(
            name=operation.name,
            kind=operation.kind.value,
            summary=operation.summary,
            permission=operation.permission,
            method=route.method,
            path=route.path,
            command=operation.command,
            roles=self._roles(operation),
            conflicts=list(operation.conflicts),
            example=dict(operation.example),
            source=operation.source,
        )

    def _roles(self, operation: Operation) -> list[str]:
        if operation.kind is Kind.QUERY:
            return []
        if operation.object == "module":
            return [role for module in self._registry().modules.values() for role in module.roles]
        return ROLES.get(operation.object, [])
