"""Asking a service whose socket a tenant may have taken over: bounded in time and in size, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils import exchange, fastcgi, instances_ask

HEADER = b"HTTP/1.1 204 No Content\r\nX-Generation: abc123\r\n\r\n"
Answer = Callable[[socket.socket], None]


@contextmanager
def serving(family: int, address: object, answer: Answer) -> Iterator[socket.socket]:
    """A peer that reads the question and then does what ``answer`` says, once."""

    def serve() -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                answer(connection)
        except OSError:
            return  # the other end went away, as it shall

    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen()
        listener.settimeout(5)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener
        thread.join(10)
        assert not thread.is_alive()


def drip(connection: socket.socket) -> None:
    for _ in range(80):
        connection.sendall(b"H")
        time.sleep(0.1)


def flood(connection: socket.socket) -> None:
    for _ in range(64):
        connection.sendall(b"x" * 16384)


def over_http(listener: socket.socket) -> dict[str, object]:
    how = {
        "address": "127.0.0.1",
        "port": listener.getsockname()[1],
        "path": "/",
        "host": "x",
        "header": "X-Generation",
    }
    return {"ask": {"http": how}}


def test_dripping_fastcgi_socket_is_left_at_the_deadline(tmp_path: Path) -> None:
    path = str(tmp_path / "status.sock")
    with serving(socket.AF_UNIX, path, drip):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            fastcgi.ping(path, "/ping", 0.5)
        assert time.monotonic() - started < 1.5


def test_dripping_http_service_is_left_at_the_deadline() -> None:
    with serving(socket.AF_INET, ("127.0.0.1", 0), drip) as listener:
        started = time.monotonic()
        assert instances_ask.ask(over_http(listener), 0.5) == ""
        assert time.monotonic() - started < 1.5


def test_service_that_says_nothing_and_full_backlog_are_left_at_the_deadline(tmp_path: Path) -> None:
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        started = time.monotonic()
        with pytest.raises(OSError):
            fastcgi.ping(path, "/ping", 0.5)
        assert time.monotonic() - started < 1.5


def test_answer_that_does_not_end_is_not_read_on(tmp_path: Path) -> None:
    path = str(tmp_path / "status.sock")
    with serving(socket.AF_UNIX, path, flood), pytest.raises(exchange.ExchangeError):
        fastcgi.ping(path, "/ping", 5)
    with serving(socket.AF_INET, ("127.0.0.1", 0), flood) as listener:
        assert instances_ask.ask(over_http(listener), 5) == ""


def test_header_that_comes_in_pieces_is_read() -> None:
    def pieces(connection: socket.socket) -> None:
        for byte in HEADER:
            connection.sendall(bytes([byte]))

    with serving(socket.AF_INET, ("127.0.0.1", 0), pieces) as listener:
        assert instances_ask.ask(over_http(listener), 5) == "abc123"


def test_what_is_not_http_has_no_generation() -> None:
    with serving(
        socket.AF_INET, ("127.0.0.1", 0), lambda it: it.sendall(b"\x00\r\nX-Generation: a\r\n\r\n")
    ) as listener:
        assert instances_ask.ask(over_http(listener), 5) == ""
