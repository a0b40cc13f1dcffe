"""The engine's process: Huey's consumer, a sweep for forgotten work, and an end within five seconds."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import re
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from huey.consumer import Consumer

from wcp360.core.config import Settings
from wcp360.core.errors import Conflict, Invalid
from wcp360.core.footprint import Footprints
from wcp360.core.ids import is_id, new_id
from wcp360.core.listing import newest
from wcp360.core.ports import Store
from wcp360.core.views import RecordStatus
from wcp360.engine.bell import QUEUE_FILE
from wcp360.engine.converge import DIED, Tools, converge
from wcp360.engine.lease import Lease
from wcp360.engine.payloads import forget_payloads
from wcp360.engine.ports import Ledger
from wcp360.engine.preview import make_preview
from wcp360.engine.queue import Queue
from wcp360.engine.remnants import end_remnants
from wcp360.engine.runner import Executor, find_ansible_playbook, run_environment
from wcp360.engine.warm import Warm

log = logging.getLogger("wcp360.engine")

# Each of Huey's threads looks this often. Measured with four threads and a sweep every 0.5 s: the idle engine took
# 0.9 % of a core (at 0.05 s 1.2 %, on a busier machine), and a run had begun 0.1 s after its change was submitted.
POLL_SECONDS = 0.1
STOP_SECONDS = 4.0
HEALTH_SECONDS = 10.0
QUEUE_SECONDS = 5.0
PR_SET_PDEATHSIG = 1
# What was submitted beside an engine that died is found by the others' sweeps, which two small reads make.
SHARED_SWEEP_SECONDS = 1.0
# A ring of the sweep that nobody took up in this time is lost, and is repeated; Huey may lose any message.
LOST_SECONDS = 60.0
# How many of the newest runs and previews are looked through for those that a dead engine left open.
RECENT = 1000


def serve_engine(
    store: Store,
    ledger: Ledger,
    settings: Settings,
    *,
    supervisor: int | None = None,
    collection: Path | None = None,
    declared: Footprints | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; call it in the main thread of its own process.

    ``supervisor`` is the process that started this one and whose death ends it; ``declared`` is what runs may touch,
    everything where it is None. Raises Conflict ``engine_running``
    where another engine has the state directory, Invalid where that directory's path cannot be used.
    """
    state_dir = _prepare(settings.state_dir)
    with _alone(state_dir):
        _die_with(supervisor)
        root = collection or collection_root()
        program = find_ansible_playbook()
        warm = Warm(state_dir, root, program, run_environment) if settings.engine.warm else None
        executor = Executor(state_dir, settings.engine.run_timeout, root, warm=warm)
        tools = Tools(store, ledger, executor, _identity(state_dir), settings.engine.lease, threading.Event(), declared)
        _clean_up(tools)
        with warm or contextlib.nullcontext():
            _Service(tools, settings).serve()


