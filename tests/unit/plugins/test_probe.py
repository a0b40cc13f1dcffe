"""Asking a web server that is there, and one that is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils.probe import HEADER, Prober


class Answer(BaseHTTPRequestHandler):
    """Says for every name that it is the site demo.test."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header(HEADER, "demo.test:abc")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""


@pytest.fixture
def served() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that is taken, but at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def problem(port: int, **more: Any) -> str:
    wanted = {"id": "domain:demo.test", "host": "demo.test", "path": "/", "expect_site": "", "expect_status": []}
    prober = Prober(["127.0.0.1"], port, 0)
    try:
        return prober.probe(wanted | more).msg
    finally:
        prober.close()


def test_the_right_site_answers(served: int) -> None:
    assert problem(served, expect_site="demo.test:abc", expect_status=[200]) == ""


def test_an_older_site_is_named(served: int) -> None:
    assert "answered by demo.test:abc instead of demo.test:new" in problem(served, expect_site="demo.test:new")


def test_a_wrong_status_is_named(served: int) -> None:
    assert "status 200 instead of 503" in problem(served, expect_site="demo.test:abc", expect_status=[503])


def test_a_site_that_is_still_served_is_not_gone(served: int) -> None:
    assert "still answered by the site that was removed" in problem(served)


def test_where_nobody_listens_a_site_is_gone(nobody: int) -> None:
    assert problem(nobody) == ""


def test_where_nobody_listens_no_site_is_served(nobody: int) -> None:
    assert "does not answer" in problem(nobody, expect_site="demo.test:abc")
    assert "does not answer" in problem(nobody, expect_status=[404])
