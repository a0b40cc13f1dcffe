"""One question and its answer over a socket whose other end may belong to a tenant: bounded in time and in size."""

from __future__ import annotations

import socket
import time

#: Far more than any generation or ping needs; a tenant's program that talks on does not fill our memory.
LONGEST_ANSWER = 16 * 1024


class ExchangeError(OSError):
    """The other end answers with more than LONGEST_ANSWER bytes."""


def exchange(family: int, address: str | tuple[str, int], question: bytes, timeout: float, end: bytes = b"") -> bytes:
    """Connect to ``address``, send ``question`` and return the answer up to its end or until ``end`` is in it.

    ``timeout`` is in seconds and holds for all of it together: a peer that sends one byte now and then does not
    keep us longer. Raises TimeoutError after it, ExchangeError above LONGEST_ANSWER bytes, other OSErrors where
    nobody listens.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        _limit(connection, deadline)
        connection.connect(address)
        _limit(connection, deadline)
        connection.sendall(question)  # its timeout is for the whole of it, see socket.sendall
        return _read(connection, deadline, end)


def _read(connection: socket.socket, deadline: float, end: bytes) -> bytes:
    data = b""
    while not (end and end in data):
        _limit(connection, deadline)
        chunk = connection.recv(LONGEST_ANSWER + 1 - len(data))
        if not chunk:
            break
        data += chunk
        if len(data) > LONGEST_ANSWER:
            raise ExchangeError(f"The answer is longer than {LONGEST_ANSWER} bytes.")
    return data


def _limit(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("The answer was not complete in time.")
    connection.settimeout(left)
