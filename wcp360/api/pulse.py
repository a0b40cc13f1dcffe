"""Waiting without hanging the server: one thread reads the event log for all, and few enough threads wait for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import dropwhile

import structlog

from wcp360.core.ports import State, Store
from wcp360.core.views import EventView

INTERVAL = 0.04
"""Seconds between looks: with 200 streams the rest of the way to the last of them takes about as long."""
# Events in memory, for streams that keep up; who is further behind reads the log.
KEPT = 1000
# Threads that are always left for requests which answer at once.
SPARE = 2


@dataclass(frozen=True, slots=True)
class Told:
    """An event with the frame that carries it: made once, sent to all who may see ``tenant``."""

    id: int
    tenant: str | None
    frame: bytes

    @classmethod
    def of(cls, event: EventView) -> Told:
        """Write the event as one unmasked text frame (RFC 6455 section 5.2)."""
        text = event.model_dump_json().encode()
        size = len(text)
        if size < 126:
            head = bytes((0x81, size))
        elif size < 2**16:
            head = bytes((0x81, 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x81, 127)) + size.to_bytes(8, "big")
        return cls(event.id, event.tenant, head + text)


class Pulse:
    """Knows the newest events and wakes those who wait for newer ones.

    The engine writes events in another process, so the log is asked many times a second for as long as anybody waits.
    Numbers have no gaps and appear in their order, so what was read up to one number is complete.
    """

    def __init__(self, store: Store, interval: float = INTERVAL) -> None:
        self._store = store
        self._interval = interval
        self._changed = threading.Condition()
        self._reading = threading.Lock()
        self._stop = threading.Event()
        self._waiting = 0
        self._newest = 0
        self._told: deque[Told] = deque(maxlen=KEPT)
        self._thread: threading.Thread | None = None

    @property
    def stopped(self) -> bool:
        """Whether the server is stopping, so that waiting must end."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Let everybody who waits go on; safe to call from any thread but not from a signal handler."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def known(self) -> int:
        """The newest number that was seen; there may be newer ones already, which ``wait`` then finds."""
        return self._newest

    def newest(self) -> int:
        """Return the number of the newest event at this moment."""
        with self._reading:
            with self._store.read() as state:
                events = state.events(tenants=None, limit=KEPT + 1, after=self._newest)
                jump = newest_event(state, events[-1].id) if len(events) > KEPT else 0
            with self._changed:
                if jump:
                    self._told.clear()
                else:
                    self._told.extend(map(Told.of, events))
                self._newest = jump or (events[-1].id if events else self._newest)
                return self._newest

    def since(self, after: int) -> list[Told] | None:
        """Return the events after a number, oldest first; None where they go further back than what is in memory."""
        with self._changed:
            if after >= self._newest:
                return []
            if not self._told or self._told[0].id > after + 1:
                return None
            if self._told[-1].id == after + 1:
                return [self._told[-1]]
            return list(dropwhile(lambda told: told.id <= after, self._told))

    def wait(self, seen: int, timeout: float) -> int:
        """Block until there is an event after ``seen``, for ``timeout`` seconds at most, or until the stop."""
        with self._changed:
            self._start()
            self._waiting += 1
            if self._waiting == 1:
                self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._newest > seen or self.stopped, timeout)
                return self._newest
            finally:
                self._waiting -= 1

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self.stopped:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting > 0 or self.stopped)
            self._stop.wait(self._look())

    def _look(self) -> float:
        """Wake those who wait if there are new events; return the pause until the next look, in seconds."""
        before = self._newest
        try:
            if self.newest() != before:
                with self._changed:
                    self._changed.notify_all()
        except Exception:
            # The database may be away for a moment; who waits has a time limit of its own.
            structlog.get_logger().exception("The event log cannot be read.")
            return 5.0
        return self._interval


def newest_event(state: State, known: int) -> int:
    """Return the number of the newest event, which is ``known`` or later.

    Numbers only grow, so doubling steps and then halving find the end in a few index look-ups, however long the log.
    """

    def any_after(number: int) -> bool:
        return bool(state.events(tenants=None, limit=1, after=number))

    if not any_after(known):
        return known
    step = 1
    while any_after(known + step):
        step *= 2
    low, high = known + step // 2, known + step
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if any_after(middle) else (low, middle)
    return low


class LongCalls:
    """Counts open streams and waiting requests, so that threads are always left for the others."""

    def __init__(self, threads: int, max_streams: int) -> None:
        self._lock = threading.Lock()
        self._most = max(1, threads - SPARE)
        self._most_streams = max(1, min(max_streams, threads - SPARE - 1))
        self.open = 0
        self.streams = 0

    def take_stream(self) -> bool:
        """Reserve a thread for a stream; False where none may be had."""
        with self._lock:
            if self.streams >= self._most_streams or self.open >= self._most:
                return False
            self.streams += 1
            self.open += 1
            return True

    def give_stream(self) -> None:
        """Return what ``take_stream`` reserved."""
        with self._lock:
            self.streams -= 1
            self.open -= 1

    @contextmanager
    def waiting(self) -> Iterator[bool]:
        """Reserve a thread for a waiting request while the block runs; the value is False where none may be had."""
        with self._lock:
            taken = self.open < self._most
            self.open += taken
        try:
            yield taken
        finally:
            with self._lock:
                self.open -= taken
