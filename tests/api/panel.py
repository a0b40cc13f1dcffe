"""A real API server in a process of its own, over TCP and a Unix socket, and a client that can send anything."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wcp360.core.actor import SYSTEM
from wcp360.core.config import PanelSettings, Settings
from wcp360.core.ids import new_id
from wcp360.core.submit import Asked
from wcp360.storage import migrate
from wcp360.wiring import DATABASE, System, build

ROOT = Path(__file__).parents[2]
API = "/api/v1"
ORIGIN = "https://panel.example.org"
PANEL_NAMES = PanelSettings(hostname="panel.example.org", name_servers=("ns1.panel.example.org",))
# What a request may write even when it is refused, and what has nothing to do with desired state.
NOT_STATE = ("audit", "event", "lease", "sqlite_sequence")


@dataclass(frozen=True)
class Answer:
    """A response, read whole."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        """The stable code of a problem; fails where the answer is none."""
        assert self.headers["content-type"] == "application/problem+json", self
        body = self.json
        assert {"type", "title", "status", "code", "detail", "correlation"} <= set(body), body
        assert body["status"] == self.status
        assert body["detail"].endswith((".", ")")), body["detail"]
        return body["code"]

    @property
    def fields(self) -> list[str]:
        """The paths of the wrong fields."""
        return [error["field"] for error in self.json.get("errors", [])]


@dataclass
class Panel:
    """A running server, with tokens of several callers and the store that the server works on."""

    state_dir: Path
    port: int
    socket: Path
    system: System
    tokens: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def send(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        *,
        caller: str | None = "root",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request; a dict is sent as JSON."""
        sent = {"Authorization": f"Bearer {self.tokens[caller]}"} if caller else {}
        if isinstance(body, dict):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, sent | (headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def raw(self, data: bytes, *, timeout: float = 30, unix: bool = False) -> bytes:
        """Send bytes as they are and return all that comes back until the server closes."""
        with self.connect(unix=unix) as connection:
            connection.settimeout(timeout)
            connection.sendall(data)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def connect(self, *, unix: bool = False) -> socket.socket:
        """Open a bare connection."""
        if unix:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(self.socket))
            return connection
        return socket.create_connection(("127.0.0.1", self.port))

    def state_hash(self) -> str:
        """Return a hash over all rows of all tables that hold desired state or its records."""
        digest = hashlib.sha256()
        with sqlite3.connect(self.state_dir / DATABASE) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for name in sorted(set(names) - set(NOT_STATE)):
                rows = database.execute(f'SELECT * FROM "{name}"').fetchall()
                rows = [row for row in rows if name != "counter" or row[0] not in (".audit", ".event")]
                digest.update(repr((name, sorted(rows, key=repr))).encode())
        return digest.hexdigest()

    def audit(self) -> list[dict[str, Any]]:
        """Return the whole audit log."""
        entries: list[dict[str, Any]] = []
        cursor = ""
        while cursor is not None:
            page = self.send("GET", f"{API}/audit?limit=1000&cursor={cursor}").json
            entries += page["items"]
            cursor = page["next"]
        return entries

    def token(self, name: str, permissions: set[str], tenants: set[str] | None) -> str:
        """Make a token and keep it under its name."""
        self.tokens[name] = self.system.tokens.create(name, permissions, tenants).text
        return self.tokens[name]

    def submit(self, operation: str, **given: Any) -> Any:
        """Submit a change past HTTP, to prepare a test."""
        declared = self.system.registry.operation(operation)
        asked = Asked(declared, declared.input.model_validate(given, strict=False), SYSTEM, new_id())
        return self.system.door.submit(asked)

    def stop(self) -> float:
        """Send SIGTERM and return the seconds until the process was gone."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return time.monotonic() - began


@contextmanager
def running(state_dir: Path, **environment: str) -> Iterator[Panel]:
    """Run a server on a fresh state directory; ``environment`` overrides settings and limits."""
    panel = _prepared(state_dir)
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WCP360_")},
        "WCP360_STATE_DIR": str(state_dir),
        "WCP360_API__PORT": str(panel.port),
        "WCP360_API__SOCKET": str(panel.socket),
        "WCP360_API__ALLOWED_ORIGINS": ORIGIN,
        "WCP360_PANEL__HOSTNAME": PANEL_NAMES.hostname,
        "WCP360_PANEL__NAME_SERVERS": ",".join(PANEL_NAMES.name_servers),
        **environment,
    }
    log = (state_dir / "api.log").open("wb")
    argv = [sys.executable, "-m", "tests.api.serve"]
    panel.process = subprocess.Popen(argv, cwd=ROOT, env=variables, stderr=log, stdout=log)
    try:
        _await(panel)
        yield panel
    finally:
        panel.stop()
        log.close()


def _prepared(state_dir: Path) -> Panel:
    state_dir.mkdir(parents=True, exist_ok=True)
    system = build(Settings(state_dir=state_dir, panel=PANEL_NAMES))
    migrate(system.store)
    panel = Panel(state_dir, _free_port(), state_dir / "api.sock", system)
    panel.token("root", {"*"}, None)
    panel.token("powerless", {"nothing"}, None)
    panel.token("acme-only", {"*"}, {"acme"})
    panel.submit("node.create", name="local", connection="local")
    return panel


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _await(panel: Panel) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert panel.process is not None
        if panel.process.poll() is not None:
            break
        try:
            if panel.send("GET", "/readyz", caller=None).status == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError((panel.state_dir / "api.log").read_text())


def segment(value: str) -> str:
    """Return a value as one path segment."""
    return quote(value, safe="")
