"""Lists: what ``wcp360.core.listing`` asks for as statements, for resources and for records alike."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from peewee import fn

from wcp360.core.listing import Condition, Match, Place, Query, wrong_cursor
from wcp360.core.ports import Tenants
from wcp360.core.resources import Life, Ref
from wcp360.core.views import AuditView, ChangeRow, EventView, Page, PreviewRow, ResourceOutcome, RunRow
from wcp360.storage.desired import DesiredPart, outcome_of
from wcp360.storage.encode import from_text
from wcp360.storage.part import in_scope, ref_of, rows_of
from wcp360.storage.tables import COLUMNS, Row, Tables

Test = Callable[[Tables, Any, Any], Any]
"""Returns the condition on a row that a filter with a value means."""


COMPARED: dict[Match, Callable[[Any, Any], Any]] = {
    Match.IS: operator.eq,
    Match.SINCE: operator.ge,
    Match.AFTER: operator.gt,
    Match.BEFORE: operator.lt,
    Match.STARTS: lambda column, value: column.startswith(value),
    Match.CONTAINS: lambda column, value: column.contains(value),
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of row is listed: its table, its key, what columns are called there, filters that are no columns."""

    table: str
    key: str
    view: Callable[[Row], Any]
    columns: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    tests: Mapping[str, Test] = field(default_factory=dict)
    numbered: bool = False


class ListsPart(DesiredPart):
    """The part of a transaction that answers lists."""

    def page(self, kind: str, query: Query | None = None, *, tenants: Tenants = None) -> Page[Any]:
        """Return a page of ``kind``: rows of records, or Resource values of a kind of resources, tombstones included.

        ``tenants`` limits it to what a caller may see.
        """
        self.kept.flush()
        query = query or Query()
        listed = KINDS.get(kind)
        if listed is not None:
            rows, following = self._listed(listed, query, tenants)
            return Page[Any](items=[listed.view(row) for row in rows], next=following)
        table = self.tables.resource
        rows, following = self._listed(_RESOURCE, query, tenants, table.kind == kind)
        # The view's type parameter is left open, so that pydantic takes Resource, which is not a model, as it is.
        return Page[Any](items=self._resources(rows), next=following)

    def outcomes_of(self, refs: Iterable[Ref]) -> dict[Ref, list[ResourceOutcome]]:
        """Return how far each of ``refs`` has come on each of its nodes."""
        table = self.tables.target
        columns = [getattr(table, name) for name in ("kind", "name", "node", "wanted", "applied", "failed", "reason")]
        self.kept.flush()
        found: dict[Ref, list[ResourceOutcome]] = {ref: [] for ref in refs}
        for row in rows_of(table, found, columns=columns):
            found[ref_of(row)].append(outcome_of(row))
        for outcomes in found.values():
            outcomes.sort(key=lambda outcome: outcome.node)
        return found

    def facts_of(self, refs: list[Ref]) -> dict[Ref, dict[str, Any]]:
        """Return what the last runs learned about each of ``refs``."""
        table = self.tables.target
        self.kept.flush()
        found: dict[Ref, dict[str, Any]] = {ref: {} for ref in refs}
        for row in rows_of(table, refs, columns=(table.kind, table.name, table.node, table.facts)):
            found[ref_of(row)] |= from_text(row["facts"])
        return found

    def dependents(self, refs: list[Ref]) -> dict[Ref, int]:
        """Return how many targets depend on each of ``refs``."""
        table = self.tables.target
        self.kept.flush()
        wanted = {str(ref): ref for ref in refs}
        found = dict.fromkeys(refs, 0)
        for row in table.select(table.depends, fn.COUNT(table.name).alias("times")).group_by(table.depends):
            for text in wanted.keys() & set(from_text(row["depends"])):
                found[wanted[text]] += row["times"]
        return found

    def _listed(self, kind: _Kind, query: Query, tenants: Tenants, *more: Any) -> tuple[list[Row], str | None]:
        table = getattr(self.tables, kind.table)
        conditions = [*more, *(self._condition(kind, table, condition) for condition in query.conditions)]
        if tenants is not None:
            conditions.append(in_scope(table.tenant, tenants))
        order = _order(kind, query)
        if query.place:
            conditions.append(_follows(kind, table, order, query))
        statement = table.select(*(getattr(table, name) for name in kind.columns))
        if conditions:
            statement = statement.where(reduce(operator.and_, conditions))
        columns = [getattr(table, name) for name in order]
        turned = [column.desc() for column in columns] if query.descending else columns
        rows = list(statement.order_by(*turned).limit(query.limit + 1))
        if len(rows) <= query.limit:
            return rows, None
        return rows[: query.limit], query.cursor(tuple(rows[query.limit - 1][name] for name in order))

    def _condition(self, kind: _Kind, table: Any, condition: Condition) -> Any:
        test = kind.tests.get(condition.column)
        if test is not None:
            return test(self.tables, table, condition.value)
        column = getattr(table, kind.renamed.get(condition.column, condition.column))
        return COMPARED[condition.how](column, condition.value)


