"""How long one change takes: from the HTTP request to the probe that sees the new state, plain and warm.

``python benchmarks/bench_change.py`` starts an SSH node and a server of its own, repeats each change BENCH_REPEATS
times (20) at one stored tenant and again at BENCH_STORED (500), and prints median and 95th percentile with their parts:
the request, the wait until the run begins, Ansible's start, its work on the node, and what comes after. A change is
over when its outcome is recorded and, for a site, when a client outside of the node is answered as it asks for.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import about, note
from tests.e2e.panel import Panel
from wcp360.cli.client import Client
from wcp360.cli.place import find_place

REPEATS = int(os.environ.get("BENCH_REPEATS", "20"))
STORED = int(os.environ.get("BENCH_STORED", "500"))
BULK = int(os.environ.get("BENCH_BULK", "100"))
GOALS = {
    "create a domain with PHP": (2.0, 1.2),
    "create a tenant": (2.0, 1.2),
    "suspend a tenant with ten domains": (2.0, 1.5),
    "delete it": (2.5, 2.0),
}
LOOK = 0.02
PATIENCE = 30.0


@dataclass
class Taken:
    """Seconds of one change by part, and how many tasks Ansible had."""

    total: float
    request: float
    wait: float
    start: float
    work: float
    after: float
    tasks: int


@dataclass
class Bench:
    """A server, its node, and what was measured."""

    panel: Panel
    client: Client
    address: str
    taken: dict[str, list[Taken]] = field(default_factory=dict)

    def do(self, what: str, method: str, path: str, body: dict[str, Any] | None, sees: Callable[[], bool]) -> Taken:
        """Ask for a change, wait until it is seen, and keep what it took under ``what``."""
        last = self.last_event()
        begun, clock = time.monotonic(), time.time()
        change = self.client.call(method, path, body=body).body
        requested = time.monotonic() - begun
        while (found := self.client.call("GET", f"/api/v1/changes/{change['id']}").body)["status"] == "pending":
            time.sleep(LOOK)
        deadline = time.monotonic() + PATIENCE
        while not sees():
            if time.monotonic() > deadline:
                raise SystemExit(f"{what or path}: the change succeeded, but is not seen after {PATIENCE} seconds.")
            time.sleep(LOOK)
        total = time.monotonic() - begun
        if found["status"] != "succeeded":
            raise SystemExit(f"{what or path}: {found['reason']}")
        taken = self.parts(last, clock, total, requested)
        note(f"{total:.2f} s: {what or path}")
        self.taken.setdefault(what, []).append(taken)
        return taken

    def last_event(self) -> int:
        """Return the number of the newest event."""
        last = 0
        while items := self.client.call("GET", "/api/v1/events", {"after": last, "limit": 1000}).body["items"]:
            last = items[-1]["id"]
        return last

    def parts(self, last: int, clock: float, total: float, requested: float) -> Taken:
        """Divide a change's time by the events after number ``last``."""
        events = self.client.call("GET", "/api/v1/events", {"after": last, "limit": 1000}).body["items"]
        events = [event for event in events if event["data"].get("state") != "ended"]
        at = {kind: [_seconds(event["time"]) - clock for event in events if event["type"] == kind] for kind in KINDS}
        started, tasks, finished = at["run.started"][0], at["run.task"], at["run.finished"][-1]
        return Taken(
            total, requested, max(0.0, started - requested), tasks[0] - started, finished - tasks[0],
            max(0.0, total - finished), len(tasks),
        )  # fmt: skip

    def answers(self, status: int, *names: str) -> bool:
        """Tell whether the node answers for all of these sites with ``status``."""
        return all(self._answers(status, name) for name in names)

    def _answers(self, status: int, name: str) -> bool:
        link = http.client.HTTPConnection(self.address, 80, timeout=10)
        try:
            link.request("GET", "/", headers={"Host": name})
            return link.getresponse().status == status
        except OSError:
            return False
        finally:
            link.close()


KINDS = ("run.started", "run.task", "run.finished")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def members(first: int, count: int) -> list[dict[str, Any]]:
    """Return the operations that make tenants with a domain each."""
    names = [f"b{number}" for number in range(first, first + count)]
    tenants = [{"operation": "tenant.create", "input": {"name": f"{name}x", "node": "web1"}} for name in names]
    sites = [{"operation": "domain.create", "input": {"name": f"{name}.test", "tenant": f"{name}x"}} for name in names]
    return tenants + sites


def bulk(bench: Bench, what: str, first: int, count: int) -> None:
    """Make tenants with a domain each in one change set."""
    last = f"b{first + count - 1}.test"
    bench.do(what, "POST", "/api/v1/changes", {"operations": members(first, count)}, partial(bench.answers, 200, last))


