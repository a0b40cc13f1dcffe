"""How long one change takes: from the HTTP request to the probe that sees the new state, plain and warm.

``python benchmarks/bench_change.py`` starts an SSH node and a server of its own, repeats each change BENCH_REPEATS
times (20) at one stored tenant and again at BENCH_STORED (500), and prints median and 95th percentile with their parts:
the request, the wait until the run begins, Ansible's start, its work on the node, what comes after until the client has
the outcome, and the probe, from then until the new state is seen: sites by a client outside of the node, each that the
change is about, accounts by ``getent`` in a shell on the node that was opened before.
"""

from __future__ import annotations

import http.client
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import nodes
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
PARTS = ("request", "wait", "start", "work", "after", "probe")
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
    probe: float
    tasks: int


@dataclass
class Bench:
    """A server, its node, and what was measured."""

    panel: Panel
    client: Client
    address: str
    shell: nodes.Shell
    taken: dict[str, list[Taken]] = field(default_factory=dict)

    def do(self, what: str, method: str, path: str, body: dict[str, Any] | None, sees: Callable[[], bool]) -> Taken:
        """Ask for a change, wait until it is seen, and keep what it took under ``what``."""
        last = self.last_event()
        begun, clock = time.monotonic(), time.time()
        change = self.client.call(method, path, body=body).body
        requested = time.monotonic() - begun
        self.outcome(change["id"], what or path)
        known = time.monotonic() - begun
        self.see(sees, what or path)
        total = time.monotonic() - begun
        taken = self.parts(last, clock, (requested, known, total))
        note(f"{total:.2f} s: {what or path}")
        self.taken.setdefault(what, []).append(taken)
        return taken

    def outcome(self, change: str, what: str) -> None:
        """Wait until a change has succeeded."""
        while (found := self.client.call("GET", f"/api/v1/changes/{change}").body)["status"] == "pending":
            time.sleep(LOOK)
        if found["status"] != "succeeded":
            raise SystemExit(f"{what}: {found['reason']}")

    def see(self, sees: Callable[[], bool], what: str) -> None:
        """Wait until a probe sees the new state."""
        deadline = time.monotonic() + PATIENCE
        while not sees():
            if time.monotonic() > deadline:
                raise SystemExit(f"{what}: the change succeeded, but is not seen after {PATIENCE} seconds.")
            time.sleep(LOOK)

    def last_event(self) -> int:
        """Return the number of the newest event."""
        last = 0
        while items := self.client.call("GET", "/api/v1/events", {"after": last, "limit": 1000}).body["items"]:
            last = items[-1]["id"]
        return last

    def parts(self, last: int, clock: float, ends: tuple[float, float, float]) -> Taken:
        """Divide a change's time by the events after number ``last``; ``ends``: request, outcome and probe."""
        requested, known, total = ends
        events = self.client.call("GET", "/api/v1/events", {"after": last, "limit": 1000}).body["items"]
        events = [event for event in events if event["data"].get("state") != "ended"]
        at = {kind: [_seconds(event["time"]) - clock for event in events if event["type"] == kind] for kind in KINDS}
        started, tasks, finished = at["run.started"][0], at["run.task"], at["run.finished"][-1]
        return Taken(
            total, requested, max(0.0, started - requested), tasks[0] - started, finished - tasks[0],
            max(0.0, known - finished), total - known, len(tasks),
        )  # fmt: skip

    def answers(self, status: int, *names: str) -> bool:
        """Tell whether the node answers for all of these sites with ``status``."""
        return all(self._answers(status, name) for name in names)

    def has(self, *accounts: str) -> bool:
        """Tell whether the node has all of these accounts."""
        return self.shell.accounts(*accounts) == set(accounts)

    def serves(self, accounts: Sequence[str], sites: Sequence[str]) -> bool:
        """Tell whether the node has all of these accounts and answers for all of these sites."""
        return self.has(*accounts) and self.answers(200, *sites)

    def rid_of(self, account: str, sites: Sequence[str]) -> bool:
        """Tell whether the node has neither the account nor any of the sites."""
        return self.answers(404, *sites) and not self.shell.accounts(account)

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
    asked = members(first, count)
    tenants, sites = ([one["input"]["name"] for one in some] for some in (asked[:count], asked[count:]))
    bench.do(what, "POST", "/api/v1/changes", {"operations": asked}, partial(bench.serves, tenants, sites))


