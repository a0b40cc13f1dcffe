"""The event stream on a real server: who may, what arrives, and how it ends."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

from tests.api.panel import API, ORIGIN, Panel, running
from wcp360.core.ids import new_id


def opened(panel: Panel, query: str = "", caller: str = "root", **options: Any) -> websocket.WebSocket:
    """Open a stream; without an Origin, as programs do, unless one is given."""
    options.setdefault("suppress_origin", "origin" not in options)
    return websocket.create_connection(
        f"ws://127.0.0.1:{panel.port}{API}/stream{query}",
        header=[f"Authorization: Bearer {panel.tokens[caller]}"],
        timeout=10,
        **options,
    )


def refusal(panel: Panel, query: str = "", caller: str = "root", **options: Any) -> tuple[int, str]:
    """Return status and code of a refused handshake."""
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        opened(panel, query, caller, **options)
    return caught.value.status_code, json.loads(caught.value.resp_body)["code"]


def frames(stream: websocket.WebSocket, count: int) -> list[dict[str, Any]]:
    """Read frames as JSON."""
    return [json.loads(stream.recv()) for _ in range(count)]


def test_events_arrive_in_order_and_can_be_resumed(panel: Panel) -> None:
    with contextlib.closing(opened(panel)) as stream:
        for name in ("streama", "streamb", "streamc"):
            panel.send("POST", f"{API}/tenants", {"name": name})
        seen = frames(stream, 3)
    assert [event["type"] for event in seen] == ["change.accepted"] * 3
    assert [event["tenant"] for event in seen] == ["streama", "streamb", "streamc"]
    assert [event["id"] for event in seen] == sorted(event["id"] for event in seen)
    with contextlib.closing(opened(panel, f"?after={seen[0]['id']}")) as stream:
        assert frames(stream, 2) == seen[1:]


def test_a_stream_over_the_unix_socket(panel: Panel) -> None:
    connection = panel.connect(unix=True)
    with contextlib.closing(opened(panel, "?after=0", socket=connection)) as stream:
        assert frames(stream, 1)[0]["id"] == 1


def test_nothing_of_others_is_sent(panel: Panel) -> None:
    with contextlib.closing(opened(panel, caller="acme-only")) as stream:
        for name in ("foreigna", "acme", "foreignb"):
            panel.send("POST", f"{API}/tenants", {"name": name})
        assert frames(stream, 1)[0]["tenant"] == "acme"
        stream.settimeout(1.5)
        with pytest.raises(websocket.WebSocketTimeoutException):
            stream.recv()


def test_who_may_not_is_refused_before_the_handshake(panel: Panel) -> None:
    panel.tokens["nobody"] = "wcp_wrong"
    assert refusal(panel, caller="nobody") == (401, "unauthenticated")
    assert refusal(panel, caller="powerless") == (403, "forbidden")
    for query in ("?after=x", "?after=-1", "?after=1&after=2", "?before=1", "?after=" + "9" * 30):
        assert refusal(panel, query) == (422, "invalid")


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", f"{ORIGIN}.evil.com", f"{ORIGIN}:8443", "http://panel.example.org", f"x{ORIGIN}", "null"],
)
def test_other_origins_are_refused(panel: Panel, origin: str) -> None:
    assert refusal(panel, origin=origin) == (403, "origin_not_allowed")


def test_the_configured_origin_is_taken(panel: Panel) -> None:
    opened(panel, origin=ORIGIN).close()


def test_a_reader_that_talks_is_ended(panel: Panel) -> None:
    stream = opened(panel)
    stream.send("hello")
    assert close_code(stream) == 1003


def test_a_revoked_token_ends_its_streams(own: Panel) -> None:
    made = own.system.tokens.create("brief", {"*"}, None)
    own.tokens["brief"] = made.text
    stream = opened(own, caller="brief")
    own.system.tokens.revoke(made.id)
    assert close_code(stream) == 1008
    assert own.send("GET", f"{API}/tenants", caller="brief").status == 401


def test_streams_are_capped_and_their_places_returned(own: Panel) -> None:
    streams = [opened(own) for _ in range(3)]
    assert refusal(own) == (429, "too_many_requests")
    assert own.send("GET", f"{API}/tenants").status == 200
    for stream in streams:
        stream.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(websocket.WebSocketBadStatusException):
            opened(own).close()
            return
        time.sleep(0.2)
    raise AssertionError("The places of closed streams were not returned.")


def test_a_broken_handshake_returns_its_place(own: Panel) -> None:
    head = (
        f"GET {API}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {own.tokens['root']}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    ).encode()
    for _ in range(6):
        with own.connect() as connection:
            connection.sendall(head)
            connection.settimeout(5)
            connection.recv(4096)
    time.sleep(0.5)
    opened(own).close()


def test_the_heartbeat_finds_dead_readers(own: Panel) -> None:
    """A reader that answers pings stays; one that does not is gone after two heartbeats."""
    alive, dead = opened(own), opened(own)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        alive.settimeout(0.2)
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            alive.recv_data_frame(control_frame=True)
    dead.sock.settimeout(5)
    assert read_all(dead.sock) != b""
    own.send("POST", f"{API}/tenants", {"name": "still"})
    alive.settimeout(5)
    assert json.loads(alive.recv())["tenant"] == "still"


def test_a_slow_reader_is_dropped_with_a_reason(own: Panel) -> None:
    fill(own, 2500)
    slow = opened(own, "?after=0", sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    time.sleep(4)
    assert close_code(slow) == 1013
    assert own.send("GET", f"{API}/tenants").status == 200
    assert b'wcp360_streams_dropped_total{reason="slow"} 1.0' in own.send("GET", "/metrics").raw


def fill(panel: Panel, count: int) -> None:
    """Write events, as the engine does."""
    with panel.system.store.write() as unit:
        for number in range(count):
            unit.add_event("run.task", {"number": number, "text": "x" * 400}, correlation=new_id())


def test_a_stop_ends_streams_and_waits(tmp_path: Path) -> None:
    with running(tmp_path) as panel:
        streams = [opened(panel) for _ in range(5)]
        with panel.connect() as waiting:
            body = b'{"name": "waits"}'
            waiting.sendall(
                f"POST {API}/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {panel.tokens['root']}\r\n"
                f"Content-Type: application/json\r\nPrefer: wait=600\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            time.sleep(1)
            assert panel.stop() < 5
            waiting.settimeout(5)
            assert b" 202 " in waiting.recv(65536).splitlines()[0]
        assert [close_code(stream) for stream in streams] == [1001] * 5
        assert panel.process is not None
        assert panel.process.returncode == 0


def close_code(stream: websocket.WebSocket) -> int:
    """Read until the server closes; return the close code. (The frames are read bare: the server may be gone.)"""
    while True:
        frame = stream.recv_frame()
        if frame.opcode == websocket.ABNF.OPCODE_CLOSE:
            return int.from_bytes(frame.data[:2], "big")


def read_all(connection: socket.socket) -> bytes:
    """Read a bare socket to its end."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Panel]:
    """Return a server of the test's own with few threads and short times."""
    limits = {"HEARTBEAT": "1", "PATIENCE": "0.5", "RECHECK": "1"}
    variables = {f"WCP360_TEST_{name}": value for name, value in limits.items()}
    with running(tmp_path, WCP360_API__THREADS="8", WCP360_API__MAX_STREAMS="3", **variables) as panel:
        yield panel


