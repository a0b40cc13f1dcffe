"""Where transactions come from: one connection a thread, one writer at a time, subscribers told after the commit."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wcp360.core.errors import Unavailable
from wcp360.core.views import EventView
from wcp360.storage.dialect import OUT_OF_ORDER, InDoubt, open_dialect
from wcp360.storage.tables import Tables
from wcp360.storage.unit import Unit

logger = logging.getLogger(__name__)

Subscriber = Callable[[EventView], None]


class SqlStore:
    """Implements ``wcp360.core.ports.Store`` for the database at a path or URL; connects when first used.

    Any thread may use it, and so may a process that was forked after it was opened.
    """

    def __init__(self, where: str | Path) -> None:
        self.dialect = open_dialect(where)
        self.tables = Tables(self.dialect.database)
        self._subscribers: list[Subscriber] = []
        self._pid = os.getpid()
        self._inherited: list[object] = []
        self._fork_lock = threading.Lock()

    @contextmanager
    def write(self) -> Iterator[Unit]:
        """Open a writing transaction; it rolls back when the block raises.

        Raises Unavailable when the database does not take it (locked for 30 seconds, disk full), RuntimeError when
        this thread has a transaction already: two that look like one would commit half of the outer one.
        """
        self._ready()
        unit = Unit(self.tables, writable=True)
        try:
            with self.dialect.write():
                yield unit
                unit.before_commit()
        except InDoubt as error:
            raise Unavailable(
                f"The database went away while it kept the transaction ({plain(error)}), so it is not known whether it "
                "did. Look at the newest changes before you try again."
            ) from error
        except OUT_OF_ORDER as error:
            raise _unavailable(error) from error
        self._tell(unit.events_added)

    @contextmanager
    def read(self) -> Iterator[Unit]:
        """Open a consistent snapshot for reading. Raises Unavailable and RuntimeError like ``write``."""
        self._ready()
        try:
            with self.dialect.read():
                yield Unit(self.tables, writable=False)
        except OUT_OF_ORDER as error:
            raise _unavailable(error) from error

    def on_event(self, callback: Subscriber) -> Callable[[], None]:
        """Call ``callback`` for every event that this process commits; return what ends that.

        It runs in the committing thread, which waits for it: hand longer work on. What it raises is logged.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    @property
    def shared(self) -> bool:
        """Whether other machines may use the same database."""
        return self.dialect.shared

    def close(self) -> None:
        """Close this thread's connection; the next transaction opens a new one."""
        self.dialect.database.close()

    def _ready(self) -> None:
        database = self.dialect.database
        if os.getpid() != self._pid:
            self._leave_inherited()
        if database.in_transaction():
            raise RuntimeError("This thread has an open transaction already; finish it first.")

    def _leave_inherited(self) -> None:
        """Forget a connection from before a fork without closing it.

        SQLite connections must not be used, nor closed, by a child (https://sqlite.org/howtocorrupt.html section 2.6).
        """
        with self._fork_lock:
            self._inherited.append(self.dialect.database._state.conn)
            self.dialect.database.dispose()
            self._pid = os.getpid()

    def _tell(self, events: list[EventView]) -> None:
        for event in events:
            for callback in tuple(self._subscribers):
                try:
                    callback(event)
                except Exception:
                    logger.exception("A subscriber failed on event %d (%s).", event.id, event.type)


def plain(error: Exception) -> str:
    """Return a database's message on one line and without a full stop."""
    return " ".join(str(error).split()).rstrip(".")


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"The database did not take the transaction: {plain(error)}. Nothing was changed; try again.")
