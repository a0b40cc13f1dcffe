"""A tiny panel on storage: enough of an operation to write, settle and accept."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

from wcp360.core.ids import new_id
from wcp360.core.ports import Target, TargetOutcome, TargetStatus
from wcp360.core.resources import Life, Ref, RoleItem, Spec
from wcp360.core.views import ChangeView, RecordStatus
from wcp360.storage import Ledger, SqlStore
from wcp360.storage.dialect import SqliteDialect
from wcp360.storage.unit import Unit

NODE = "web1"
SCHEMA = """
SELECT table_name, column_name, data_type, collation_name, is_nullable FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY 1, 2
"""


class DomainSpec(Spec):
    """A specification with one field to change."""

    text: str = ""


def want(unit: Unit, ref: Ref, text: str = "", *, nodes: tuple[str, ...] = (NODE,), **kwargs: Any) -> None:
    """Write a resource and what its nodes shall have, as an operation and the settling after it do."""
    unit.put(ref, DomainSpec(text=text), **kwargs)
    unit.want(ref, (RoleItem("nginx_sites", {"id": str(ref), "text": text}),), nodes, {})


def accept(unit: Unit, operation: str = "domain.update", tenant: str | None = "acme") -> ChangeView:
    """Record a change as the door does."""
    change = unit.add_change(
        new_id(), operation=operation, given={"a": 1}, actor="root", tenant=tenant, correlation="c1"
    )
    unit.add_event("change.accepted", {"change": change.id}, tenant=tenant, correlation="c1")
    return change


def submit(store: SqlStore, ref: Ref, text: str = "", **kwargs: Any) -> ChangeView:
    """One accepted change of one resource."""
    with store.write() as unit:
        want(unit, ref, text, **kwargs)
        return accept(unit)


def remove(store: SqlStore, ref: Ref) -> ChangeView:
    """One accepted removal."""
    return submit(store, ref, life=Life.ABSENT)


def converge(ledger: Ledger, status: str = "applied", reason: str = "", node: str = NODE) -> list[str]:
    """One run over all that is due on a node, with the same outcome for every target."""
    targets = due(ledger, node)
    run = ledger.begin_run(node, targets, correlation="c2")
    return record(
        ledger, run, [TargetOutcome(target.ref, target.wanted, TargetStatus(status), reason) for target in targets]
    )


def due(ledger: Ledger, node: str = NODE) -> list[Target]:
    """Return all that the next run on a node would take up if it had no limit."""
    return ledger.next_batch(node, 10_000)


def record(ledger: Ledger, run: str, outcomes: list[TargetOutcome]) -> list[str]:
    """End a run that went well as a whole; return the changes that it finished."""
    return ledger.conclude(run, outcomes, RecordStatus.SUCCEEDED, "", [])


def rows(store: SqlStore, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement past the store, on this thread's connection, which commits by itself."""
    cursor = store.dialect.database.execute_sql(statement)
    return list(cursor.fetchall()) if cursor.description else []


def content_hash(store: SqlStore) -> str:
    """Return a digest of everything in a database: schema and rows."""
    if isinstance(store.dialect, SqliteDialect):
        with sqlite3.connect(store.dialect.path) as connection:
            return hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()
    names = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
    found: list[Any] = [rows(store, SCHEMA)]
    for (name,) in rows(store, names):
        found.append((name, sorted(map(repr, rows(store, f'SELECT * FROM "{name}"')))))
    return hashlib.sha256(repr(found).encode()).hexdigest()
