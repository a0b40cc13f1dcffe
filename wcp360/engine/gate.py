"""The gate: a run has predicted what it will do, and waits for the engine's word before it does it.

Our callback plugin asks through one named pipe in the run's private directory and reads the answer from another.
"""

from __future__ import annotations

import json
import logging
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from wcp360.core.faults import point

log = logging.getLogger("wcp360.engine.gate")

Judge = Callable[[], str]
"""Returns why a run must not go on, or an empty string."""

LOOK_SECONDS = 0.5


class Gate:
    """A context manager that answers for as long as a run lasts; ``reason`` is why it was refused, if it was."""

    def __init__(self, path: Path, judge: Judge) -> None:
        self._path, self._judge = path, judge
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="gate", daemon=True)
        self.reason = ""

    def __enter__(self) -> Self:
        # Open for both directions: nobody waits for the other side to open, and its end is no end of the pipe.
        self._ask = os.open(f"{self._path}.ask", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._answer = os.open(f"{self._path}.answer", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        os.write(self._ask, b"\n")  # wakes the thread, which would be noticed by every run otherwise
        self._thread.join()
        os.close(self._ask)
        os.close(self._answer)

    def _serve(self) -> None:
        while not self._over.is_set():
            asked = select.select([self._ask], [], [], LOOK_SECONDS)[0]
            if asked and not self._over.is_set() and os.read(self._ask, 100):
                self.reason = self._verdict()
                os.write(self._answer, json.dumps({"reason": self.reason}).encode() + b"\n")

    def _verdict(self) -> str:
        try:
            point("engine.at_gate")
            return self._judge()
        except Exception:  # whatever is wrong with the judge, what nobody allowed is not done
            log.exception("What a run predicted could not be judged.")
            return "What the run would do could not be judged because of a fault in WCP360; its log says more."
