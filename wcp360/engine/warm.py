"""The engine's side of the warm way: keeps one warm parent alive and says what ansible-runner shall start.

Nothing here is needed for a run to be made: without a parent that fits, runs are plain, and the log says why.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wcp360.core.ids import new_id
from wcp360.engine import warm_client
from wcp360.engine.inventory import Node
from wcp360.engine.private import PrivateDirectory
from wcp360.engine.warm_process import SPACE_BYTES, SPACE_VARIABLE

log = logging.getLogger("wcp360.engine.warm")

FOLDER = "warm"
# Importing takes 0.7 s on an idle core.
START_SECONDS = 60.0
# A parent that died or refused is followed by another at most this often.
AGAIN_SECONDS = 10.0
STOP_SECONDS = 2.0

Environment = Callable[[PrivateDirectory], dict[str, str]]


class Warm:
    """One warm parent for a state directory; ``environment`` returns that of a run from its private directory."""

    def __init__(self, state_dir: Path, collection: Path, program: Path, environment: Environment) -> None:
        self._state_dir, self._collection, self._program = state_dir, collection, program
        self._environment = environment
        self._folder = state_dir / FOLDER
        self._lock = threading.Lock()
        self._parent: _Parent | None = None
        self._next = 0.0
        self._stopped = False

    def __enter__(self) -> Warm:
        # What an engine that died here left; its parent has ended with it.
        shutil.rmtree(self._folder, ignore_errors=True)
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The parent's process id, or 0."""
        return self._parent.pid if self._parent else 0

    def start(self) -> None:
        """Begin to start a parent, unless there is one or the last one has just failed; does not wait."""
        with self._lock:
            if self._stopped or self._parent is not None or time.monotonic() < self._next:
                return
            self._next = time.monotonic() + AGAIN_SECONDS
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._parent = _Parent(self._folder / new_id())
            threading.Thread(target=self._begin, args=(self._parent,), name="warm", daemon=True).start()

    def command(self, note: Path) -> list[str]:
        """Return what to start in the place of ansible-playbook; an empty list: that itself.

        ``note`` is a path in the run's private directory for :meth:`ended`.
        """
        parent = self._parent
        if parent is not None and parent.ready and (reason := parent.unusable()):
            self._give_up(parent, reason)
        if parent is None or not parent.ready or parent is not self._parent:
            self.start()
            return []
        script = Path(warm_client.__file__)
        return [sys.executable, "-S", "-I", str(script), str(parent.socket), str(note), str(self._program)]

    def ended(self, note: Path) -> None:
        """Take up what a run's client noted, if it had to start ansible-playbook itself."""
        with contextlib.suppress(FileNotFoundError):
            reason = note.read_text(encoding="utf-8", errors="replace")
            log.warning("A run was started plainly, because %s.", reason)
            if self._parent is not None and self._parent.ready:
                self._give_up(self._parent, "")

    def stop(self) -> None:
        """End the parent, and with it what it still runs."""
        with self._lock:
            self._stopped = True
            parent, self._parent = self._parent, None
        if parent is not None:
            parent.end()

    def _begin(self, parent: _Parent) -> None:
        """Start a parent with the environment of a run that is never made, and wait until it is ready."""
        try:
            with self._nobody() as environment:
                reason = parent.begin(environment, self._program.parent)
        except OSError as error:
            reason = str(error)
        if reason:
            # What is the matter with this installation does not go away by itself.
            self._next = time.monotonic() + 60 * AGAIN_SECONDS
            self._give_up(parent, reason)
        elif self._stopped:
            parent.end()
        else:
            log.info("Runs start from a parent that has Ansible imported (process %d).", parent.pid)

    @contextlib.contextmanager
    def _nobody(self) -> Iterator[dict[str, str]]:
        with PrivateDirectory(self._state_dir, new_id(), self._collection) as private:
            private.fill(Node(name="nobody"), {})
            variables = self._environment(private)
            # Without our own variables: by these the engine finds what is left of a run.
            yield {name: value for name, value in variables.items() if not name.startswith("WCP360_")}

    def _give_up(self, parent: _Parent, reason: str) -> None:
        with self._lock:
            if self._parent is parent:
                self._parent = None
        if reason:
            log.warning("Runs start plainly for now, because %s.", reason)
        parent.retire()


class _Parent:
    """A process that has Ansible imported, listening on ``socket``."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.ready = False
        self._process: subprocess.Popen[str] | None = None
        self._files: dict[str, tuple[int, int]] = {}

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid if self._process else 0

    def begin(self, environment: dict[str, str], programs: Path) -> str:
        """Start it and wait until it is ready; returns why it is not to be used, or an empty string."""
        package = str(Path(__file__).resolve().parents[2])
        command = [sys.executable, "-P", "-m", "wcp360.engine.warm_server", str(self.socket), str(programs)]
        errors = self.socket.with_suffix(".errors")
        # A file, not ours: Ansible refuses to start where its standard error does not block, and ours may be anything.
        with errors.open("w+", encoding="utf-8", errors="replace") as stderr:
            self._process = process = subprocess.Popen(
                command,
                env=environment | {SPACE_VARIABLE: "x" * SPACE_BYTES, "PYTHONPATH": package},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd="/",
                text=True,
                start_new_session=True,
            )
            said = _first_line(process)
            if "files" not in said:
                stderr.seek(0)
                last = stderr.read().strip().splitlines()[-1:] or ["it did not start"]
                return f"the warm parent cannot be used: {said.get('unfit', last[0])}"
        self._files = {path: _state(path) for path in said["files"]}
        self.ready = True
        return ""

    def unusable(self) -> str:
        """Tell why it cannot be used any more, or return an empty string."""
        if self._process is None or self._process.poll() is not None:
            return "the warm parent has died"
        changed = [path for path, state in self._files.items() if _state(path) != state]
        return f"{changed[0]} has changed since the warm parent read it" if changed else ""

    def retire(self) -> None:
        """Let it end as soon as its runs have."""
        self.ready = False
        self.socket.unlink(missing_ok=True)
        if self._process is not None:
            self._process.terminate()
            threading.Thread(target=self._process.wait, name="warm-end", daemon=True).start()

    def end(self) -> None:
        """End it and its runs: it notices that its standard input is closed."""
        self.ready = False
        self.socket.unlink(missing_ok=True)
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _first_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a parent says of itself, or nothing where it ends, or takes too long, without a word."""
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        return dict(json.loads((process.stdout.readline() if process.stdout else "") or "{}"))
    except ValueError:
        return {}
    finally:
        timer.cancel()


def _state(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)
