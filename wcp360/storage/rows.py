"""Rows of resources and of what belongs to them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from wcp360.core.resources import Ref
from wcp360.storage.tables import CHUNK, Row


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
