"""A migrated store for each test: in a file and, unless the test is about SQLite itself, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wcp360.storage import Ledger, SqlStore, migrate


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = SqlStore(url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(tmp_path / "wcp360.db")
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def ledger(store: SqlStore) -> Ledger:
    return Ledger(store)
