"""Thousands of domains on one node: a first run, a run that changes nothing, one that changes one, idle PHP masters.

``python benchmarks/bench_scale.py`` starts an SSH node of its own and runs the panel's playbook on it as the engine
does. Beside it an ordinary playbook makes BENCH_LOOP_DOMAINS (50) the usual way: user, file and template in loops.
Sizes: BENCH_DOMAINS (1000) of BENCH_TENANTS (200) in one run, BENCH_MANY (5000) domains in the end, BENCH_REPEATS (5).
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import about, note
from tests.hosts.fixtures import Host
from wcp360.core.ids import new_id
from wcp360.engine.outcome import Report
from wcp360.engine.runner import Executor

DOMAINS = int(os.environ.get("BENCH_DOMAINS", "1000"))
TENANTS = int(os.environ.get("BENCH_TENANTS", "200"))
LOOPED = int(os.environ.get("BENCH_LOOP_DOMAINS", "50"))
MANY = int(os.environ.get("BENCH_MANY", "5000"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
PATIENCE = 3600.0
FACTS = {"distribution": "debian", "distribution_version": "12", "ipv6": True, "service_manager": "systemd"}
PER_TENANT = max(1, DOMAINS // TENANTS)
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
class Bench:
    """The node, what runs batches on it, and the table's lines so far."""

    host: Host
    executor: Executor
    rows: list[str]

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

    def tell(self, what: str, seconds: float, count: int) -> float:
        """Add a line to the table; return the seconds per domain."""
        load = os.getloadavg()[0]
        note(f"{seconds:.1f} s: {what} (load {load:.1f})")
        self.rows.append(f"| {what} | {count} | {seconds:.1f} | {seconds / count:.4f} | {load:.1f} |")
        return seconds / count

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


def one_changed(bench: Bench, among: int) -> tuple[float, float]:
    """Change the first domain REPEATS times; return the median seconds of a run, and of Nginx's own reading."""
    taken = []
    for turn in range(REPEATS):
        change = request() | {"nginx_sites": [_site(0, redirect=f"https://example.com/{among}/{turn}")]}
        taken.append(bench.run(change)[0])
    median = statistics.median(taken)
    bench.tell(f"one domain changed among {among}, median of {REPEATS}", median, 1)
    return median, bench.nginx()


def converge(bench: Bench) -> tuple[float, float]:
    """Make the domains, and twice nothing; return seconds per domain of a first run and of one without a change."""
    wanted = request(0, DOMAINS)
    of = f"{DOMAINS} domains of {(DOMAINS + PER_TENANT - 1) // PER_TENANT} tenants with PHP"
    first = bench.tell(f"first run: {of}, prediction included", bench.run(wanted)[0], DOMAINS)
    again, report = bench.run(wanted)
    if changed := [item["id"] for line in report.lines for item in line["items"] or [] if item["changed"]]:
        raise SystemExit(f"The same run again changed {changed[:5]}.")
    unchanged = bench.tell("the same again, nothing changes", again, DOMAINS)
    bench.tell("the same again, check alone (goal: 20 s for 1,000)", bench.run(wanted, check=True)[0], DOMAINS)
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
        each.append(bench.tell(what, time.monotonic() - begun, LOOPED))
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
        bench.tell(f"{count} more beside {first}", bench.run(request(first, count))[0], count)


def told(bench: Bench, ours: tuple[float, float], theirs: tuple[float, float]) -> None:
    """Print the table and how both ways compare."""
    print("\n| run | domains | seconds | seconds per domain | load |\n|---|---|---|---|---|")
    print("\n".join(bench.rows))
    first, again = (loop / own for loop, own in zip(theirs, ours, strict=True))
    print(f"\nPer domain the loops take {first:.1f} times as long at first and {again:.1f} times as long when nothing")
    print("changes (goal: 30). Ours predict each run before they do it, and make a PHP pool per tenant besides.")


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


@contextmanager
def node(directory: Path) -> Iterator[Host]:
    """Start a node, and take it away in the end."""
    name = f"wcp360-scale-{os.getpid()}"
    tool = [sys.executable, str(ROOT / "tests/hosts/hosts.py")]
    started = subprocess.run([*tool, "up", name, "--json"], capture_output=True, text=True, check=True).stdout
    try:
        found = json.loads(started)
        known = directory / "known_hosts"
        known.write_text(found["host_key"] + "\n")
        yield Host(**found, known_hosts=known)
    finally:
        subprocess.run([*tool, "down", name], capture_output=True, check=False)


def main() -> None:
    """Measure everything on one node."""
    about("Many domains", "One node over SSH, runs by the panel's playbook as the engine starts them, plain start.")
    with tempfile.TemporaryDirectory(prefix="wcp360-bench-") as temporary, node(Path(temporary)) as host:
        directory = Path(temporary)
        for name in ("runs", "cp", "ssh"):
            (directory / name).mkdir(mode=0o700)
        bench = Bench(host, Executor(directory, PATIENCE, ROOT), [])
        bench.run(request(server=True))
        theirs = loops(bench, directory)
        bench.run(request(0, 1))
        changes = {1: one_changed(bench, 1)}
        ours = converge(bench)
        changes[DOMAINS] = one_changed(bench, DOMAINS)
        grow(bench)
        if MANY > DOMAINS:
            changes[MANY] = one_changed(bench, MANY)
        told(bench, ours, theirs)
        ratios(changes)
        idle_masters(bench, (max(MANY, DOMAINS) + PER_TENANT - 1) // PER_TENANT)


if __name__ == "__main__":
    main()
