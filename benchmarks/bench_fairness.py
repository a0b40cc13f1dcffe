"""How long others wait while somebody imports.

``python benchmarks/bench_fairness.py`` measures how long a `domain create` takes on an SSH node while BENCH_IMPORT
(1000) tenants are imported there by one caller (goal: 15 s), and what taking up the next batch costs while one tenant
has BENCH_WAITING (10000) changes waiting.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import about, note
from tests.e2e.panel import Panel
from wcp360.core.ids import new_id
from wcp360.core.resources import Ref, RoleItem, Spec
from wcp360.storage import Ledger, SqlStore, migrate

IMPORT = int(os.environ.get("BENCH_IMPORT", "1000"))
WAITING = int(os.environ.get("BENCH_WAITING", "10000"))
REPEATS = int(os.environ.get("BENCH_FAIR_REPEATS", "10"))
GOAL = 15.0
HOSTS = [sys.executable, str(ROOT / "tests/hosts/hosts.py")]
NAME = f"wcp360-bench-fair-{os.getpid()}"
# One change set has at most this many operations.
MEMBERS = 250


def taking_up(directory: Path) -> None:
    """Print what it costs to take up the next batch of very many."""
    store = SqlStore(directory / "fair.db")
    migrate(store)
    ledger = Ledger(store)
    _ask(store, "big", WAITING)
    _ask(store, "small", 1)
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        batch = ledger.next_batch("web1", 50)
        taken.append(time.perf_counter() - start)
    assert "small" in {target.tenant for target in batch}
    print(f"| take up 50 of {WAITING + 1} waiting targets | {statistics.median(taken):.4f} s | |")
    store.close()


def _ask(store: SqlStore, tenant: str, count: int) -> None:
    with store.write() as unit:
        for number in range(count):
            ref = Ref("domain", f"{tenant}{number}.test")
            unit.put(ref, Spec(), tenant=tenant)
            unit.want(ref, (RoleItem("nginx_sites", {"id": str(ref), "name": ref.name}),), ("web1",), {})
        unit.add_change(new_id(), operation="x.y", given={}, actor=tenant, tenant=tenant, correlation="c")


def waiting_beside(panel: Panel) -> None:
    """Print how long a domain takes to be there while an import is under way."""
    panel.run("tenant", "create", "clicker", "--node", "web1")
    panel.run("domain", "create", "first.test", "--tenant", "clicker")
    note(f"{IMPORT} tenants are imported")
    changes = []
    for start in range(0, IMPORT, MEMBERS):
        names = [f"t{number:05}" for number in range(start, min(start + MEMBERS, IMPORT))]
        members = [{"operation": "tenant.create", "input": {"name": name, "node": "web1"}} for name in names]
        done = panel.run("change", "create", "--no-wait", "--json", "-", stdin=json.dumps({"operations": members}))
        changes.append(json.loads(done.stdout)["id"])
    began = time.monotonic()
    taken = []
    for number in range(REPEATS):
        start_one = time.monotonic()
        panel.run("domain", "create", f"d{number}.test", "--tenant", "clicker")
        taken.append(time.monotonic() - start_one)
        note(f"domain {number}: {taken[-1]:.1f} s")
    under_way = any(panel.json("change", "show", change)["status"] == "pending" for change in changes)
    for change in changes:
        panel.finished(change)
    whole = time.monotonic() - began
    words = "" if under_way else " (the import was done before the last)"
    print(f"| a domain during the import, median of {REPEATS} | {statistics.median(taken):.1f} s | {GOAL:.0f} s |")
    print(f"| the slowest of them{words} | {max(taken):.1f} s | {GOAL:.0f} s |")
    print(f"| the import of {IMPORT} tenants | {whole:.0f} s | |")


def main() -> None:
    """Print the section."""
    about("Fairness", "What others wait while one imports; batches are sized to take about six seconds.")
    print("\n| what | measured | goal |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        taking_up(directory)
        done = subprocess.run([*HOSTS, "up", NAME, "--image", "full", "--json"], capture_output=True, check=True)
        host = json.loads(done.stdout)
        panel = Panel(directory)
        try:
            panel.run("init")
            panel.start()
            key = host["host_key"].split(" ", 1)[1]
            where = ["--address", host["address"], "--port", str(host["port"]), "--user", "root"]
            panel.run("node", "create", "web1", *where, "--identity-file", host["key"], "--host-key", key)
            waiting_beside(panel)
        finally:
            panel.stop()
            subprocess.run([*HOSTS, "down", NAME], capture_output=True, check=False)


if __name__ == "__main__":
    main()