def _order(kind: _Kind, query: Query) -> tuple[str, ...]:
    """Return the columns that sort: the one asked for, then the key, without which equal rows have no order.

    Identifiers are ULIDs and numbers that count up: in the order of creation they alone do.
    """
    if query.sort == "created" and kind.key == "id":
        return ("id",)
    column = kind.renamed.get(query.sort, query.sort)
    return (column,) if column == kind.key else (column, kind.key)


def _follows(kind: _Kind, table: Any, order: tuple[str, ...], query: Query) -> Any:
    place: Place = query.place
    numbered = [kind.numbered and name == kind.key for name in order]
    if len(place) != len(order) or [isinstance(part, int) for part in place] != numbered:
        raise wrong_cursor()

    def beyond(name: str, value: str | int) -> Any:
        column = getattr(table, name)
        return column < value if query.descending else column > value

    if len(order) == 1:
        return beyond(order[0], place[0])
    return beyond(order[0], place[0]) | ((getattr(table, order[0]) == place[0]) & beyond(order[1], place[1]))


def _targets(tables: Tables, resource: Any, *conditions: Any) -> Any:
    target = tables.target.alias("t")
    here = (target.kind == resource.kind) & (target.name == resource.name)
    for condition in conditions:
        here &= condition(target)
    return fn.EXISTS(target.select(target.node).where(here))


def _failed(target: Any) -> Any:
    return (target.applied < target.wanted) & (target.failed >= target.wanted)


def _waits(target: Any) -> Any:
    return (target.applied < target.wanted) & (target.failed < target.wanted)


def _resource_status(tables: Tables, resource: Any, value: str) -> Any:
    """Say in SQL what ``core.status.status_of`` says of one resource."""
    failed, waits = _targets(tables, resource, _failed), _targets(tables, resource, _waits)
    gone = resource.life == Life.ABSENT.value
    match value:
        case "failed":
            return failed
        case "removing":
            return ~failed & gone
        case "pending":
            return ~failed & ~gone & waits
    return ~failed & ~gone & ~waits


def _on_node(tables: Tables, resource: Any, value: str) -> Any:
    return _targets(tables, resource, lambda target: target.node == value)


def _linked(link: str, owner: str, column: str) -> Test:
    """Return a test for rows that ``link`` joins by its column ``owner`` to what has the value in ``column``."""

    def test(tables: Tables, table: Any, value: str) -> Any:
        rows = getattr(tables, link).alias("l")
        here = (getattr(rows, owner) == table.id) & (getattr(rows, column) == value)
        return fn.EXISTS(rows.select(getattr(rows, owner)).where(here))

    return test


def _touched(tables: Tables, table: Any, value: str) -> Any:
    rows, ref = tables.change_target.alias("l"), Ref.parse(value)
    here = (rows.change == table.id) & (rows.kind == ref.kind) & (rows.name == ref.name)
    return fn.EXISTS(rows.select(rows.change).where(here))


def _checked(tables: Tables, table: Any, value: bool) -> Any:
    return table.is_check == int(value)


def _preview_row(row: Row) -> PreviewRow:
    return PreviewRow(**(row | {"changed": None if row["changed"] is None else bool(row["changed"])}))


def _run_row(row: Row) -> RunRow:
    return RunRow(check=bool(row.pop("is_check")), **row)


def _event(row: Row) -> EventView:
    return EventView(**(row | {"data": from_text(row["data"])}))


def _audit(row: Row) -> AuditView:
    return AuditView(**(row | {"input": from_text(row["input"])}))


_RECORD = ("id", "operation", "actor", "tenant", "status", "reason", "correlation", "created", "finished")
_RESOURCE = _Kind(
    table="resource",
    key="name",
    view=dict,
    columns=COLUMNS["resource"],
    renamed={"state": "life"},
    tests={"status": _resource_status, "node": _on_node},
)
KINDS = {
    "change": _Kind(
        table="change",
        key="id",
        view=lambda row: ChangeRow(**row),
        columns=_RECORD,
        tests={"node": _linked("change_target", "change", "node"), "resource": _touched},
    ),
    "preview": _Kind(table="preview", key="id", view=_preview_row, columns=(*_RECORD, "changed")),
    "run": _Kind(
        table="run",
        key="id",
        view=_run_row,
        columns=("id", "node", "is_check", "status", "reason", "correlation", "created", "finished"),
        tests={"check": _checked, "change": _linked("run_change", "run", "change")},
    ),
    "event": _Kind(
        table="event", key="id", view=_event, columns=COLUMNS["event"], renamed={"created": "time"}, numbered=True
    ),
    "audit": _Kind(
        table="audit", key="id", view=_audit, columns=COLUMNS["audit"], renamed={"created": "time"}, numbered=True
    ),
}
