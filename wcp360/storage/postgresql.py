"""PostgreSQL: the same rules as on SQLite, one writer at a time and readers on a snapshot, for several machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peewee import OperationalError, PostgresqlDatabase

from wcp360.core.errors import Invalid, Unavailable
from wcp360.storage.dialect import BUSY_SECONDS, OUT_OF_ORDER, InDoubt

# Keys of advisory locks, which are one number space for a database: "WCP3" in ASCII, and one number for each lock.
LOCK_SPACE = 0x57435033
WRITE_LOCK, MIGRATION_LOCK = 1, 2

# A writer keeps all others out: one whose machine vanished must not hold on for the two hours that TCP gives it.
IDLE_SECONDS = 120
CONNECTION: dict[str, Any] = {
    "application_name": "wcp360",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# "C" compares bytes, as SQLite does: cursors of pages and ranges of reversed host names rely on it.
FIELD_TYPES = {"TEXT": 'TEXT COLLATE "C"'}
# The oldest that a supported system has (Debian 12).
OLDEST = 15


class PostgresqlDialect:
    """A PostgreSQL database at a URL as libpq takes it; ``patience`` is how long a writer waits, in seconds."""

    shared = True

    def __init__(self, url: str) -> None:
        _require_driver()
        self.patience: float = BUSY_SECONDS
        self.database: Any = PostgresqlDatabase(url, prefer_psycopg3=True, field_types=FIELD_TYPES, **CONNECTION)

    @contextmanager
    def write(self) -> Iterator[None]:
        """Begin, and wait for the lock that every writer takes.

        It is given back after the commit can be seen; so numbers of events and audit entries are committed in their
        order, and each statement sees all that writers before this one have done (READ COMMITTED).
        """
        begin = (
            "BEGIN ISOLATION LEVEL READ COMMITTED; "
            f"SET LOCAL lock_timeout = {int(self.patience * 1000)}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_SECONDS * 1000}; "
            f"SELECT pg_advisory_xact_lock({LOCK_SPACE}, {WRITE_LOCK})"
        )
        with self._begun(begin):
            yield
            self._commit()

    @contextmanager
    def read(self) -> Iterator[None]:
        """Begin a snapshot."""
        with self._begun("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
            yield
            self.database.commit()  # not rolled back: psycopg would forget its prepared statements

    def exists(self) -> bool:
        """A server has the database, or says in its own words that it has not."""
        return True

    def create(self) -> None:
        """Check that the database is one that can be used. Raises Unavailable."""
        version = self._value("SHOW server_version_num")
        if int(version) // 10_000 < OLDEST:
            raise Unavailable(f"PostgreSQL {int(version) // 10_000} is too old; WCP360 needs {OLDEST} or newer.")
        encoding = self._value("SHOW server_encoding")
        if encoding != "UTF8":
            raise Unavailable(
                f"The database has the encoding {encoding}; make one with CREATE DATABASE … ENCODING 'UTF8' "
                "TEMPLATE template0."
            )

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Hold a lock of this session; the server drops it when the connection ends."""
        self._value(f"SELECT pg_advisory_lock({LOCK_SPACE}, {MIGRATION_LOCK})")
        try:
            yield
        finally:
            if not self._is_broken():
                self._value(f"SELECT pg_advisory_unlock({LOCK_SPACE}, {MIGRATION_LOCK})")

    @contextmanager
    def _begun(self, statements: str) -> Iterator[None]:
        if not self.database.is_closed() and self._is_broken():
            self.database.close()
        # Connecting empties peewee's stack of transactions, on which manual_commit has its mark.
        self._reach(statements)
        try:
            with self.database.manual_commit():
                try:
                    yield
                finally:
                    if not self._is_broken() and self.database.connection().info.transaction_status.name != "IDLE":
                        self.database.rollback()
        finally:
            if self._is_broken():
                self.database.close()

    def _reach(self, statements: str) -> None:
        """Begin; a connection that the server has ended meanwhile (a restart, say) is made anew once."""
        fresh = self.database.connect(reuse_if_open=True)
        try:
            self._execute(statements)
        except OUT_OF_ORDER:
            if fresh or not self._is_broken():
                if not self._is_broken():
                    self.database.rollback()
                raise
            self.database.close()
            self.database.connect()
            self._execute(statements)

    def _execute(self, statements: str) -> None:
        import psycopg

        try:
            self.database.connection().execute(statements, prepare=False)
        except psycopg.Error as error:
            raise OperationalError(str(error)) from error

    def _commit(self) -> None:
        try:
            self.database.commit()
        except OUT_OF_ORDER as error:
            if self._is_broken():
                raise InDoubt(str(error)) from error
            raise

    def _is_broken(self) -> bool:
        return bool(self.database.is_closed() or self.database.connection().closed)

    def _value(self, statement: str) -> Any:
        return self.database.execute_sql(statement).fetchone()[0]


def _require_driver() -> None:
    try:
        import psycopg  # noqa: F401 - peewee finds it by itself
    except ImportError as error:
        raise Invalid(
            f"storage.url names PostgreSQL, which needs psycopg 3 ({error}): pip install 'wcp360[postgresql]'."
        ) from None