def single(bench: Bench, first: int) -> None:
    """Measure each kind of change REPEATS times; numbers from ``first`` on keep names apart."""
    kinds = list(GOALS)
    tenant = {"name": f"host{first}", "node": "web1"}
    bench.do("", "POST", "/api/v1/tenants", tenant, partial(bench.has, tenant["name"]))
    for number in range(first, first + REPEATS):
        name = f"d{number}.test"
        given = {"name": name, "tenant": tenant["name"], "php": True}
        bench.do(kinds[0], "POST", "/api/v1/domains", given, partial(bench.answers, 200, name))
        given = {"name": f"ten{number}", "node": "web1"}
        bench.do(kinds[1], "POST", "/api/v1/tenants", given, partial(bench.has, given["name"]))
    for number in range(first, first + REPEATS):
        account, names = f"ten{number}", [f"s{number}-{site}.test" for site in range(10)]
        sites = [
            {"operation": "domain.create", "input": {"name": name, "tenant": account, "php": True}} for name in names
        ]
        bench.do("", "POST", "/api/v1/changes", {"operations": sites}, partial(bench.answers, 200, *names))
        path = f"/api/v1/tenants/{account}"
        bench.do(kinds[2], "POST", f"{path}/suspend", {}, partial(bench.answers, 503, *names))
        bench.do(kinds[3], "DELETE", f"{path}?purge=true", None, partial(bench.rid_of, account, names))


@contextmanager
def fresh_node(warm: bool) -> Iterator[dict[str, Any]]:
    """Start a node for one way, and remove it afterwards."""
    with nodes.started("bench") as found:
        note(f"{'warm' if warm else 'plain'}: measuring")
        yield found


@contextmanager
def serving(host: dict[str, Any], warm: bool) -> Iterator[Bench]:
    """Run a server that has the node and one tenant with a site."""
    with nodes.serving(host, warm=warm) as panel, nodes.shell(host) as shell:
        bench = Bench(panel, Client(find_place(panel.environment)), host["address"], shell)
        bulk(bench, "", 0, 1)
        yield bench


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
    print(f"| change | stored | goal | median | p95 | {' | '.join(PARTS)} | tasks |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for stored, taken in (("1", few), (str(STORED), many)):
        for what, rows in taken.items():
            if what:
                goal = GOALS.get(what, (12.0, 12.0))[warm]
                print(f"| {what} | {stored} | {goal} | {' | '.join(_figures(rows))} |")


def _figures(rows: list[Taken]) -> list[str]:
    totals = sorted(row.total for row in rows)
    p95 = totals[min(len(totals) - 1, round(0.95 * len(totals)))]
    parts = [statistics.median(getattr(row, name) for row in rows) for name in PARTS]
    return [f"{value:.2f}" for value in (statistics.median(totals), p95, *parts)] + [str(rows[-1].tasks)]


def main() -> None:
    """Measure both ways, each on a fresh node."""
    about(
        "Speed of one change",
        f"Seconds; {REPEATS} repeats each; HestiaCP's own scripts take 1.3, 0.7, 4.5 to 7, 3.5. A change is over when\n"
        "a probe sees the new state: every site that it is about from outside of the node, every account that it\n"
        "makes or removes on the node. *after*: recorded until the client has the outcome; *probe*: then until seen.",
    )
    for warm in (False, True):
        with fresh_node(warm) as host:
            few, many = measure(host, warm)
        table(few, many, warm)


if __name__ == "__main__":
    main()
