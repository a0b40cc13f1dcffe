"""A database that is full or locked: refused with the reason, nothing half written, usable afterwards."""

from __future__ import annotations

import sqlite3

import pytest

from wcp360.core.errors import Unavailable
from wcp360.core.resources import Ref
from wcp360.storage import SqlStore

from .helpers import content_hash, submit

SITE = Ref("domain", "example.com")


def test_a_full_disk_is_named_and_survived(store: SqlStore) -> None:
    submit(store, SITE, "a")
    before = content_hash(store.dialect.path)
    database = store.dialect.database
    # SQLite's own limit on the file ends in the same SQLITE_FULL as a disk without space.
    database.execute_sql(f"PRAGMA max_page_count = {database.pragma('page_count')}").fetchone()
    with pytest.raises(Unavailable, match="full"):
        submit(store, SITE, "b" * 100_000)
    assert content_hash(store.dialect.path) == before
    database.execute_sql("PRAGMA max_page_count = 1000000").fetchone()
    assert submit(store, SITE, "b" * 100_000).resources[0].revision == 2


def test_a_lock_that_stays_is_named(store: SqlStore) -> None:
    submit(store, SITE, "a")
    store.dialect.database.timeout = 0.2
    holder = sqlite3.connect(store.dialect.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        submit(store, SITE, "b")
    with store.read() as state:
        assert state.get(SITE).spec == {"text": "a"}
    holder.execute("ROLLBACK")
    holder.close()
    assert submit(store, SITE, "b").resources[0].revision == 2
