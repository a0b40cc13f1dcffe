"""The supervisor of ``wcp360 serve``, whose two children, the API and the engine, share only the database.

It is a program of its own that imports the standard library alone: it stays as long as the server does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

STOP_SECONDS = 4.0
"""Children that are still there so long after SIGTERM get SIGKILL; `systemctl stop` and people expect under 5 s."""
STEADY_SECONDS = 60.0
"""A child that ran so long counts as healthy again: its pause starts over."""
MAX_PAUSE = 30.0
MAX_FAILURES = 8
"""Failures in a row after which the whole server gives up, so that whoever started it learns of it."""


def log(event: str, **fields: object) -> None:
    """Write a line: JSON for collectors, a sentence where a person looks."""
    if sys.stderr.isatty():
        print(f"wcp360 serve: {event}", file=sys.stderr, flush=True)
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    record = {"time": now, "level": "info", "logger": "wcp360.serve", "event": event, **fields}
    print(json.dumps(record), file=sys.stderr, flush=True)


@dataclass(slots=True)
class Child:
    """One of the two, with its history."""

    role: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    again: float = 0.0

    def start(self) -> None:
        """Start it in a process group of its own: Ctrl-C is for the supervisor, which then stops it in order."""
        argv = [sys.executable, "-P", "-m", "wcp360.cli.children", self.role, str(os.getpid())]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, process_group=0)
        self.started = time.monotonic()
        log(f"{self.role} started with pid {self.process.pid}", role=self.role, pid=self.process.pid)

    def ended(self) -> int | None:
        """Return its exit code once after it has ended."""
        if self.process is None:
            return None
        code = self.process.poll()
        if code is not None:
            self.process = None
        return code

    def plan_restart(self, code: int) -> float:
        """Count a failure. Returns the seconds until it is started again; they double each time."""
        now = time.monotonic()
        self.failures = 1 if now - self.started > STEADY_SECONDS else self.failures + 1
        pause = min(0.5 * 2.0 ** (self.failures - 1), MAX_PAUSE)
        self.again = now + pause
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        log(
            f"{self.role} ended with {how}; starting it again in {pause:g} s ({self.failures} of {MAX_FAILURES})",
            role=self.role,
            level="error",
        )
        return pause


@dataclass(slots=True)
class Supervisor:
    """Keeps both children running until it is told to stop."""

    children: list[Child] = field(default_factory=lambda: [Child("engine"), Child("api")])
    stopping: bool = False

    def run(self) -> int:
        """Run until stopped. Returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        try:
            for child in self.children:
                child.start()
            return self._watch()
        finally:
            self._end_all()

    def _stop(self, number: int, frame: object) -> None:
        self.stopping = True

    def _watch(self) -> int:
        while not self.stopping:
            for child in self.children:
                code = child.ended()
                if code is not None and not self.stopping:
                    child.plan_restart(code)
                if child.failures >= MAX_FAILURES:
                    log(f"{child.role} keeps failing; giving up. Its last words are above.", level="error")
                    return 1
                if child.process is None and time.monotonic() >= child.again and not self.stopping:
                    child.start()
            time.sleep(0.1)
        log("stopping")
        return 0

    def _end_all(self) -> None:
        running = [child.process for child in self.children if child.process is not None]
        for process in running:
            process.terminate()
        end = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log(f"pid {process.pid} did not stop in {STOP_SECONDS:g} s and is killed", level="error")
                # Its whole group: gunicorn's workers would otherwise hold the port for a moment longer.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


if __name__ == "__main__":
    sys.exit(Supervisor().run())
