"""Bring a database to this version's schema: numbered scripts in ``migrations``, run by peewee's runner under a lock.

Each script runs in one transaction together with its line in the history table, so that a process that is killed
leaves the database at the script before or after, never between.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peewee import PeeweeException
from playhouse.migrations import Runner

from wcp360.core.errors import Unavailable
from wcp360.storage.dialect import OUT_OF_ORDER
from wcp360.storage.store import SqlStore, plain

DIRECTORY = Path(__file__).with_name("migrations")


def migrate(store: SqlStore, directory: Path = DIRECTORY) -> list[str]:
    """Apply what is pending and return its names; several callers at once wait for each other.

    Raises Unavailable for a database that a newer version of WCP360 has written, or that is locked.
    """
    try:
        with store.dialect.migrating():
            store.dialect.create()
            runner = _runner(store, directory)
            unknown = [entry.name for entry in runner.status() if entry.path is None]
            if unknown:
                raise Unavailable(
                    f"The database has migrations that this version of WCP360 does not know ({', '.join(unknown)}): "
                    "a newer version has written it. Install that version again, or restore a backup."
                )
            return list(runner.up())
    except PeeweeException as error:
        raise Unavailable(
            f"The database could not be migrated: {plain(error)}. Nothing is half done; try again."
        ) from error


def pending_migrations(store: SqlStore, directory: Path = DIRECTORY) -> list[str]:
    """Return the names of what ``migrate`` would apply; makes no file. Raises Unavailable."""
    if not store.dialect.exists():
        return sorted(path.stem for path in directory.glob("[0-9]*.py"))
    try:
        return [entry.name for entry in _runner(store, directory).status() if not entry.applied]
    except OUT_OF_ORDER as error:
        raise Unavailable(
            f"The database cannot be looked at: {plain(error)}. Check storage.url and try again."
        ) from error


def _runner(store: SqlStore, directory: Path) -> Any:
    return Runner(store.dialect.database, str(directory))
