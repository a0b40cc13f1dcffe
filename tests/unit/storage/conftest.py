"""A migrated store in a real file for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wcp360.storage import Ledger, SqlStore, migrate


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(tmp_path / "wcp360.db")
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def ledger(store: SqlStore) -> Ledger:
    return Ledger(store)
