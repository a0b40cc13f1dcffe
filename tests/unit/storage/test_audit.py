"""The audit chain: what tampering it finds, and what it cannot find."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from peewee import PeeweeException

from tests.postgresql import Databases
from wcp360.storage import SqlStore
from wcp360.storage.audit import FIRST, HASHED, chain_hash

from .helpers import rows

ENTRIES = 40


@pytest.fixture
def log(sqlite_store: SqlStore) -> Path:
    """A file with a log of entries whose every column has something recognisable in it."""
    fill(sqlite_store)
    sqlite_store.close()
    with sqlite3.connect(sqlite_store.dialect.path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sqlite_store.dialect.path


def fill(store: SqlStore) -> None:
    for number in range(ENTRIES):
        with store.write() as unit:
            unit.add_audit(
                actor=f"actor-{number}",
                operation="domain.create",
                tenant=None if number % 3 else f"tenant{number}",
                outcome="accepted",
                given={"name": f"d{number}.test", "text": "ü€ {{ x }}"},
                correlation=f"01CORRELATION{number}",
            )


def verdict(path: Path):
    opened = SqlStore(path)
    try:
        with opened.read() as state:
            return state.verify_audit()
    finally:
        opened.close()


def tamper(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TRIGGER audit_no_update")
        raw.execute("DROP TRIGGER audit_no_delete")
        for statement in statements:
            raw.execute(statement)


def test_an_honest_log_holds(log: Path) -> None:
    found = verdict(log)
    assert found.intact and found.entries == ENTRIES
    with SqlStore(log).read() as state:
        entries = state.audit(limit=10, after=30)
        last = state.audit(limit=99, after=ENTRIES - 1)[0]
    assert [entry.id for entry in entries] == list(range(31, 41)) and last.hash in found.detail
    assert entries[0].input == {"name": "d30.test", "text": "ü€ {{ x }}"} and entries[0].tenant == "tenant30"


def test_an_empty_log_holds(store: SqlStore) -> None:
    with store.read() as state:
        assert state.verify_audit().intact


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody' WHERE id = 3", "DELETE FROM audit"])
def test_the_database_refuses_to_change_entries(store: SqlStore, statement: str) -> None:
    fill(store)
    with pytest.raises(PeeweeException, match="never changed"):
        rows(store, statement)
    with store.read() as state:
        found = state.verify_audit()
    assert found.intact and found.entries == ENTRIES


@pytest.mark.parametrize(
    "statement",
    [
        *(f"UPDATE audit SET {column} = 'x' WHERE id = 7" for column in (*HASHED[1:], "hash")),
        "UPDATE audit SET id = 99 WHERE id = 7",
        "DELETE FROM audit WHERE id = 1",
        f"DELETE FROM audit WHERE id = {ENTRIES}",
        "UPDATE counter SET value = value - 1 WHERE name = '.audit'",
    ],
)
def test_a_changed_entry_is_found_on_postgresql_too(databases: Databases, statement: str) -> None:
    store = SqlStore(databases.server.url(databases.fresh()))
    fill(store)
    rows(store, "DROP TRIGGER audit_append_only ON audit")
    rows(store, statement)
    with store.read() as state:
        assert not state.verify_audit().intact
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        *(f"UPDATE audit SET {column} = 'x' WHERE id = 7" for column in (*HASHED[1:], "hash")),
        "UPDATE audit SET tenant = NULL WHERE id = 7",
        "UPDATE audit SET actor = CAST(actor AS BLOB) WHERE id = 7",
        "UPDATE audit SET input = input || ' ' WHERE id = 7",
        "UPDATE audit SET id = 99 WHERE id = 7",
        "DELETE FROM audit WHERE id = 1",
        "DELETE FROM audit WHERE id = 7",
        f"DELETE FROM audit WHERE id = {ENTRIES}",
        "DELETE FROM audit",
        f"INSERT INTO audit SELECT {ENTRIES + 1}, {', '.join((*HASHED[1:], 'hash'))} FROM audit WHERE id = {ENTRIES}",
        "UPDATE counter SET value = value - 1 WHERE name = '.audit'",
        "DELETE FROM counter WHERE name = '.audit'",
    ],
)
def test_a_changed_entry_is_found(log: Path, statement: str) -> None:
    tamper(log, statement)
    assert not verdict(log).intact


def test_an_entry_with_a_hash_of_its_own_is_found_by_the_next(log: Path) -> None:
    with sqlite3.connect(log) as raw:
        row = list(raw.execute(f"SELECT {', '.join(HASHED)} FROM audit WHERE id = 7").fetchone())
    row[2] = "nobody"
    tamper(log, f"UPDATE audit SET actor = 'nobody', hash = '{chain_hash(row)}' WHERE id = 7")
    found = verdict(log)
    assert not found.intact and "Entry 8" in found.detail


def test_a_whole_new_chain_is_found_only_by_a_hash_noted_elsewhere(log: Path) -> None:
    """The limit that the documentation of ``wcp360.storage.audit`` states."""
    noted = verdict(log).detail
    previous = FIRST
    with sqlite3.connect(log) as raw:
        rows = [list(row) for row in raw.execute(f"SELECT {', '.join(HASHED)} FROM audit ORDER BY id")]
    rows[6][2] = "nobody"
    statements = []
    for row in rows:
        row[-1] = previous
        previous = chain_hash(row)
        statements.append(
            f"UPDATE audit SET actor = '{row[2]}', previous = '{row[-1]}', hash = '{previous}' WHERE id = {row[0]}"
        )
    tamper(log, *statements)
    forged = verdict(log)
    assert forged.intact and forged.detail != noted


def test_any_flipped_byte_of_the_entries_is_found(log: Path, tmp_path: Path) -> None:
    """100 random bytes out of those that hold entries, found by the entries' own texts in the file."""
    content = log.read_bytes()
    spans = record_spans(content)
    rng = random.Random(1)
    for _ in range(100):
        start, end = rng.choice(spans)
        position = rng.randrange(start, end)
        changed = bytearray(content)
        changed[position] ^= 1 << rng.randrange(8)
        copy = tmp_path / "flipped.db"
        copy.write_bytes(changed)
        assert not verdict(copy).intact, (position, start, end)
        for path in tmp_path.glob("flipped.db*"):
            path.unlink()


