"""Thousands of domains on one node: a first run, a run that changes nothing, one that changes one, idle PHP masters.

``python benchmarks/bench_scale.py`` measures the whole product first: a server with an SSH node of its own is asked for
BENCH_DOMAINS (1000) of BENCH_TENANTS (200) in one change set, and to converge them again. Then, on a second node, the
executor alone: the panel's playbook is run as the engine starts it, but with everything in one request and past API,
ledger and pace. Beside it an ordinary playbook makes BENCH_LOOP_DOMAINS (50) the usual way: user, file and template in
loops. BENCH_MANY (5000) is the domains in the end, BENCH_REPEATS (5) how often one domain is changed. One change set
holds 2,000 operations, a tenant and a domain are one each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import nodes
from benchmarks.report import about, note
from tests.e2e.panel import Panel
from tests.hosts.fixtures import Host
from wcp360.cli.client import Client
from wcp360.cli.place import find_place
from wcp360.core.ids import new_id
from wcp360.engine.lease import Lease
from wcp360.engine.outcome import Report
from wcp360.engine.runner import Executor
from wcp360.storage import Ledger, SqlStore
from wcp360.wiring import DATABASE

DOMAINS = int(os.environ.get("BENCH_DOMAINS", "1000"))
TENANTS = int(os.environ.get("BENCH_TENANTS", "200"))
LOOPED = int(os.environ.get("BENCH_LOOP_DOMAINS", "50"))
MANY = int(os.environ.get("BENCH_MANY", "5000"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
PATIENCE = 3600.0
FACTS = {"distribution": "debian", "distribution_version": "12", "ipv6": True, "service_manager": "systemd"}
PER_TENANT = max(1, DOMAINS // TENANTS)
# So often is the server asked whether a change is over: what a look costs would be taken from the run.
LOOK = 0.25
# What a run has Nginx read: the staged configuration when it predicts, the real one at the reload.
READS = 2
IDLE = "python3 -I /usr/local/lib/wcp360/php_idle.py 0 /var/lib/wcp360/php /run/wcp360-php-idle.json"
LOOPS = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.user: {name: "{{ item }}", home: "/home/{{ item }}", shell: /usr/sbin/nologin}
      loop: "{{ users }}"
    - ansible.builtin.file:
        path: "/home/{{ item.0 }}/{{ item.1 }}"
        state: directory
        owner: "{{ item.0 }}"
        group: "{{ 'www-data' if item.1 == 'web' else item.0 }}"
        mode: "{{ '0750' if item.1 == 'web' else '0700' }}"
      loop: "{{ users | product(['web', 'tmp', 'sessions', '.ssh']) | list }}"
    - ansible.builtin.file:
        path: "/home/{{ item.user }}/web/{{ item.name }}/public"
        state: directory
        owner: "{{ item.user }}"
        group: www-data
        mode: "0750"
      loop: "{{ domains }}"
    - ansible.builtin.template: {src: site.conf.j2, dest: "/etc/nginx/sites-enabled/{{ item.name }}.conf", mode: "0644"}
      loop: "{{ domains }}"
      notify: Reload
  handlers:
    - name: Check
      listen: Reload
      ansible.builtin.command: {argv: [nginx, -t]}
    - name: Reload
      ansible.builtin.service: {name: nginx, state: reloaded}
"""
SITE = """server {
    listen 80;
    server_name {{ item.name }};
    root /home/{{ item.user }}/web/{{ item.name }}/public;
    access_log /var/log/nginx/{{ item.name }}.log;
    location ~ \\.php$ {
        include fastcgi_params;
        fastcgi_pass unix:/run/php/{{ item.user }}.sock;
    }
}
"""


@dataclass
class Table:
    """The lines so far."""

    rows: list[str] = field(default_factory=list)

    def tell(self, what: str, seconds: float, count: int) -> float:
        """Add a line; return the seconds per domain."""
        load = os.getloadavg()[0]
        note(f"{seconds:.1f} s: {what} (load {load:.1f})")
        self.rows.append(f"| {what} | {count} | {seconds:.1f} | {seconds / count:.4f} | {load:.1f} |")
        return seconds / count


