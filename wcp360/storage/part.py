"""What the parts of a transaction share."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from wcp360.core.ports import Tenants
from wcp360.core.resources import Ref
from wcp360.storage.tables import CHUNK, Row, Tables

ASKED, EVENT, AUDIT = ".asked", ".event", ".audit"
"""Storage's own counters; the point keeps them apart from those of modules."""


class Part:
    """One open transaction; ``writable`` is false in a reading one."""

    def __init__(self, tables: Tables, *, writable: bool) -> None:
        self.tables = tables
        self.touched: set[Ref] = set()
        self._writable = writable

    def _writing(self) -> None:
        if not self._writable:
            raise RuntimeError("This transaction only reads; open it with write() to change something.")

    def _count(self, counter: str) -> int | None:
        row = self.tables.counter.select().where(self.tables.counter.name == counter).first()
        return None if row is None else int(row["value"])

    def _next(self, counter: str) -> int:
        """Count a counter up; it has no gaps, because a transaction that is taken back gives its numbers back too."""
        self._writing()
        before = self._count(counter)
        value = 1 if before is None else before + 1
        self._set_counter(counter, value)
        return value

    def _set_counter(self, counter: str, value: int) -> None:
        table = self.tables.counter
        table.insert(name=counter, value=value).on_conflict(
            conflict_target=[table.name], update={table.value: value}
        ).execute()


def in_scope(column: Any, tenants: Tenants) -> Any:
    """Return the condition that a row's tenant is among those that a caller may see."""
    return column.in_(sorted(tenants or ()))


def matches(table: Any, ref: Ref) -> Any:
    """Return the condition that a row belongs to a resource."""
    return (table.kind == ref.kind) & (table.name == ref.name)


def rows_of(table: Any, refs: Iterable[Ref], *conditions: Any, columns: Iterable[Any] = ()) -> list[Row]:
    """Return the rows of many resources by a few statements, in their order; all columns unless some are given."""
    rows: list[Row] = []
    wanted = sorted(set(refs))
    for kind, of_kind in groupby(wanted, key=lambda ref: ref.kind):
        names = [ref.name for ref in of_kind]
        for start in range(0, len(names), CHUNK):
            here = (table.kind == kind) & table.name.in_(names[start : start + CHUNK])
            for condition in conditions:
                here &= condition
            rows.extend(table.select(*columns).where(here).order_by(table.name))
    return rows


def ref_of(row: Row) -> Ref:
    """Return the resource that a row belongs to."""
    return Ref(row["kind"], row["name"])
