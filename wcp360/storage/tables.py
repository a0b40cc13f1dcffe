"""The tables as peewee's query builder sees them; what they are made of stands in ``migrations``.

Rows are plain dictionaries: the rules work on the immutable values of ``wcp360.core``, so that objects with a life of
their own between database and rules would only be copied. Peewee is untyped; ``Any`` stays inside this package.
"""

from __future__ import annotations

from typing import Any

from peewee import Table

COLUMNS: dict[str, tuple[str, ...]] = {
    "resource": ("kind", "name", "tenant", "life", "spec", "purge", "created", "updated"),
    "target": (
        "kind",
        "name",
        "node",
        "tenant",
        "life",
        "purge",
        "wanted",
        "applied",
        "failed",
        "items",
        "applied_items",
        "applied_life",
        "depends",
        "reason",
        "attempts",
        "retry_at",
        "facts",
        "asked",
        "bulk",
        "turn",
        "asked_by",
        "preview",
    ),
    "claim": ("hostname", "reversed", "kind", "name", "tenant", "leaving"),
    "former": ("kind", "name", "node", "revision"),
    "counter": ("name", "value"),
    "change": (
        "id",
        "operation",
        "input",
        "actor",
        "tenant",
        "status",
        "reason",
        "correlation",
        "created",
        "finished",
        "preview",
    ),
    "change_target": ("change", "kind", "name", "node", "revision", "status", "reason"),
    "preview": (
        "id",
        "operation",
        "input",
        "actor",
        "tenant",
        "status",
        "reason",
        "base",
        "batches",
        "changed",
        "items",
        "correlation",
        "created",
        "finished",
        "undo",
    ),
    "run": (
        "id",
        "node",
        "is_check",
        "preview",
        "status",
        "reason",
        "resources",
        "items",
        "correlation",
        "created",
        "finished",
    ),
    "run_target": ("run", "kind", "name", "revision", "life", "items", "recorded"),
    "run_change": ("run", "change"),
    "event": ("id", "time", "type", "tenant", "data", "correlation"),
    "audit": (
        "id",
        "time",
        "actor",
        "operation",
        "tenant",
        "outcome",
        "input",
        "correlation",
        "previous",
        "hash",
    ),
    "token": ("id", "name", "hash", "permissions", "tenants", "created", "revoked"),
    "answer": ("actor", "key", "request", "body", "created"),
    "lease": ("name", "owner", "expires"),
}

Row = dict[str, Any]

UNRANKED = -1
"""``bulk`` of a target that this transaction has asked for, until the change tells whether it is bulk."""

CHUNK = 500
"""Rows or names in one statement: times a table's columns this stays below SQLite's limit of 32,766 bound values."""


class Tables:
    """Every table, bound to one database."""

    resource: Any
    target: Any
    claim: Any
    former: Any
    counter: Any
    change: Any
    change_target: Any
    preview: Any
    run: Any
    run_target: Any
    run_change: Any
    event: Any
    audit: Any
    token: Any
    answer: Any
    lease: Any

    def __init__(self, database: Any) -> None:
        self.database = database
        for name, columns in COLUMNS.items():
            setattr(self, name, Table(name, columns).bind(database))


def insert_all(table: Any, rows: list[Row]) -> None:
    """Insert rows, which all have the same columns, in chunks.

    The text is put together here: peewee takes longer to write such a statement than a database to carry it out.
    """
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        names = list(chunk[0])
        columns = ", ".join(f'"{name}"' for name in names)
        values = ", ".join(["(" + ", ".join([table._database.param] * len(names)) + ")"] * len(chunk))
        statement = f'INSERT INTO "{table.__name__}" ({columns}) VALUES {values}'  # noqa: S608 - names of COLUMNS
        table._database.execute_sql(statement, [row[name] for row in chunk for name in names])


def fetch(table: Any, condition: str, values: list[Any]) -> list[Row]:
    """Return the rows that match a condition in SQL with ``?`` for its values; quicker than through peewee."""
    names = COLUMNS[table.__name__]
    columns = ", ".join(f'"{name}"' for name in names)
    condition = condition.replace("?", table._database.param)
    statement = f'SELECT {columns} FROM "{table.__name__}" WHERE {condition}'  # noqa: S608 - constants of this package
    return [dict(zip(names, row, strict=True)) for row in table._database.execute_sql(statement, values).fetchall()]
