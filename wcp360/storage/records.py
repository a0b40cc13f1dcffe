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
    Page,
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
        return self._changes([self._row("change", change_id)])[0]

    def changes(self, *, tenants: Tenants, limit: int, after: str) -> Page[ChangeView]:
        """Return changes, newest first."""
        rows, following = self._newest("change", tenants, limit, after)
        return Page[ChangeView](items=self._changes(rows), next=following)

    def preview(self, preview_id: str) -> PreviewView:
        """Return a preview or raise NotFound."""
        return preview_of(self._row("preview", preview_id))

    def previews(self, *, tenants: Tenants, limit: int, after: str) -> Page[PreviewView]:
        """Return previews, newest first."""
        rows, following = self._newest("preview", tenants, limit, after)
        return Page[PreviewView](items=[preview_of(row) for row in rows], next=following)

    def run(self, run_id: str) -> RunView:
        """Return a run or raise NotFound."""
        return self._runs([self._row("run", run_id)])[0]

    def runs(self, *, limit: int, after: str) -> Page[RunView]:
        """Return runs, newest first."""
        rows, following = self._newest("run", None, limit, after)
        return Page[RunView](items=self._runs(rows), next=following)

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

    def _newest(self, noun: str, tenants: Tenants, limit: int, after: str) -> tuple[list[Row], str | None]:
        table = getattr(self.tables, noun)
        query = table.select()
        if after:
            query = query.where(table.id < after)
        if tenants is not None:
            query = query.where(in_scope(table.tenant, tenants))
        rows = list(query.order_by(table.id.desc()).limit(limit + 1))
        return rows[:limit], rows[limit - 1]["id"] if len(rows) > limit else None

    def _changes(self, rows: list[Row]) -> list[ChangeView]:
        ids = [row["id"] for row in rows]
        table, links = self.tables.change_target, self.tables.run_change
        order = (table.kind, table.name, table.node)
        outcomes = _grouped(table.select().where(table.change.in_(ids)).order_by(*order), "change")
        runs = _grouped(links.select().where(links.change.in_(ids)).order_by(links.run), "change")
        return [_change_of(row, outcomes.get(row["id"], []), runs.get(row["id"], [])) for row in rows]

    def _runs(self, rows: list[Row]) -> list[RunView]:
        links = self.tables.run_change
        query = links.select().where(links.run.in_([row["id"] for row in rows])).order_by(links.change)
        changes = _grouped(query, "run")
        return [run_of(row, [link["change"] for link in changes.get(row["id"], [])]) for row in rows]


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
    values = {name: value for name, value in row.items() if name != "batches"}
    changed = None if row["changed"] is None else bool(row["changed"])
    parsed = {name: from_text(row[name]) for name in ("input", "base", "items")}
    return PreviewView(**(values | parsed | {"changed": changed}))


def run_of(row: Row, changes: list[str]) -> RunView:
    """Return the run in a row."""
    values = {name: value for name, value in row.items() if name not in ("is_check", "preview")}
    parsed = {name: from_text(row[name]) for name in ("resources", "items")}
    return RunView(**(values | parsed | {"check": bool(row["is_check"]), "changes": changes}))


def _change_of(row: Row, outcomes: list[Row], runs: list[Row]) -> ChangeView:
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
        "runs": [link["run"] for link in runs],
    }
    return ChangeView(**(row | computed))


def _grouped(rows: Iterable[Row], key: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups
