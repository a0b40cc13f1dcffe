"""Bring a database to this version's schema: numbered scripts in ``migrations``, run by peewee's runner under a lock.

Each script runs in one transaction together with its line in the history table, so that a process that is killed
leaves the database at the script before or after, never between.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peewee import OperationalError
from playhouse.migrations import Runner

from wcp360.core.errors import Unavailable
from wcp360.storage.store import SqlStore

DIRECTORY = Path(__file__).with_name("migrations")


def migrate(store: SqlStore, directory: Path = DIRECTORY) -> list[str]:
    """Apply what is pending and return its names; several callers at once wait for each other.

    Raises Unavailable for a database that a newer version of WCP360 has written, or that is locked.
    """
    with _locked(store):
        store.dialect.create()
        runner = _runner(store, directory)
        unknown = [entry.name for entry in runner.status() if entry.path is None]
        if unknown:
            raise Unavailable(
                f"The database has migrations that this version of WCP360 does not know ({', '.join(unknown)}): "
                "a newer version has written it. Install that version again, or restore a backup."
            )
        try:
            return list(runner.up())
        except OperationalError as error:
            raise Unavailable(
                f"The database could not be migrated: {error}. Nothing is half done; try again."
            ) from error


def pending_migrations(store: SqlStore, directory: Path = DIRECTORY) -> list[str]:
    """Return the names of what ``migrate`` would apply; makes no file."""
    if not store.dialect.path.exists():
        return sorted(path.stem for path in directory.glob("[0-9]*.py"))
    return [entry.name for entry in _runner(store, directory).status() if not entry.applied]


def _runner(store: SqlStore, directory: Path) -> Any:
    return Runner(store.dialect.database, str(directory))


@contextmanager
def _locked(store: SqlStore) -> Iterator[None]:
    """Hold an exclusive lock on a file beside the database; the kernel drops it when its holder dies."""
    path = store.dialect.lock_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