@dataclass
class Product:
    """A server with a node, asked over HTTP."""

    panel: Panel
    client: Client

    def ask(self, operations: list[dict[str, Any]]) -> str:
        """Ask for one change set; return its id."""
        return str(self.client.call("POST", "/api/v1/changes", body={"operations": operations}).body["id"])

    def wait(self) -> None:
        """Wait until nothing is pending."""
        # A change of 1,200 resources is long; whether anything is pending is told by a short list.
        deadline = time.monotonic() + PATIENCE
        while self.client.call("GET", "/api/v1/changes", {"status": "pending", "limit": 1}).body["items"]:
            if time.monotonic() > deadline:
                raise SystemExit(f"A change set is pending after {PATIENCE:.0f} seconds.")
            time.sleep(LOOK)

    def ended(self, change: str) -> dict[str, Any]:
        """Return a change that is over, and see that it has succeeded without a run that failed."""
        found: dict[str, Any] = self.client.call("GET", f"/api/v1/changes/{change}").body
        if found["status"] != "succeeded":
            raise SystemExit(f"A change set failed: {found['reason']}")
        if failed := [run["reason"] for run in self.runs(found) if run["status"] != "succeeded"]:
            raise SystemExit(f"A run failed and was made again: {failed[0]}")
        return found

    def runs(self, change: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the runs of a change."""
        return [self.client.call("GET", f"/api/v1/runs/{run}").body for run in change["runs"]]

    def took(self, operations: list[dict[str, Any]]) -> tuple[float, dict[str, Any]]:
        """Return the seconds from the request until the change set has succeeded, and the change."""
        begun = time.monotonic()
        change = self.ask(operations)
        return self.seconds_of(begun, change)

    def seconds_of(self, begun: float, change: str) -> tuple[float, dict[str, Any]]:
        """Return the seconds from ``begun`` until nothing is pending, and the change."""
        self.wait()
        return time.monotonic() - begun, self.ended(change)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the node's lease, as another engine would: what is asked for meanwhile waits."""
        store = SqlStore(Path(self.panel.environment["WCP360_STATE_DIR"]) / DATABASE)
        ledger = Ledger(store)
        try:
            while not self._hold(ledger):
                time.sleep(LOOK)
            with Lease(ledger, f"node:{nodes.NODE}", "benchmark", 30, taken=True):
                yield
        finally:
            store.close()

    def _hold(self, ledger: Ledger) -> bool:
        return ledger.lease(f"node:{nodes.NODE}", "benchmark", 30)

    def changed(self, change: dict[str, Any]) -> list[str]:
        """Return what the runs of a change have changed on the node."""
        return [item["resource"] for run in self.runs(change) for item in run["items"] if item["changed"]]


@dataclass
class Bench:
    """The node, what runs batches on it, and the table."""

    host: Host
    executor: Executor
    table: Table

    def run(self, request: dict[str, Any], *, check: bool = False) -> tuple[float, Report]:
        """Run a request as the engine does; return its seconds and what it did, or would do."""
        words = ("address", "port", "user")
        node = {"name": "node", "connection": "ssh", **{word: getattr(self.host, word) for word in words}}
        batch = {
            "node": {**node, "host_key": self.host.host_key.split(" ", 1)[1], "identity_file": self.host.key},
            "request": request,
        }
        begun = time.monotonic()
        ended = self.executor.execute(
            new_id(), batch, check=check, cancelled=lambda: False, progress=lambda _event: None
        )
        taken = time.monotonic() - begun
        failed = [item["msg"] for line in ended.report.lines for item in line["items"] or [] if item["failed"]]
        if ended.rc != 0 or failed:
            raise SystemExit(f"A run failed: {failed[:3] or ended.said}")
        return taken, ended.report

    def nginx(self) -> float:
        """Return the seconds that Nginx takes to read everything, the median of three."""
        clock = "begun=$(date +%s%N); nginx -t -q; echo $(($(date +%s%N) - begun))"
        return statistics.median(int(self.host.run(clock).stdout) for _ in range(3)) / 1e9

    def masters(self) -> int:
        """Return how many PHP masters run."""
        lines = self.host.run("ps -eo args").stdout.splitlines()
        return sum(line.startswith("php-fpm: master") for line in lines)


def request(first: int = 0, count: int = 0, *, server: bool = False, **more: Any) -> dict[str, Any]:
    """Return a request for domains by number, with their tenants and pools; ``more`` is what each site has besides."""
    numbers = range(first, first + count)
    owners = [{"id": f"tenant:t{n:05}", **_owner(n)} for n in sorted({number // PER_TENANT for number in numbers})]
    return {
        "version": 2,
        "facts": {} if server else FACTS,
        "server": dict.fromkeys(("tenant", "php_fpm", "nginx"), server),
        "tenant_accounts": owners,
        "php_fpm_pools": owners,
        "nginx_sites": [_site(number, **more) for number in numbers],
    }


def _owner(number: int) -> dict[str, Any]:
    name = f"t{number:05}"
    return {"name": name, "state": "present", "uid": 20000 + number, "gid": 20000 + number, "home": f"/home/{name}"}


def _site(number: int, **more: Any) -> dict[str, Any]:
    owner = _owner(number // PER_TENANT)
    name = f"d{number:05}.test"
    return {**owner, "id": f"domain:{name}", "name": name, "tenant": owner["name"], "php": True, **more}


def through_product(table: Table) -> tuple[float, float]:
    """Make the same domains by one change set, and converge them again; return seconds per domain of both."""
    owners, sites = owners_and_sites()
    of = f"{DOMAINS} domains of {len(owners)} tenants with PHP"
    with nodes.started("product") as found, nodes.serving(found) as panel:
        product = Product(panel, Client(find_place(panel.environment)))
        product.took(creating(["first"], {"first.test": "first"}))  # puts the server level there
        taken, change = product.took(creating(owners, sites))
        first = table.tell(f"product: {of} in one change set, runs: {len(change['runs'])}", taken, DOMAINS)
        again = converge_again(product, table, owners)
        updates = [operation("tenant.update", name=name) for name in owners]
        updates += [operation("domain.update", name=name, php=True) for name in sites]
        taken, change = product.took(updates)
        table.tell(f"product: `tenant.update`, `domain.update` to what is, runs: {len(change['runs'])}", taken, DOMAINS)
    return first, again


def converge_again(product: Product, table: Table, owners: list[str]) -> float:
    """Have everything converged again without a change; return seconds per domain.

    No operation asks for that: what is applied already makes no run. So all tenants are suspended and taken back while
    the node is held; it never sees the first, and each account and site has a new revision that is as it was.
    """
    with product.held():
        product.ask([operation("tenant.suspend", name=name) for name in owners])
        begun = time.monotonic()
        change = product.ask([operation("tenant.unsuspend", name=name) for name in owners])
    taken, found = product.seconds_of(begun, change)
    if changed := product.changed(found):
        raise SystemExit(f"Converging again changed {changed[:5]}.")
    count = len(found["resources"])
    words = f"`tenant.unsuspend` of all before the node saw their suspension: {count} resources, nothing changes"
    return table.tell(f"product: {words}, runs: {len(found['runs'])}", taken, DOMAINS)


def operation(name: str, /, **given: Any) -> dict[str, Any]:
    """Return one operation of a change set."""
    return {"operation": name, "input": given}


def creating(owners: list[str], sites: dict[str, str]) -> list[dict[str, Any]]:
    """Return the operations that make tenants and their domains."""
    tenants = [operation("tenant.create", name=name, node=nodes.NODE) for name in owners]
    return tenants + [operation("domain.create", name=name, tenant=of, aliases=[]) for name, of in sites.items()]


def owners_and_sites() -> tuple[list[str], dict[str, str]]:
    """Return the names that a first run makes: tenants, and domains with their tenant."""
    wanted = request(0, DOMAINS)
    return [one["name"] for one in wanted["tenant_accounts"]], {
        one["name"]: one["tenant"] for one in wanted["nginx_sites"]
    }


def one_changed(bench: Bench, among: int) -> tuple[float, float]:
    """Change the first domain REPEATS times; return the median seconds of a run, and of Nginx's own reading."""
    taken = []
    for turn in range(REPEATS):
        change = request() | {"nginx_sites": [_site(0, redirect=f"https://example.com/{among}/{turn}")]}
        taken.append(bench.run(change)[0])
    median = statistics.median(taken)
    bench.table.tell(f"executor: one domain changed among {among}, median of {REPEATS}", median, 1)
    return median, bench.nginx()


def converge(bench: Bench) -> tuple[float, float]:
    """Make the domains, and twice nothing; return seconds per domain of a first run and of one without a change."""
    wanted = request(0, DOMAINS)
    of = f"{DOMAINS} domains of {(DOMAINS + PER_TENANT - 1) // PER_TENANT} tenants with PHP"
    first = bench.table.tell(f"executor: {of} in one run, prediction included", bench.run(wanted)[0], DOMAINS)
    again, report = bench.run(wanted)
    if changed := [item["id"] for line in report.lines for item in line["items"] or [] if item["changed"]]:
        raise SystemExit(f"The same run again changed {changed[:5]}.")
    unchanged = bench.table.tell("executor: the same again, nothing changes", again, DOMAINS)
    bench.table.tell(
        "executor: the same again, check alone (goal: 20 s for 1,000)", bench.run(wanted, check=True)[0], DOMAINS
    )
    return first, unchanged


def loops(bench: Bench, directory: Path) -> tuple[float, float]:
    """Do as many by loops of stock modules; return seconds per domain of a first run and of one without a change."""
    names = [f"loop{number}" for number in range(max(1, LOOPED // PER_TENANT))]
    sites = [{"name": f"l{number}.test", "user": names[number % len(names)]} for number in range(LOOPED)]
    (directory / "site.conf.j2").write_text(SITE)
    (directory / "loops.yml").write_text(LOOPS)
    (directory / "values.json").write_text(json.dumps({"users": names, "domains": sites}))
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": {"node": bench.host.inventory()}}}))
    tool = str(Path(sys.executable).with_name("ansible-playbook"))
    words = [tool, "-i", str(directory / "hosts.json"), "-e", f"@{directory / 'values.json'}"]
    each = []
    for what in ("loops of user, file and template: first run", "loops again, nothing changes"):
        begun = time.monotonic()
        subprocess.run(
            [*words, str(directory / "loops.yml")],
            env=os.environ | {"ANSIBLE_PIPELINING": "1"}, stdout=sys.stderr, timeout=PATIENCE, check=True,
        )  # fmt: skip
        each.append(bench.table.tell(what, time.monotonic() - begun, LOOPED))
    bench.host.run("rm -f /etc/nginx/sites-enabled/l*.test.conf && systemctl reload nginx")
    return each[0], each[1]


def idle_masters(bench: Bench, tenants: int) -> None:
    """Print how many PHP masters run, right after the runs and when idle ones have been stopped."""
    before = bench.masters()
    bench.host.run(IDLE)
    after = bench.masters()
    print(
        f"\n{tenants} tenants with PHP that nobody asks for anything: {before} masters run (a run starts at most eight "
        f"new ones, to see that they do), {after} after the timer's look with an idle time of 0 instead of 600 s "
        "(goal: 0)."
    )


def grow(bench: Bench) -> None:
    """Add domains up to MANY, as many to a run as a first run had."""
    for first in range(DOMAINS, MANY, DOMAINS):
        count = min(DOMAINS, MANY - first)
        bench.table.tell(f"executor: {count} more beside {first}", bench.run(request(first, count))[0], count)


def told(table: Table, theirs: tuple[float, float], ways: dict[str, tuple[float, float]]) -> None:
    """Print the table and how each of our ways compares with the loops."""
    print("\n| run | domains | seconds | seconds per domain | load |\n|---|---|---|---|---|")
    print("\n".join(table.rows))
    print("\n| seconds per domain | first run | loops take (goal: 30) | nothing changes | loops take (goal: 30) |")
    print("|---|---|---|---|---|")
    print(f"| loops of stock modules | {theirs[0]:.4f} | | {theirs[1]:.4f} | |")
    for way, (first, again) in ways.items():
        times = f"{theirs[0] / first:.1f} times | {again:.4f} | {theirs[1] / again:.1f} times"
        print(f"| {way} | {first:.4f} | {times} |")
    print(
        "\nOurs predict each run before they do it, and make a PHP pool per tenant besides. The product's seconds are"
    )
    print("from the HTTP request until the change set has succeeded, among them up to one in which the engine notices")
    print("that the node is free to be converged again.")


def ratios(changes: dict[int, tuple[float, float]]) -> None:
    """Print what one change costs among few and many."""
    (alone, own_alone), *_ = changes.values()
    print(
        "\n| domains on the node | one changed, seconds | ratio (goal 1.3) | `nginx -t`, seconds | ratio without it |"
    )
    print("|---|---|---|---|---|")
    for among, (taken, own) in changes.items():
        rest = (taken - READS * own) / (alone - READS * own_alone)
        print(f"| {among} | {taken:.2f} | {taken / alone:.2f} | {own:.2f} | {rest:.2f} |")
    print(f"\nA run has Nginx read everything {READS} times: for the prediction, and to reload.")


def alone(bench: Bench, directory: Path) -> tuple[tuple[float, float], tuple[float, float], dict[int, Any]]:
    """Measure loops and executor on one node; return seconds per domain of both, and what one change took."""
    bench.run(request(server=True))
    theirs = loops(bench, directory)
    bench.run(request(0, 1))
    changes = {1: one_changed(bench, 1)}
    ours = converge(bench)
    changes[DOMAINS] = one_changed(bench, DOMAINS)
    grow(bench)
    if MANY > DOMAINS:
        changes[MANY] = one_changed(bench, MANY)
    return theirs, ours, changes


def main() -> None:
    """Measure the product on one node, and the executor and loops on another."""
    about(
        "Many domains",
        "Nodes over SSH, plain start. *product*: `wcp360 serve`, asked over HTTP; it divides a change set into runs\n"
        "of some six seconds. *executor*: what the engine starts for a run (ansible-runner, the panel's playbook,\n"
        "prediction and gate), given everything at once, past API, ledger and pace. *loops*: stock modules.",
    )
    table = Table()
    product = through_product(table)
    with tempfile.TemporaryDirectory(prefix="wcp360-bench-") as temporary, nodes.started("scale") as found:
        directory = Path(temporary)
        for name in ("runs", "cp", "ssh"):
            (directory / name).mkdir(mode=0o700)
        bench = Bench(nodes.host(found, directory), Executor(directory, PATIENCE, ROOT), table)
        theirs, ours, changes = alone(bench, directory)
        told(table, theirs, {"executor alone": ours, "whole product": product})
        ratios(changes)
        idle_masters(bench, (max(MANY, DOMAINS) + PER_TENANT - 1) // PER_TENANT)


if __name__ == "__main__":
    main()
