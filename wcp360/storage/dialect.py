"""The few statements that differ between databases; everything else goes through peewee's expressions."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from peewee import SqliteDatabase

from wcp360.core.errors import Invalid

BUSY_SECONDS = 30
SQLITE_URL = "sqlite:///"


class SqliteDialect:
    """SQLite in a file: one writer at a time, any number of readers on a snapshot (write-ahead log)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # FULL also syncs the write-ahead log at every commit: what was acknowledged survives a power cut
        # (https://sqlite.org/pragma.html#pragma_synchronous).
        pragmas = {"synchronous": "FULL", "foreign_keys": 1}
        self.database: Any = SqliteDatabase(
            str(path), pragmas=pragmas, timeout=BUSY_SECONDS, lock_type="IMMEDIATE", check_same_thread=True
        )

    def write(self) -> AbstractContextManager[Any]:
        """Begin with the write lock: a transaction that reads first and then asks for it can only fail."""
        transaction: AbstractContextManager[Any] = self.database.atomic("IMMEDIATE")
        return transaction

    def read(self) -> AbstractContextManager[Any]:
        """Begin a snapshot."""
        transaction: AbstractContextManager[Any] = self.database.atomic("DEFERRED")
        return transaction

    def create(self) -> None:
        """Make the file, readable by its owner alone, and turn the write-ahead log on, which the file remembers."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.database.pragma("journal_mode", "wal")

    def lock_path(self) -> Path:
        """Return the file whose lock keeps migrations apart."""
        return self.path.with_name(self.path.name + ".migrate-lock")


def append_only(table: str) -> list[str]:
    """Return SQLite's statements after which rows of ``table`` can be added and nothing else."""
    return [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed or removed'); END"
        for verb in ("UPDATE", "DELETE")
    ]


def open_dialect(where: str | Path) -> SqliteDialect:
    """Return the dialect for a path or URL. Raises Invalid for a database that is not supported."""
    text = str(where)
    if text.startswith(SQLITE_URL):
        text = text.removeprefix(SQLITE_URL)
    elif "://" in text:
        scheme = text.partition("://")[0]
        raise Invalid(f"storage.url names the database {scheme!r}, which is not supported; use {SQLITE_URL}/PATH.")
    return SqliteDialect(Path(text))
