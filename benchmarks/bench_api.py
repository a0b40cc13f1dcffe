"""The API's own figures: lists of 5,000 tenants, 200 open streams, memory at rest, and how long a stop takes.

``python benchmarks/bench_api.py`` fills a state directory of its own, whose tenants live on a node that does not exist
(nothing of this machine is touched), starts ``wcp360 serve`` on it with the default settings, and prints a Markdown
section. It ends with 1 where a figure misses its aim. What else runs on the machine is in the figures: see the load.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import platform
import selectors
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from wcp360.core.actor import SYSTEM
from wcp360.core.config import Settings
from wcp360.core.ids import new_id
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.submit import Asked
from wcp360.core.views import RecordStatus
from wcp360.storage import migrate
from wcp360.wiring import System, build

TENANTS = int(os.environ.get("WCP360_BENCH_TENANTS", "5000"))
STREAMS = 200
CALLS = 200
EVENTS = 60
SET = 1000
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5yoFGzpPcqWnhqtA7a9tw1XzsmqRVRHzZZ1mAQ5Ggu"


def say(text: str) -> None:
    """Report progress, which is no part of the section."""
    print(text, file=sys.stderr, flush=True)


def submit(system: System, operation: str, **given: Any) -> None:
    """Submit a change past HTTP."""
    declared = system.registry.operation(operation)
    system.door.submit(Asked(declared, declared.input.model_validate(given, strict=False), SYSTEM, new_id()))


def fill(system: System) -> None:
    """Make tenants, and record them as applied, so that the engine has nothing to do."""
    migrate(system.store)
    submit(system, "node.create", name="nowhere", address="127.0.0.1", port=9, host_key=KEY)
    for first in range(0, TENANTS, SET):
        members = [
            {"operation": "tenant.create", "input": {"name": f"tenant{n}", "node": "nowhere", "display_name": "A name"}}
            for n in range(first, min(first + SET, TENANTS))
        ]
        submit(system, "change.create", operations=members)
        apply_all(system)
        say(f"{first + len(members)} tenants")


def apply_all(system: System) -> None:
    """Do what the engine does after a good run."""
    while targets := system.ledger.pending("nowhere"):
        run = system.ledger.begin_run("nowhere", targets, correlation=new_id())
        system.ledger.record(run, [TargetOutcome(t.ref, t.wanted, TargetStatus.APPLIED) for t in targets])
        system.ledger.finish_run(run, RecordStatus.SUCCEEDED, "", [])


class Server:
    """A running ``wcp360 serve``."""

    def __init__(self, base: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WCP360_")}
        own = {"WCP360_STATE_DIR": str(base / "state"), "WCP360_API__PORT": str(self.port), "PYTHONPATH": str(ROOT)}
        self.environment = kept | own | {"WCP360_LOG_LEVEL": "warning"}
        self.log = base / "serve.log"
        self.token = ""

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self.log.open("wb") as log:
            argv = [sys.executable, "-m", "wcp360.cli.main", "serve"]
            self.process = subprocess.Popen(argv, env=self.environment, cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                connection = self.connect()
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.1)
        sys.exit(self.log.read_text())

    def stop(self) -> float:
        """Return the seconds from SIGTERM until all of it is gone."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.monotonic() - began

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is kept open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def family(self) -> list[int]:
        """Return the process and all its descendants."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found


def memory(pids: list[int]) -> list[tuple[str, float, float]]:
    """Return name, RSS and PSS in MB of each process; PSS counts what is shared once."""
    rows = []
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        sizes = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        rss, pss = (int(sizes[name].split()[0]) / 1024 for name in ("Rss", "Pss"))
        rows.append((words.split(" -m ")[-1].strip()[:60], rss, pss))
    return rows


def times_of(server: Server, paths: Callable[[int], str], calls: int = CALLS) -> list[float]:
    """Return the milliseconds of requests one after the other on one kept connection."""
    connection, times = server.connect(), []
    headers = {"Authorization": f"Bearer {server.token}"}
    for number in range(calls):
        began = time.perf_counter()
        connection.request("GET", paths(number), headers=headers)
        answer = connection.getresponse()
        answer.read()
        times.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            sys.exit(f"{paths(number)} answered {answer.status}.")
    connection.close()
    return times


def pages(server: Server, query: str) -> list[str]:
    """Return the paths of the pages of the list of tenants."""
    connection, found, cursor = server.connect(), [], ""
    while cursor is not None and len(found) < CALLS:
        path = f"/api/v1/tenants?{query}" + (f"&cursor={cursor}" if cursor else "")
        connection.request("GET", path, headers={"Authorization": f"Bearer {server.token}"})
        cursor = json.loads(connection.getresponse().read())["next"]
        found.append(path)
    connection.close()
    return found


class Served(Protocol):
    """Where a server listens, and a token for it."""

    port: int
    token: str


class Readers(threading.Thread):
    """Many open streams in one thread: notes for each event and stream when it arrived, by what ``number`` returns."""

    def __init__(self, server: Served, number: Callable[[dict[str, Any]], int | None]) -> None:
        super().__init__(daemon=True)
        self._server, self._number, self._selector = server, number, selectors.DefaultSelector()
        self.arrived: dict[int, list[float]] = {}
        self.closed = 0
        for _ in range(STREAMS):
            self._selector.register(self._open(), selectors.EVENT_READ, bytearray())

    def _open(self) -> socket.socket:
        stream = socket.create_connection(("127.0.0.1", self._server.port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        stream.sendall(
            f"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._server.token}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = stream.recv(1)
            if not more:
                sys.exit(f"A stream was refused: {head!r}")
            head += more
        if b" 101 " not in head.splitlines()[0]:
            sys.exit(f"A stream was refused: {head + stream.recv(4096)!r}")
        stream.setblocking(False)
        return stream

    def run(self) -> None:
        """Read until all streams are closed."""
        while self.closed < STREAMS:
            for key, _ in self._selector.select(1.0):
                now = time.time()
                try:
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                except OSError:
                    data = b""
                if not data:
                    self._selector.unregister(key.fileobj)
                    self.closed += 1
                    continue
                key.data.extend(data)
                for text in _frames(key.fileobj, key.data):
                    number = self._number(json.loads(text))
                    if number is not None:
                        self.arrived.setdefault(number, []).append(now)


def _frames(stream: Any, buffer: bytearray) -> Iterator[bytes]:
    """Take whole frames off a buffer; pings are answered."""
    while len(buffer) >= 2:
        length, start = buffer[1] & 0x7F, 2
        if length == 126:
            if len(buffer) < 4:
                return
            (length,), start = struct.unpack(">H", buffer[2:4]), 4
        if len(buffer) < start + length:
            return
        opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + length])
        del buffer[: start + length]
        if opcode == 1:
            yield payload
        elif opcode == 9:
            stream.send(b"\x8a\x80\0\0\0\0")


@contextmanager
def ticking(system: System, sent: dict[int, float], pause: float) -> Iterator[None]:
    """Commit an event every ``pause`` seconds as the engine does, and note when each commit was done."""
    ended = threading.Event()

    def tick() -> None:
        number = 0
        while not ended.wait(pause):
            system.ledger.event("bench.tick", {"number": number, "node": "nowhere", "task": "nginx : Sites"})
            sent[number] = time.time()
            number += 1

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def p95(times: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(times, n=20)[-1]


def row(what: str, times: list[float], aim: float) -> tuple[str, bool]:
    """Return a line of the table, and whether it holds its aim."""
    found = p95(times)
    return f"| {what} | {statistics.median(times):.1f} ms | {found:.1f} ms | {aim:g} ms |", found < aim


def measure(system: System, server: Server) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the section."""
    yield from ((line, True) for line in ("| what | median | p95 | aim (p95) |", "|---|---|---|---|"))
    small, large = pages(server, "limit=100"), pages(server, "limit=1000")
    yield row(f"list of {TENANTS} tenants, any page of 100", times_of(server, lambda n: small[n % len(small)]), 100)
    failed = "/api/v1/tenants?status=failed&sort=-created"
    yield row("the same by `status=failed&sort=-created`", times_of(server, lambda n: failed), 100)
    yield row("any page of 1,000", times_of(server, lambda n: large[n % len(large)], 40), 400)
    say("opening streams")
    readers = Readers(server, lambda event: event["data"]["number"] if event["type"] == "bench.tick" else None)
    readers.start()
    sent: dict[int, float] = {}
    with ticking(system, sent, 0.5):
        time.sleep(EVENTS * 0.5 + 1)
    time.sleep(2)
    late = [(when - sent[number]) * 1000 for number, whens in readers.arrived.items() for when in whens]
    lost = len(sent) * STREAMS - len(late)
    say(f"{len(late)} events arrived, {lost} did not")
    yield row(f"event, commit to client, {STREAMS} streams", late, 150)
    with ticking(system, {}, 0.5):
        one = times_of(server, lambda n: f"/api/v1/tenants/tenant{n % TENANTS}", CALLS * 3)
    yield row(f"one tenant, {STREAMS} streams open, two events a second", one, 40)
    with ticking(system, {}, 0.5):
        some = times_of(server, lambda n: "/api/v1/tenants?limit=20")
    yield row("list of 20, the same", some, 40)
    seconds = server.stop()
    readers.join(10)
    yield (
        f"\nStop by SIGTERM with {STREAMS} streams open: {seconds:.1f} s (aim: 5 s); lost events: {lost}.",
        (seconds < 5 and lost == 0 and server.process.returncode == 0),
    )


