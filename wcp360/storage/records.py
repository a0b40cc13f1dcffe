"""Records as queries see them: changes, previews, runs, events and the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from wcp360.core.errors import NotFound
from wcp360.core.ports import Tenants
from wcp360.core.views import (
    AuditVerdict,
    AuditView,
    ChangeStatus,
    ChangeView,
    EventView,
    PreviewView,
    ResourceOutcome,
    RunView,
)
from wcp360.storage.audit import HASHED, verify
from wcp360.storage.dialect import UNREADABLE
from wcp360.storage.encode import from_text
from wcp360.storage.part import AUDIT, Part, in_scope, ref_of
from wcp360.storage.tables import Row


class RecordsPart(Part):
    """The part of a transaction that answers queries about WCP360's own records."""

    def change(self, change_id: str) -> ChangeView:
        """Return a change or raise NotFound."""
        row = self._row("change", change_id)
        table, links = self.tables.change_target, self.tables.run_change
        outcomes = table.select().where(table.change == change_id).order_by(table.kind, table.name, table.node)
        runs = links.select().where(links.change == change_id).order_by(links.run)
        return _change_of(row, list(outcomes), [link["run"] for link in runs])

    def preview(self, preview_id: str) -> PreviewView:
        """Return a preview or raise NotFound."""
        return preview_of(self._row("preview", preview_id))

    def run(self, run_id: str) -> RunView:
        """Return a run or raise NotFound."""
        links = self.tables.run_change
        changes = links.select().where(links.run == run_id).order_by(links.change)
        return run_of(self._row("run", run_id), [link["change"] for link in changes])

    def events(self, *, tenants: Tenants, limit: int, after: int) -> list[EventView]:
        """Return the events after a number, oldest first."""
        table = self.tables.event
        query = table.select().where(table.id > after)
        if tenants is not None:
            query = query.where(in_scope(table.tenant, tenants))
        return [event_of(row) for row in query.order_by(table.id).limit(limit)]

    def audit(self, *, limit: int, after: int) -> list[AuditView]:
        """Return the audit entries after a number, oldest first."""
        table = self.tables.audit
        rows = table.select().where(table.id > after).order_by(table.id).limit(limit)
        return [AuditView(**(row | {"input": from_text(row["input"])})) for row in rows]

    def verify_audit(self) -> AuditVerdict:
        """Check the hash chain of the whole audit log."""
        try:
            return verify(self._raw_audit(), self._count(AUDIT) or 0)
        except UNREADABLE as error:
            detail = f"The audit log cannot be read to its end: {error}. Restore it from a backup."
            return AuditVerdict(intact=False, entries=0, detail=detail)

    def _raw_audit(self) -> Iterator[tuple[Any, ...]]:
        table = self.tables.audit
        columns = [getattr(table, name) for name in (*HASHED, "hash")]
        rows: Iterator[tuple[Any, ...]] = table.select(*columns).order_by(table.id).tuples().iterator()
        return rows

    def _row(self, noun: str, key: str) -> Row:
        table = getattr(self.tables, noun)
        row: Row | None = table.select().where(table.id == key).first()
        if row is None:
            raise NotFound(f"There is no {noun} {key!r}. Check the identifier.")
        return row


def reason_of(outcomes: Iterable[Row]) -> str:
    """Return one sentence for all of a change's targets: the first that failed, else the first that waits."""
    told = [row for row in outcomes if row["reason"]]
    worst = [row for row in told if row["status"] == ChangeStatus.FAILED.value] or told
    if not worst:
        return ""
    more = f" ({len(worst) - 1} more like this)" if len(worst) > 1 else ""
    return f"{ref_of(worst[0])} on {worst[0]['node']}: {worst[0]['reason']}{more}"


def event_of(row: Row) -> EventView:
    """Return the event in a row."""
    return EventView(**(row | {"data": from_text(row["data"])}))


def preview_of(row: Row) -> PreviewView:
    """Return the preview in a row."""
    values = {name: value for name, value in row.items() if name not in ("batches", "undo")}
    changed = None if row["changed"] is None else bool(row["changed"])
    parsed = {name: from_text(row[name]) for name in ("input", "base", "items")}
    return PreviewView(**(values | parsed | {"changed": changed}))


def run_of(row: Row, changes: list[str]) -> RunView:
    """Return the run in a row."""
    values = {name: value for name, value in row.items() if name not in ("is_check", "preview")}
    parsed = {name: from_text(row[name]) for name in ("resources", "items")}
    return RunView(**(values | parsed | {"check": bool(row["is_check"]), "changes": changes}))


def _change_of(row: Row, outcomes: list[Row], runs: list[str]) -> ChangeView:
    resources = [
        ResourceOutcome(
            resource=str(ref_of(each)),
            node=each["node"],
            revision=each["revision"],
            status=ChangeStatus(each["status"]),
            reason=each["reason"],
        )
        for each in outcomes
    ]
    computed = {
        "input": from_text(row["input"]),
        "reason": row["reason"] or reason_of(outcomes),
        "resources": resources,
        "runs": runs,
    }
    return ChangeView(**(row | computed))