def collection_root() -> Path:
    """Return where the collection wcp360.hosting lies: in the wheel, or around a checkout's package."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "collection"
    return shipped if shipped.is_dir() else package.parent


class _Service:
    """The queue, its workers and the sweep."""

    def __init__(self, tools: Tools, settings: Settings) -> None:
        self._tools, self._settings = tools, settings
        self._queue = _open_queue(tools.executor.state_dir / QUEUE_FILE)
        self._turns = _Turns()
        self._queue.serve({"converge": self._converge, "preview": self._preview})

    def serve(self) -> None:
        """Work until a signal says to stop."""
        consumer = Consumer(
            self._queue.huey,
            workers=self._settings.engine.workers,
            periodic=False,
            initial_delay=POLL_SECONDS,
            max_delay=POLL_SECONDS,
            backoff=1.0,
            scheduler_interval=60,
            shutdown_timeout=STOP_SECONDS,
        )
        consumer.start()
        sweep = threading.Thread(target=self._sweep_until_stopped, name="sweep", daemon=True)
        with _signals() as arrived:
            sweep.start()
            log.info("The engine serves %s.", self._tools.executor.state_dir)
            while not arrived(HEALTH_SECONDS):
                consumer.check_worker_health()
            log.info("The engine stops.")
            self._tools.stop.set()
            consumer.stop(graceful=True)

    def _converge(self, node: str) -> None:
        if self._turns.begin(node):
            more = False
            try:
                more = converge(self._tools, node)
            finally:
                if (self._turns.end(node) or more) and not self._tools.stop.is_set():
                    self._queue.ring("converge", node)

    def _preview(self, preview_id: str) -> None:
        if self._turns.begin(preview_id):
            try:
                make_preview(self._tools, preview_id)
            finally:
                self._turns.end(preview_id)

    def _sweep_until_stopped(self) -> None:
        while not self._tools.stop.is_set():
            try:
                self._sweep()
            except Exception:  # the database may be away for a moment; the next sweep looks again
                log.exception("The sweep for forgotten work failed.")
            self._tools.stop.wait(self._pause())

    def _pause(self) -> float:
        """Return how long to wait before the next sweep, in seconds."""
        sweep = self._settings.engine.sweep
        return min(sweep, SHARED_SWEEP_SECONDS) if self._tools.store.shared else sweep

    def _sweep(self) -> None:
        work = [("converge", node) for node in self._tools.ledger.pending_nodes()]
        work += [("preview", preview_id) for preview_id in self._tools.ledger.preview_queue()]
        for task, name in work:
            if self._turns.forgotten(name):
                self._queue.ring(task, name)


class _Turns:
    """One turn at a time for each node and preview of this engine; a ring during a turn is remembered."""

    def __init__(self, lost_seconds: float = LOST_SECONDS) -> None:
        self._lost_seconds = lost_seconds
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._swept: dict[str, float] = {}

    def begin(self, name: str) -> bool:
        """Take the turn, or remember that there is more to do after the present one."""
        with self._lock:
            self._swept.pop(name, None)
            if name in self._busy:
                self._again.add(name)
                return False
            self._busy.add(name)
            self._again.discard(name)
            return True

    def end(self, name: str) -> bool:
        """Give the turn back; tells whether somebody rang meanwhile."""
        with self._lock:
            self._busy.discard(name)
            return name in self._again

    def forgotten(self, name: str) -> bool:
        """Tell whether nobody works on it, and no earlier sweep has rung for it that may still be heard."""
        now = time.monotonic()
        with self._lock:
            if name in self._busy or now - self._swept.get(name, -self._lost_seconds) < self._lost_seconds:
                return False
            self._swept[name] = now
            return True


def _prepare(state_dir: Path) -> Path:
    """Return the state directory's real path, with what the engine needs in it."""
    path = state_dir.resolve()
    if re.fullmatch(r"/[A-Za-z0-9._/-]+", str(path), re.ASCII) is None:
        raise Invalid(
            f"The state directory {str(path)!r} cannot be used: its path goes into Ansible's and SSH's configuration "
            "and may hold letters, digits, dots, hyphens and underscores. Set state_dir to another one."
        )
    for name in ("", "runs", "cp", "ssh"):
        (path / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """Hold the lock that makes this the only engine of a state directory; the kernel frees it when we die."""
    path = state_dir / "engine.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Conflict(
            f"Another engine is at work on {state_dir}; it has {path} locked. Stop it first, or leave it to its work.",
            code="engine_running",
        ) from None
    try:
        yield
    finally:
        os.close(lock)


def _identity(state_dir: Path) -> str:
    """Return the owner name of this engine's leases; it stays the same, so that a restart need not wait for them."""
    path = state_dir / "engine.id"
    with contextlib.suppress(FileNotFoundError):
        known = path.read_text(encoding="ascii").strip()
        if is_id(known):
            return known
    fresh = new_id()
    path.write_text(fresh, encoding="ascii")
    return fresh


def _die_with(supervisor: int | None) -> None:
    """Have the kernel send SIGTERM when the process that started us ends; prctl(2)."""
    if supervisor is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl refused PR_SET_PDEATHSIG")
    if os.getppid() != supervisor:
        raise SystemExit("The process that started the engine is gone already.")


def _clean_up(tools: Tools) -> None:
    """Put away what an engine that died here left: processes, private directories, open runs, leases of dry runs."""
    state_dir = tools.executor.state_dir
    ended = end_remnants(state_dir)
    if ended:
        log.warning("%d processes of a killed run were ended.", ended)
    for path in (state_dir / "runs").iterdir():
        shutil.rmtree(path, ignore_errors=True)
    forget_payloads(state_dir, tools.executor.collection)
    with tools.store.read() as state:
        runs, previews = state.page("run", newest(RECENT)).items, state.page("preview", newest(RECENT)).items
    for preview in previews:
        if preview.status is RecordStatus.RUNNING:
            tools.ledger.release(f"preview:{preview.id}", tools.owner)
    for node in {run.node for run in runs if run.status is RecordStatus.RUNNING and not run.check}:
        with Lease(tools.ledger, f"node:{node}", tools.owner, tools.lease_seconds) as lease:
            if lease.held:
                tools.ledger.abandon_runs(node, DIED)


def _open_queue(path: Path) -> Queue:
    """Open an empty queue: the sweep rings for everything that is pending. A damaged file is made anew."""
    try:
        queue = Queue(path, QUEUE_SECONDS)
        queue.huey.flush()
    except Exception as error:  # sqlite3's error, which Huey passes on as it is
        log.warning("The queue %s is damaged (%s) and is made anew.", path, error)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        queue = Queue(path, QUEUE_SECONDS)
    path.chmod(0o600)
    return queue


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits some seconds and tells whether SIGTERM or SIGINT has come.

    A handler that only writes to a pipe cannot meet a lock that the interrupted thread holds.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def note(number: int, frame: Any) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writer, b"x")

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield lambda seconds: bool(select.select([reader], [], [], seconds)[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