def record_spans(content: bytes) -> list[tuple[int, int]]:
    """Return where each entry's payload lies: from its time to the end of its hash (it has no overflow pages)."""
    spans = []
    memory = sqlite3.connect(":memory:")
    memory.deserialize(content[:18] + b"\x01\x01" + content[20:])  # an image in memory cannot have a write-ahead log
    rows = list(memory.execute("SELECT time, actor, hash FROM audit"))
    for when, actor, digest in rows:
        start = content.index((when + actor + "domain.create").encode())
        end = content.index(digest.encode(), start) + len(digest)
        spans.append((start, end))
    return spans


def test_flipped_headers_of_entries_are_found_too(log: Path, tmp_path: Path) -> None:
    """The bytes before an entry's text say how to read it: its length, its number and the type of each column."""
    content = log.read_bytes()
    for start, _ in record_spans(content)[5:15]:
        for position in range(start - 12, start):
            for bit in range(8):
                changed = bytearray(content)
                changed[position] ^= 1 << bit
                copy = tmp_path / "flipped.db"
                copy.write_bytes(changed)
                found = verdict(copy)
                if found.intact:
                    assert same_entries(log, copy), (position - start, bit)
                for path in tmp_path.glob("flipped.db*"):
                    path.unlink()


def same_entries(one: Path, other: Path) -> bool:
    """Tell whether a flip has changed nothing that anybody could read."""
    query = "SELECT *, typeof(id), typeof(time), typeof(actor), typeof(input) FROM audit ORDER BY id"
    with sqlite3.connect(one) as first, sqlite3.connect(other) as second:
        return list(first.execute(query)) == list(second.execute(query))
