"""The bell: tells the engine that there is work. It carries names and ids only; the database is the truth.

A lost ring harms nothing, because the engine's sweep finds what is pending, and a repeated one finds nothing to do.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

from wcp360.core.config import Settings
from wcp360.core.faults import point

log = logging.getLogger("wcp360.engine.bell")

QUEUE_FILE = "queue.db"
# How long a ring may wait for another process that is writing to the queue; the sweep heals what is given up.
PATIENCE_SECONDS = 0.5


class Bell:
    """Rings from any thread of any process on this machine; never raises."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.state_dir / QUEUE_FILE
        self._lock = threading.Lock()
        self._queue: Any = None
        self._process = 0

    def node(self, name: str) -> bool:
        """Ask for a node to be converged; tells whether the queue took it."""
        return self._ring("converge", name)

    def preview(self, preview_id: str) -> bool:
        """Ask for a preview to be made; tells whether the queue took it."""
        return self._ring("preview", preview_id)

    def _ring(self, task: str, argument: str) -> bool:
        try:
            point("enqueue.before_ring")
            self._open().ring(task, argument)
            point("enqueue.after_ring")
        except Exception as error:  # whatever the queue's trouble is, the caller's change is safe in the database
            log.warning("The engine could not be woken, so its sweep will find the work: %s", error)
            return False
        return True

    def _open(self) -> Any:
        with self._lock:
            if self._process != os.getpid():  # an SQLite connection must not cross a fork
                self._queue, self._process = open_queue(self._path, PATIENCE_SECONDS), os.getpid()
            return self._queue


def open_queue(path: Path, patience: float) -> Any:
    """Open the queue; ``patience`` in seconds. Huey is imported only now, so that the API starts without it."""
    from wcp360.engine.queue import Queue

    return Queue(path, patience)
