"""The HTTP client against a server that does not keep idle connections for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wcp360.cli.client import Client
from wcp360.cli.place import Place


class _Impatient(BaseHTTPRequestHandler):
    """Answers every POST, and closes a connection that is idle for 0.2 s."""

    protocol_version = "HTTP/1.1"
    timeout = 0.2

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(202)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    token = tmp_path / "token"
    token.write_text("wcp_x")
    token.chmod(0o600)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Impatient)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Place("127.0.0.1", server.server_address[1], False, "", tmp_path, token)
    server.shutdown()
    server.server_close()


def test_a_change_after_a_question_is_sent_on_a_new_connection(place: Place) -> None:
    client = Client(place)
    assert client.call("POST", "/api/v1/nodes", body={}).status == 202
    time.sleep(0.6)
    assert client.call("POST", "/api/v1/nodes", body={}).status == 202
