"""A limit on the time that a client may take to send its request.

gunicorn's threads block in recv() for as long as a client likes. Here one watcher thread ends the reading side of a
connection whose request did not arrive in time: the blocked thread then sees the end of the data and answers 408.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field
from typing import IO

import structlog
from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from wcp360.core.errors import Malformed, TooLarge

SECONDS = 20.0
"""A megabyte in 20 s is 420 kbit/s, less than any line that administers servers."""


class RequestTimeout(Malformed):
    """The request did not arrive in time."""

    status, code, title = 408, "request_timeout", "The request took too long to arrive"


@dataclass(eq=False, slots=True)
class _Reading:
    connection: socket.socket
    deadline: float
    expired: bool = False


@dataclass(slots=True)
class Watch:
    """The connections that are being read, one for each thread."""

    seconds: float = SECONDS
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _readings: set[_Reading] = field(default_factory=set)
    _local: threading.local = field(default_factory=threading.local)
    _started: bool = False

    def begin(self, connection: socket.socket) -> None:
        """Start the clock for the request that this thread is about to read."""
        reading = _Reading(connection, time.monotonic() + self.seconds)
        self._local.reading = reading
        with self._changed:
            self._readings.add(reading)
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="request-watch", daemon=True).start()
            self._changed.notify()

    def end(self) -> bool:
        """Stop this thread's clock; tell whether it had run out."""
        reading: _Reading | None = getattr(self._local, "reading", None)
        if reading is None:
            return False
        self._local.reading = None
        with self._changed:
            self._readings.discard(reading)
            return reading.expired

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._readings:
                    self._changed.wait()
                self._expire(time.monotonic())
            time.sleep(min(1.0, self.seconds / 4))

    def _expire(self, now: float) -> None:
        for reading in [reading for reading in self._readings if reading.deadline <= now]:
            reading.expired = True
            self._readings.discard(reading)
            try:
                reading.connection.shutdown(socket.SHUT_RD)
            except OSError:
                continue  # The client is gone already.


WATCH = Watch()


def read_body(most: int) -> bytes:
    """Return the request's body of ``most`` bytes at most. Raises TooLarge, RequestTimeout or Malformed."""
    expected = request.content_length
    data = b""
    try:
        if expected is None or expected <= most:
            data = _stream().read(most + 1)
    except (ClientDisconnected, OSError, ParseException) as error:
        expected = max(expected or 0, 1)
        structlog.get_logger().info("The body cannot be read.", reason=repr(error))
    if WATCH.end():
        raise RequestTimeout(f"The body did not arrive within {WATCH.seconds:g} seconds. Send it again.")
    if max(expected or 0, len(data)) > most:
        raise TooLarge(f"The body is larger than {most} bytes. Send less at once.")
    if len(data) < (expected or 0):
        raise Malformed("The body ended early or is not framed as HTTP wants it. Send it again.")
    return data


def _stream() -> IO[bytes]:
    """Return gunicorn's own stream, which knows its end: Werkzeug's would cut a chunked body at the limit silently."""
    if "wsgi.input_terminated" in request.environ:
        stream: IO[bytes] = request.environ["wsgi.input"]
        return stream
    return request.stream