def test_many_streams_get_every_event_once_and_in_order(tmp_path: Path) -> None:
    """Streams that keep up are served from memory, one that resumes from the log: neither loses nor repeats any."""
    with running(tmp_path) as panel:
        panel.token("bolt-only", {"*"}, {"bolt"})
        streams = [opened(panel) for _ in range(60)]
        early = [opened(panel, caller="bolt-only") for _ in range(5)]
        for name in ("acme", "bolt", "corp"):
            panel.send("POST", f"{API}/tenants", {"name": name})
        fill(panel, 40)
        seen = [frames(stream, 43) for stream in streams]
        assert all(each == seen[0] for each in seen)
        ids = [event["id"] for event in seen[0]]
        assert ids == list(range(ids[0], ids[0] + 43))
        mine = [event for event in seen[0] if event["tenant"] == "bolt"]
        assert mine
        assert all(frames(stream, len(mine)) == mine for stream in early)
        # Broken off in the middle, and resumed: the rest, whoever serves it.
        for stream in streams:
            stream.shutdown()
        fill(panel, 1500)
        with contextlib.closing(opened(panel, f"?after={ids[20]}")) as resumed:
            rest = frames(resumed, 22 + 1500)
        assert rest[:22] == seen[0][21:]
        assert [event["id"] for event in rest] == list(range(ids[21], ids[21] + 1522))


def test_two_hundred_streams_and_a_stop(tmp_path: Path) -> None:
    """With the default settings; readers that do not answer the goodbye do not hold the server up."""
    with running(tmp_path) as panel:
        streams = [opened(panel) for _ in range(200)]
        assert panel.send("GET", f"{API}/tenants").status == 200
        took = panel.stop()
        assert panel.process is not None
        assert panel.process.returncode == 0
        assert took < 15  # Nobody was waited for; benchmarks/bench_api.py has the figure.
        assert [close_code(stream) for stream in streams] == [1001] * 200
