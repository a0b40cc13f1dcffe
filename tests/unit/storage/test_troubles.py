"""A database that is full or locked: refused with the reason, nothing half written, usable afterwards."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests.postgresql import Databases
from wcp360.core.errors import Unavailable
from wcp360.core.resources import Ref
from wcp360.storage import SqlStore, migrate, pending_migrations

from .helpers import content_hash, submit, want

SITE = Ref("domain", "example.com")


def test_a_full_disk_is_named_and_survived(sqlite_store: SqlStore) -> None:
    store = sqlite_store
    submit(store, SITE, "a")
    before = content_hash(store)
    database = store.dialect.database
    # SQLite's own limit on the file ends in the same SQLITE_FULL as a disk without space.
    database.execute_sql(f"PRAGMA max_page_count = {database.pragma('page_count')}").fetchone()
    with pytest.raises(Unavailable, match="full"):
        submit(store, SITE, "b" * 100_000)
    assert content_hash(store) == before
    database.execute_sql("PRAGMA max_page_count = 1000000").fetchone()
    assert submit(store, SITE, "b" * 100_000).resources[0].revision == 2


def test_a_lock_that_stays_is_named(url: str) -> None:
    store, other = SqlStore(url), SqlStore(url)
    submit(store, SITE, "a")
    if url.startswith("sqlite"):
        store.close()
        store.dialect.database.timeout = 0.2
    else:
        store.dialect.patience = 0.2
    with holding(other), pytest.raises(Unavailable, match=r"locked|lock timeout"):
        submit(store, SITE, "b")
    with store.read() as state:
        assert state.get(SITE).spec == {"text": "a"}
    assert submit(store, SITE, "b").resources[0].revision == 2
    store.close()


@contextlib.contextmanager
def holding(store: SqlStore) -> Iterator[None]:
    """Keep a writing transaction open in another thread."""
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.write():
            begun.set()
            done.wait(30)
        store.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def postgresql_store(databases: Databases) -> Iterator[SqlStore]:
    store = SqlStore(databases.server.url(databases.fresh()))
    yield store
    store.close()


def end_connections(databases: Databases) -> None:
    """Do to all connections what a restart of the server does."""
    databases.server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wcp360'")


def test_a_server_that_was_restarted_is_reached_again(databases: Databases, postgresql_store: SqlStore) -> None:
    submit(postgresql_store, SITE, "a")
    end_connections(databases)
    with postgresql_store.read() as state:
        assert state.get(SITE).spec == {"text": "a"}
    end_connections(databases)
    assert submit(postgresql_store, SITE, "b").resources[0].revision == 2


def test_a_server_that_goes_away_in_a_transaction_keeps_nothing(
    databases: Databases, postgresql_store: SqlStore
) -> None:
    submit(postgresql_store, SITE, "a")
    before = content_hash(postgresql_store)
    with pytest.raises(Unavailable, match="Nothing was changed"), postgresql_store.write() as unit:
        want(unit, SITE, "b")
        end_connections(databases)
        want(unit, SITE, "c")
    assert content_hash(postgresql_store) == before
    assert submit(postgresql_store, SITE, "b").resources[0].revision == 2


def test_a_server_that_goes_away_at_the_commit_leaves_it_open(databases: Databases, postgresql_store: SqlStore) -> None:
    with pytest.raises(Unavailable, match="not known whether"), postgresql_store.write() as unit:
        want(unit, SITE, "b")
        unit.before_commit()
        end_connections(databases)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    store = SqlStore("postgresql://panel:hunter2hunter2@127.0.0.1:9/panel")
    for attempt in (store.read, store.write):
        with pytest.raises(Unavailable, match="refused") as caught, attempt():
            pass
        assert "hunter2" not in caught.value.detail
    for look in (migrate, pending_migrations):
        with pytest.raises(Unavailable, match="refused") as caught:
            look(store)
        assert "hunter2" not in caught.value.detail


def test_a_database_of_another_encoding_is_refused(databases: Databases) -> None:
    databases.server.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    store = SqlStore(databases.server.url("latin"))
    with pytest.raises(Unavailable, match="LATIN1"):
        migrate(store)
    store.close()
    databases.server.drop("latin")
