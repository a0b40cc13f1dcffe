"""HTTP to the server, over TCP, TLS or a Unix socket, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from wcp360.cli.exits import Exit, Failure, of_status
from wcp360.cli.place import Place
from wcp360.cli.safe import safe

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""
READ_TIMEOUT = 120.0
"""Seconds to wait for an answer: `prepare` of an operation may contact a node before it."""
IDEMPOTENCY_KEY = "Idempotency-Key"
PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)
"""Seconds before a request is sent again after its connection broke: a server is back 5 s after a restart."""
# A page of 1,000 objects stays far below; more means that something else answers.
MAX_ANSWER = 64 * 2**20


class Refused(Failure):
    """The server said no; ``problem`` is its document (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(describe(status, problem), of_status(status))
        self.status, self.problem = status, problem


def describe(status: int, problem: Mapping[str, Any]) -> str:
    """Return a problem document as sentences, one line for each wrong field."""
    detail = safe(problem.get("detail") or problem.get("title") or f"The server answered {status}.")
    errors = [error for error in problem.get("errors") or [] if isinstance(error, dict)]
    lines = [safe(f"{error.get('field') or 'input'}: {error.get('message', '')}") for error in errors]
    # A detail may itself be made of the fields; nobody needs to read them twice.
    return "\n".join([detail, *(f"  {line}" for line in lines if line not in detail)])


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: ``body`` is the parsed JSON."""

    status: int
    body: Any


class Client:
    """One kept connection to one server."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._connection: http.client.HTTPConnection | None = None
        self._token = ""

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        once: str = "",
    ) -> Answer:
        """Send one request. Raises Refused for 4xx and 5xx, Failure where nobody answers.

        ``once`` is a changing request's own key: when the connection breaks, the request is sent again under it, and
        the server does it once.
        """
        text = _query(query or {})
        target = f"{path}?{text}" if text else path
        data = None if body is None else json.dumps(body, ensure_ascii=True).encode()
        headers = {"Accept": "application/json, application/problem+json"} | self.authorization()
        if data is not None:
            headers["Content-Type"] = "application/json"
        if once:
            headers[IDEMPOTENCY_KEY] = f'"{once}"'
        status, raw = self._exchange(method, target, data, headers)
        parsed = _parse(raw, str(self.place))
        if status >= 400:
            raise Refused(status, parsed if isinstance(parsed, dict) else {})
        return Answer(status, parsed)

    def authorization(self) -> dict[str, str]:
        """Return the header that opens the server. A server that does not run is said before a missing token."""
        if not self._token:
            try:
                self._token = self.place.token()
            except Failure:
                self.connect().close()
                raise
        return {"Authorization": f"Bearer {self._token}"}

    def connect(self) -> http.client.HTTPConnection:
        """Return a fresh open connection, or raise Failure that says how to start a server."""
        connection = self._fresh()
        try:
            connection.connect()
        except ssl.SSLError as error:
            raise Failure(f"TLS with {self.place} failed: {error.reason}.", Exit.NO_SERVER) from error
        except OSError as error:
            raise Failure(_nobody(self.place, error), Exit.NO_SERVER) from error
        connection.sock.settimeout(READ_TIMEOUT)
        return connection

    def _fresh(self) -> http.client.HTTPConnection:
        if self.place.socket:
            return _UnixConnection(self.place.socket)
        kind = http.client.HTTPSConnection if self.place.tls else http.client.HTTPConnection
        return kind(self.place.host, self.place.port, timeout=CONNECT_TIMEOUT)

    def _exchange(self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._connection is not None and _closed_by_peer(self._connection.sock):
            self._drop()
        # Reading may be said again on a fresh connection; a change only under its key.
        reused = self._connection is not None
        pauses = iter(PAUSES if IDEMPOTENCY_KEY in headers else PAUSES[:1] if reused and method == "GET" else ())
        broken: Exception | None = None
        while True:
            try:
                status, raw = self._send(method, target, data, headers)
            except (http.client.HTTPException, OSError) as error:
                self._drop()
                broken = error
            except Failure as failure:
                # Where nobody answers at first there is no server; after a break it may be starting again.
                if broken is None:
                    raise
                broken = failure
            else:
                if status != http.HTTPStatus.CONFLICT or broken is None or b"request_in_progress" not in raw:
                    return status, raw
            pause = next(pauses, None)
            if pause is None:
                raise Failure(_broken_off(self.place, broken), Exit.SERVER_FAULT) from broken
            time.sleep(pause)

    def _send(self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self.connect()
        self._connection.request(method, target, body=data, headers=dict(headers))
        response = self._connection.getresponse()
        raw = response.read(MAX_ANSWER)
        if response.will_close:
            self._drop()
        return response.status, raw

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _broken_off(place: Place, error: Exception) -> str:
    return (
        f"The server at {place} did not answer in full ({error or type(error).__name__}). "
        "`wcp360 change list` shows whether a change was accepted."
    )


def _closed_by_peer(connection: socket.socket) -> bool:
    """Tell whether an idle connection has something to read: nothing was asked, so that can only be its end.

    A server keeps idle connections for seconds, and a person who is asked something takes longer.
    """
    return bool(select.select([connection], [], [], 0)[0])


def fill(path: str, key: str) -> str:
    """Return a route with its one placeholder replaced by ``key``, percent-encoded."""
    before, brace, rest = path.partition("{")
    if not brace:
        return path
    # A dot segment would be resolved away by proxies before the server sees it.
    encoded = quote(key, safe="") if key not in (".", "..") else key.replace(".", "%2E")
    return before + encoded + rest.partition("}")[2]


def _query(values: Mapping[str, Any]) -> str:
    pairs = []
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            pairs.append((name, str(one).lower() if isinstance(one, bool) else str(one)))
    return urlencode(pairs)


def _parse(raw: bytes, place: str) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise Failure(f"What answers at {place} is not a WCP360 server: it sent no JSON.", Exit.SERVER_FAULT) from error


def _nobody(place: Place, error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return (
        f"No WCP360 server answers at {place} ({reason}); start one with `wcp360 serve`, "
        "or say where it is in WCP360_URL."
    )
