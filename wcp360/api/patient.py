"""A socket that waits for a slow reader only so long, and can still say goodbye to it.

simple-websocket sends with ``socket.send`` from two threads (events and pings) and without a time limit. This wrapper
sends whole frames, one at a time, and never blocks longer than its patience. The kernel's buffer is kept small at
first, so that a reader that stands still is noticed; it is enlarged for the last frame, so that the reason for the end
has a place even when the buffer is full.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

BUFFER = 64 * 1024
LAST_BUFFER = 208 * 1024


class SlowReader(OSError):
    """The reader has taken nothing for as long as we wait."""


class PatientSocket:
    """Stands in for the connection's socket; closing it leaves the descriptor to gunicorn, whose it is."""

    def __init__(self, connection: socket.socket, patience: float) -> None:
        self._socket = connection
        self._patience = patience
        self._lock = threading.Lock()
        self._hurried = False
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._socket.fileno()

    def recv(self, size: int) -> bytes:
        """Read as the socket does."""
        return self._socket.recv(size)

    def await_room(self) -> None:
        """Return once a frame fits; raise SlowReader when it does not within the patience.

        A frame that was begun could not be followed by the one that says why the stream ends.
        """
        self._wait(time.monotonic() + self._patience)

    def send(self, data: bytes) -> int:
        """Send all of ``data``. Raises SlowReader when the reader does not take it within the patience."""
        with self._lock:
            deadline = time.monotonic() + self._patience
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    if self._hurried:
                        raise SlowReader("The last frame found no room.") from None
                    self._wait(deadline)
        return len(data)

    def hurry(self) -> None:
        """Make room for one last frame, and do not wait for it."""
        self._hurried = True
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LAST_BUFFER)

    def close(self) -> None:
        """End the reading side, which wakes the thread that reads."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def finish(self) -> None:
        """End both sides; what was sent still goes out."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _wait(self, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise SlowReader("The reader takes nothing.")