def at_rest(server: Server) -> tuple[str, bool]:
    """Return the lines on memory, some seconds after the start."""
    time.sleep(5)
    rows = memory(server.family())
    total = sum(pss for _, _, pss in rows)
    lines = [f"| `{name}` | {rss:.0f} MB | {pss:.0f} MB |" for name, rss, pss in rows]
    head = ["| process, idle | RSS | PSS |", "|---|---|---|"]
    whole = f"| all (aim: PSS below 200 MB) | {sum(rss for _, rss, _ in rows):.0f} MB | {total:.0f} MB |"
    return "\n".join([*head, *lines, whole, ""]), total < 200


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="wcp360-benchmark-") as name:
        base = Path(name)
        system = build(Settings(state_dir=base / "state"))
        (base / "state").mkdir(mode=0o700)
        fill(system)
        server = Server(base)
        server.token = system.tokens.create("bench", {"*"}, None).text
        load = os.getloadavg()[0]
        server.start()
        try:
            results = [at_rest(server), *measure(system, server)]
        finally:
            if server.process.poll() is None:
                server.stop()
            say(server.log.read_text()[-2000:])
        system.store.close()
    print("## API\n")
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"Linux {platform.release()}, load before {load:.1f} and after {os.getloadavg()[0]:.1f} (server and clients "
        "share the machine).\n"
    )
    print("\n".join(line for line, _ in results))
    return int(not all(good for _, good in results))


if __name__ == "__main__":
    sys.exit(main())
