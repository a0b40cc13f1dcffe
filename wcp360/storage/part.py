"""What the parts of a transaction share."""

from __future__ import annotations

from typing import Any

from wcp360.core.ports import Tenants
from wcp360.core.resources import Ref
from wcp360.storage.kept import Kept
from wcp360.storage.rows import matches, ref_of, rows_of
from wcp360.storage.tables import Tables

__all__ = ["ASKED", "AUDIT", "EVENT", "Part", "in_scope", "matches", "ref_of", "rows_of"]

ASKED, EVENT, AUDIT = ".asked", ".event", ".audit"
"""Storage's own counters; the point keeps them apart from those of modules."""


class Part:
    """One open transaction; ``writable`` is false in a reading one."""

    def __init__(self, tables: Tables, *, writable: bool) -> None:
        self.tables = tables
        self.kept = Kept(tables)
        self.touched: set[Ref] = set()
        self._writable = writable

    def _writing(self) -> None:
        if not self._writable:
            raise RuntimeError("This transaction only reads; open it with write() to change something.")

    def _count(self, counter: str) -> int | None:
        return self.kept.counter(counter)

    def _next(self, counter: str) -> int:
        """Count a counter up; it has no gaps, because a transaction that is taken back gives its numbers back too."""
        self._writing()
        before = self._count(counter)
        value = 1 if before is None else before + 1
        self.kept.set_counter(counter, value)
        return value


def in_scope(column: Any, tenants: Tenants) -> Any:
    """Return the condition that a row's tenant is among those that a caller may see."""
    return column.in_(sorted(tenants or ()))
