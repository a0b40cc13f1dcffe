"""The few statements that differ between databases; everything else goes through peewee's expressions."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from peewee import (
    InterfaceError,
    InternalError,
    OperationalError,
    PeeweeException,
    ProgrammingError,
    SqliteDatabase,
)

from wcp360.core.errors import Invalid

BUSY_SECONDS = 30
SQLITE_URL = "sqlite:///"
POSTGRESQL_URLS = ("postgresql://", "postgres://")

# Peewee gives the driver's errors its own names when it executes, but not when it fetches. The last three
# are PostgreSQL's for a connection that it has ended and for a database without tables.
OUT_OF_ORDER = (OperationalError, sqlite3.OperationalError, InterfaceError, InternalError, ProgrammingError)
UNREADABLE = (PeeweeException, sqlite3.Error, UnicodeDecodeError)


class InDoubt(Exception):
    """The database went away during a commit, so that nobody knows whether it was kept."""


class Dialect(Protocol):
    """What a database must be able to do beyond peewee's expressions."""

    database: Any
    shared: bool

    def write(self) -> AbstractContextManager[None]:
        """Open the only writing transaction; what is read in it is what all before it have committed."""

    def read(self) -> AbstractContextManager[None]:
        """Open a snapshot."""

    def exists(self) -> bool:
        """Tell whether there is a database to look into."""

    def create(self) -> None:
        """Make the database ready for migrations; Unavailable where it cannot be used."""

    def migrating(self) -> AbstractContextManager[None]:
        """Keep other migrations out; the lock goes with the process that holds it."""


class SqliteDialect:
    """SQLite in a file: one writer at a time, any number of readers on a snapshot (write-ahead log)."""

    shared = False

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

    def exists(self) -> bool:
        """Tell whether the file exists."""
        return self.path.exists()

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Hold an exclusive lock on a file beside the database; the kernel drops it when its holder dies."""
        path = self.path.with_name(self.path.name + ".migrate-lock")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def append_only(table: str, database: Any) -> list[str]:
    """Return the statements after which rows of ``table`` can be added and nothing else."""
    message = f"rows of {table} are never changed or removed"
    if isinstance(database, SqliteDatabase):
        return [
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{message}'; END $$",
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()",
    ]


def open_dialect(where: str | Path) -> Dialect:
    """Return the dialect for a path or URL. Raises Invalid for a database that is not supported."""
    text = str(where)
    if text.startswith(POSTGRESQL_URLS):
        from wcp360.storage.postgresql import PostgresqlDialect

        return PostgresqlDialect("postgresql://" + text.partition("://")[2])
    if text.startswith(SQLITE_URL):
        text = text.removeprefix(SQLITE_URL)
    elif "://" in text:
        scheme = text.partition("://")[0]
        raise Invalid(
            f"storage.url names the database {scheme!r}, which is not supported; use {SQLITE_URL}PATH or "
            "postgresql://USER@HOST/DATABASE."
        )
    return SqliteDialect(Path(text))
