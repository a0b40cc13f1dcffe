"""The few statements that differ between databases; everything else goes through peewee's expressions."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peewee import OperationalError, PeeweeException, SqliteDatabase

from wcp360.core.errors import Invalid

BUSY_SECONDS = 30
SQLITE_URL = "sqlite:///"

# Peewee gives the driver's errors its own names when it executes, but not when it fetches.
OUT_OF_ORDER = (OperationalError, sqlite3.OperationalError)
UNREADABLE = (PeeweeException, sqlite3.Error, UnicodeDecodeError)


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

    @contextmanager
    def write(self) -> Iterator[None]:
        """Begin with the write lock: a transaction that reads first and then asks for it can only fail."""
        with self._begun("IMMEDIATE"):
            yield
            self.database.commit()

    @contextmanager
    def read(self) -> Iterator[None]:
        """Begin a snapshot."""
        with self._begun("DEFERRED"):
            yield

    @contextmanager
    def _begun(self, kind: str) -> Iterator[None]:
        # Connecting empties peewee's stack of transactions, on which manual_commit has its mark.
        self.database.connect(reuse_if_open=True)
        with self.database.manual_commit():
            self.database.begin(kind)
            try:
                yield
            finally:
                # SQLite rolls back itself when the disk is full or the file damaged; a second time hides the reason.
                if self.database.connection().in_transaction:
                    self.database.rollback()

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