def single(bench: Bench, first: int) -> None:
    """Measure each kind of change REPEATS times; numbers from ``first`` on keep names apart."""
    always = partial(bench.answers, 200)  # no site
    kinds = list(GOALS)
    tenant = {"name": f"host{first}", "node": "web1"}
    bench.do("", "POST", "/api/v1/tenants", tenant, always)
    for number in range(first, first + REPEATS):
        name = f"d{number}.test"
        given = {"name": name, "tenant": tenant["name"], "php": True}
        bench.do(kinds[0], "POST", "/api/v1/domains", given, partial(bench.answers, 200, name))
        bench.do(kinds[1], "POST", "/api/v1/tenants", {"name": f"ten{number}", "node": "web1"}, always)
    for number in range(first, first + REPEATS):
        names = [f"s{number}-{site}.test" for site in range(10)]
        sites = [
            {"operation": "domain.create", "input": {"name": name, "tenant": f"ten{number}", "php": True}}
            for name in names
        ]
        bench.do("", "POST", "/api/v1/changes", {"operations": sites}, partial(bench.answers, 200, names[-1]))
        path = f"/api/v1/tenants/ten{number}"
        bench.do(kinds[2], "POST", f"{path}/suspend", {}, partial(bench.answers, 503, *names))
        bench.do(kinds[3], "DELETE", f"{path}?purge=true", None, partial(bench.answers, 404, *names))


@contextmanager
def fresh_node(warm: bool) -> Iterator[dict[str, Any]]:
    """Start a node for one way, and remove it afterwards."""
    tool = [sys.executable, str(ROOT / "tests/hosts/hosts.py")]
    name = f"wcp360-bench-{os.getpid()}"
    started = subprocess.run([*tool, "up", name, "--json"], capture_output=True, text=True, check=True).stdout
    try:
        note(f"{'warm' if warm else 'plain'}: measuring")
        yield json.loads(started)
    finally:
        subprocess.run([*tool, "down", name], capture_output=True, check=False)


@contextmanager
def serving(host: dict[str, Any], warm: bool) -> Iterator[Bench]:
    """Run a server that has the node and one tenant with a site."""
    with tempfile.TemporaryDirectory(prefix="wcp360-bench-") as directory:
        panel = Panel(Path(directory))
        panel.environment["WCP360_ENGINE__WARM"] = "true" if warm else "false"
        panel.run("init")
        panel.start()
        try:
            key = host["host_key"].split(" ", 1)[1]
            words = ["--address", host["address"], "--port", str(host["port"]), "--identity-file", host["key"]]
            panel.run("node", "create", "web1", *words, "--host-key", key)
            bench = Bench(panel, Client(find_place(panel.environment)), host["address"])
            bulk(bench, "", 0, 1)
            yield bench
        finally:
            panel.stop()


def measure(host: dict[str, Any], warm: bool) -> tuple[dict[str, list[Taken]], dict[str, list[Taken]]]:
    """Return what was taken at one tenant and at STORED."""
    with serving(host, warm) as bench:
        single(bench, 1)
        bulk(bench, f"{BULK} tenants with a domain each, one change set", 1000, BULK)
        few, bench.taken = bench.taken, {}
        if STORED > BULK:
            bulk(bench, "", 2000, STORED - BULK)
            single(bench, 5000)
        return few, bench.taken


def table(few: dict[str, list[Taken]], many: dict[str, list[Taken]], warm: bool) -> None:
    """Print one way's figures."""
    way = "warm" if warm else "plain"
    print(f"\n**{way}**\n")
    print("| change | stored | goal | median | p95 | request | wait | start | work | after | tasks |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for stored, taken in (("1", few), (str(STORED), many)):
        for what, rows in taken.items():
            if what:
                goal = GOALS.get(what, (12.0, 12.0))[warm]
                print(f"| {what} | {stored} | {goal} | {' | '.join(_figures(rows))} |")


def _figures(rows: list[Taken]) -> list[str]:
    totals = sorted(row.total for row in rows)
    p95 = totals[min(len(totals) - 1, round(0.95 * len(totals)))]
    parts = [
        statistics.median(getattr(row, name) for row in rows) for name in ("request", "wait", "start", "work", "after")
    ]
    return [f"{value:.2f}" for value in (statistics.median(totals), p95, *parts)] + [str(rows[-1].tasks)]


def main() -> None:
    """Measure both ways, each on a fresh node."""
    about(
        "Speed of one change", f"seconds; {REPEATS} repeats each; HestiaCP's own scripts take 1.3, 0.7, 4.5 to 7, 3.5"
    )
    for warm in (False, True):
        with fresh_node(warm) as host:
            few, many = measure(host, warm)
        table(few, many, warm)


if __name__ == "__main__":
    main()
