"""Huey on a SQLite file, with messages in JSON: a message can name one of two tasks and give it one text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huey import SqliteHuey
from huey.registry import Message
from huey.serializer import Serializer

TASKS = ("converge", "preview")
# Somebody waits for the answer of a preview.
PRIORITY = {"converge": 0, "preview": 1}


class JsonSerializer(Serializer):  # type: ignore[misc]
    """Huey's own serialiser is pickle, which runs code for whoever can write to the queue."""

    def _serialize(self, data: Message) -> bytes:
        (argument,) = data.args
        return json.dumps([data.id, data.name, argument]).encode()

    def _deserialize(self, data: bytes) -> Message:
        """Raises ValueError for anything but a message of ours; Huey's worker logs that and goes on."""
        parts = json.loads(bytes(data))
        if not (isinstance(parts, list) and len(parts) == 3 and all(isinstance(part, str) for part in parts)):
            raise ValueError("A message in the queue is not one of ours.")
        identity, name, argument = parts
        return Message(identity, name, None, 0, 0, None, (argument,), {})


class Queue:
    """The queue; ``serve`` gives its tasks something to do (in the engine), ``ring`` adds a message (anywhere)."""

    def __init__(self, path: Path, patience: float) -> None:
        # What is in the queue may be lost (fsync): it is a bell. The connection is Huey's, one for all threads.
        self.huey = SqliteHuey(
            "wcp360", filename=str(path), results=False, serializer=JsonSerializer(), fsync=False, timeout=patience
        )
        self._work: dict[str, Callable[[str], None]] = {}
        self._tasks = {name: self._declare(name) for name in TASKS}

    def _declare(self, name: str) -> Any:
        def task(argument: str) -> None:
            self._work[name](argument)

        return self.huey.task(name=name, priority=PRIORITY[name])(task)

    def ring(self, task: str, argument: str) -> None:
        """Add a message. Raises what sqlite3 raises."""
        self._tasks[task](argument)

    def serve(self, work: dict[str, Callable[[str], None]]) -> None:
        """Say what the tasks do in this process."""
        self._work.update(work)
