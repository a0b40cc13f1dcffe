"""The functions behind the queries on records, and ``change.retry``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wcp360.core.actor import Actor
from wcp360.core.errors import Conflict
from wcp360.core.listing import ListInput, page_of, query_of
from wcp360.core.operation import Kind, Operation
from wcp360.core.ports import State
from wcp360.core.registry import Registry
from wcp360.core.resources import Ref
from wcp360.core.routes import route_of
from wcp360.core.views import AuditVerdict, ChangeStatus, ChangeView, Page, PredictedItem, PreviewView, RunView
from wcp360.modules.records.inputs import Nothing, OperationKey, OperationList, OperationView, RecordKey

# A preview of a tenant's operation holds no other tenant's resources; the rest is the server's.
OWNED = ("tenant:", "domain:")
ROLES = {"tenant": ["tenant", "php_fpm"], "domain": ["php_fpm", "nginx"]}


def change_owner(state: State, given: RecordKey) -> str | None:
    """Own a change by its tenant."""
    return state.change(given.id).tenant


def preview_owner(state: State, given: RecordKey) -> str | None:
    """Own a preview by its tenant."""
    return state.preview(given.id).tenant


def list_records(kind: str) -> Callable[[State, ListInput, Actor], Page[Any]]:
    """Return the function that answers the records of a kind in the actor's scope."""

    def list_them(state: State, given: ListInput, actor: Actor) -> Page[Any]:
        return state.page(kind, query_of(given), tenants=actor.tenants)

    return list_them


def list_for_server(kind: str) -> Callable[[State, ListInput, Actor], Page[Any]]:
    """Return the function that answers records of which only the server's own callers learn."""

    def list_them(state: State, given: ListInput, actor: Actor) -> Page[Any]:
        return state.page(kind, query_of(given))

    return list_them


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


def show_preview(state: State, given: RecordKey, actor: Actor) -> PreviewView:
    """Answer one preview."""
    return _readable(state.preview(given.id), actor)


def show_run(state: State, given: RecordKey, actor: Actor) -> RunView:
    """Answer one run."""
    return state.run(given.id)


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

    def list_all(self, state: State, given: OperationList, actor: Actor) -> Page[OperationView]:
        """Answer the operations that this installation has."""
        return page_of(query_of(given), map(self._view, self._registry()), lambda view: ())

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
