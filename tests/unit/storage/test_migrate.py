"""Migrations: from nothing, from before, from the future."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from wcp360.core.errors import Invalid, Unavailable
from wcp360.storage import SqlStore, migrate, pending_migrations
from wcp360.storage.tables import COLUMNS

from .helpers import content_hash
from .test_processes import directory_with


def test_from_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "wcp360.db"
    store = SqlStore(path)
    assert pending_migrations(store) == ["0001_initial"] and not path.exists()
    assert migrate(store) == ["0001_initial"]
    assert migrate(store) == [] and pending_migrations(store) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


def test_the_tables_are_what_the_code_expects(store: SqlStore) -> None:
    database = store.dialect.database
    for table, columns in COLUMNS.items():
        assert tuple(column.name for column in database.get_columns(table)) == columns
    assert database.pragma("journal_mode") == "wal" and database.pragma("foreign_keys") == 1
    assert database.pragma("synchronous") == 2 and database.pragma("busy_timeout") == 30_000


def test_work_is_found_by_an_index(store: SqlStore) -> None:
    query = "EXPLAIN QUERY PLAN SELECT * FROM target WHERE node = 'w' AND applied < wanted AND failed < wanted"
    assert "target_pending" in str(list(store.dialect.database.execute_sql(query)))


def test_a_newer_database_is_refused(store: SqlStore, tmp_path: Path) -> None:
    directory = directory_with(tmp_path, _0002_new="def up(migrator, db):\n    pass\n")
    assert pending_migrations(store, directory) == ["0002_new"]
    migrate(store, directory)
    before = content_hash(store.dialect.path)
    with pytest.raises(Unavailable, match="0002_new"):
        migrate(store)
    assert content_hash(store.dialect.path) == before


def test_a_migration_that_fails_changes_nothing(store: SqlStore, tmp_path: Path) -> None:
    script = "def up(migrator, db):\n    db.execute_sql('CREATE TABLE x (a)')\n    db.execute_sql('nonsense')\n"
    directory = directory_with(tmp_path, _0002_bad=script)
    before = content_hash(store.dialect.path)
    with pytest.raises(Unavailable, match="nonsense"):
        migrate(store, directory)
    assert content_hash(store.dialect.path) == before


@pytest.mark.parametrize("url", ["mysql://x", "postgresql://u@h/d", "http://x"])
def test_another_database_is_refused_by_name(url: str) -> None:
    with pytest.raises(Invalid, match=url.partition(":")[0]):
        SqlStore(url)


def test_a_url_is_a_path(tmp_path: Path) -> None:
    assert SqlStore(f"sqlite:///{tmp_path}/a.db").dialect.path == tmp_path / "a.db"
