"""Migrations: from nothing, from before, from the future."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.postgresql import Databases
from wcp360.core.errors import Invalid, Unavailable
from wcp360.storage import SqlStore, migrate, pending_migrations
from wcp360.storage.migrate import DIRECTORY
from wcp360.storage.tables import COLUMNS

from .helpers import content_hash, rows
from .test_processes import directory_with

NAMES = sorted(path.stem for path in DIRECTORY.glob("[0-9]*.py"))


def test_from_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "wcp360.db"
    store = SqlStore(path)
    assert pending_migrations(store) == NAMES and not path.exists()
    assert migrate(store) == NAMES
    assert migrate(store) == [] and pending_migrations(store) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


def test_the_tables_are_what_the_code_expects(store: SqlStore) -> None:
    for table, columns in COLUMNS.items():
        assert tuple(column.name for column in store.dialect.database.get_columns(table)) == columns


def test_postgresql_compares_names_byte_by_byte(databases: Databases) -> None:
    store = SqlStore(databases.server.url(databases.fresh()))
    columns = "SELECT table_name || '.' || column_name, collation_name FROM information_schema.columns"
    where = " WHERE table_schema = 'public' AND data_type = 'text'"
    by_default = {column for column, collation in rows(store, columns + where) if collation != "C"}
    store.close()
    equal = {"target.asked_by", "target.preview", "change.preview", "preview.undo"}
    assert by_default <= equal, "these are only compared as equal, or not at all"


def test_sqlite_is_set_to_lose_nothing(sqlite_store: SqlStore) -> None:
    database = sqlite_store.dialect.database
    database.connect(reuse_if_open=True)
    assert database.pragma("journal_mode") == "wal" and database.pragma("foreign_keys") == 1
    assert database.pragma("synchronous") == 2 and database.pragma("busy_timeout") == 30_000


def test_work_is_found_by_an_index(sqlite_store: SqlStore) -> None:
    query = "EXPLAIN QUERY PLAN SELECT * FROM target WHERE node = 'w' AND applied < wanted AND failed < wanted"
    assert "USING INDEX target_" in str(rows(sqlite_store, query))


def test_a_newer_database_is_refused(store: SqlStore, tmp_path: Path) -> None:
    directory = directory_with(tmp_path, _0099_new="def up(migrator, db):\n    pass\n")
    assert pending_migrations(store, directory) == ["0099_new"]
    migrate(store, directory)
    before = content_hash(store)
    with pytest.raises(Unavailable, match="0099_new"):
        migrate(store)
    assert content_hash(store) == before


def test_a_migration_that_fails_changes_nothing(store: SqlStore, tmp_path: Path) -> None:
    script = "def up(migrator, db):\n    db.execute_sql('CREATE TABLE x (a INTEGER)')\n    db.execute_sql('nonsense')\n"
    directory = directory_with(tmp_path, _0099_bad=script)
    before = content_hash(store)
    with pytest.raises(Unavailable, match="nonsense"):
        migrate(store, directory)
    assert content_hash(store) == before


@pytest.mark.parametrize("url", ["mysql://x", "http://x"])
def test_another_database_is_refused_by_name(url: str) -> None:
    with pytest.raises(Invalid, match=url.partition(":")[0]):
        SqlStore(url)


def test_a_url_is_a_path(tmp_path: Path) -> None:
    assert SqlStore(f"sqlite:///{tmp_path}/a.db").dialect.path == tmp_path / "a.db"
