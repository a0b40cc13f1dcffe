"""How long others wait while somebody imports.

``python benchmarks/bench_fairness.py`` measures how long a `domain create` takes on an SSH node while BENCH_IMPORT
(1000) tenants are imported there by one caller (goal: 15 s), and while one tenant has very many changes waiting: as
many as can be asked for in BENCH_ASK_SECONDS (60), at most BENCH_ASKED (10000). And what taking up the next batch costs
while one tenant has BENCH_WAITING (10000) changes waiting.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import nodes
from benchmarks.report import about, note
from tests.e2e.panel import Panel
from wcp360.cli.client import Client
from wcp360.cli.place import find_place
from wcp360.core.ids import new_id
from wcp360.core.resources import Ref, RoleItem, Spec
from wcp360.modules.records.inputs import MOST_MEMBERS
from wcp360.storage import Ledger, SqlStore, migrate

IMPORT = int(os.environ.get("BENCH_IMPORT", "1000"))
WAITING = int(os.environ.get("BENCH_WAITING", "10000"))
REPEATS = int(os.environ.get("BENCH_FAIR_REPEATS", "10"))
GOAL = 15.0
ASKED = int(os.environ.get("BENCH_ASKED", "10000"))
ASK_SECONDS = float(os.environ.get("BENCH_ASK_SECONDS", "60"))
# The server answers as many at once; more would only wait for each other, since one transaction writes at a time.
ASKERS = 4


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


def create(panel: Panel, name: str) -> float:
    """Create a domain of the tenant that clicks; return the seconds until the command says that it is there."""
    begun = time.monotonic()
    panel.run("domain", "create", name, "--tenant", "clicker")
    taken = time.monotonic() - begun
    note(f"{name}: {taken:.1f} s")
    return taken


def tell(what: str, taken: list[float], words: str) -> None:
    """Print what the other tenant waited; ``words`` say why there are fewer samples, where there are."""
    early = "" if len(taken) == REPEATS else f" of {REPEATS}, {words}"
    median = f"{statistics.median(taken):.1f} s"
    print(f"| a domain of another tenant {what}, median of {len(taken)}{early} | {median} | {GOAL:.0f} s |")
    print(f"| the slowest of them | {max(taken):.1f} s | {GOAL:.0f} s |")


def beside_import(panel: Panel) -> None:
    """Print how long a domain takes to be there while an import is under way."""
    note(f"{IMPORT} tenants are imported")
    began = time.monotonic()
    changes = [_import(panel, first, min(first + MOST_MEMBERS, IMPORT)) for first in range(0, IMPORT, MOST_MEMBERS)]
    taken: list[float] = []
    while len(taken) < REPEATS and (not taken or _under_way(panel, changes)):
        taken.append(create(panel, f"d{len(taken)}.test"))
    over = "" if _under_way(panel, changes) else "; it was over when the last of them was there"
    for change in changes:
        panel.finished(change)
    tell("during the import", taken, "then it was over")
    print(f"| the import of {IMPORT} tenants{over} | {time.monotonic() - began:.0f} s | |")


def _import(panel: Panel, first: int, end: int) -> str:
    names = [f"t{number:05}" for number in range(first, end)]
    members = [{"operation": "tenant.create", "input": {"name": name, "node": nodes.NODE}} for name in names]
    done = panel.run("change", "create", "--no-wait", "--json", "-", stdin=json.dumps({"operations": members}))
    return str(json.loads(done.stdout)["id"])


def _under_way(panel: Panel, changes: list[str]) -> bool:
    return any(panel.json("change", "show", change)["status"] == "pending" for change in changes)


def beside_many(panel: Panel) -> None:
    """Print how long a domain takes to be there while another tenant has very many changes waiting."""
    panel.run("tenant", "create", "big", "--node", nodes.NODE)
    begun = time.monotonic()
    count = ask_many(panel, begun + ASK_SECONDS)
    print(f"| changes that one tenant has asked for, a domain each | {count} in {time.monotonic() - begun:.0f} s | |")
    left, taken = [waiting(panel)], []
    note(f"{count} are asked for, {left[0]} of them wait")
    while len(taken) < REPEATS and (not taken or left[-1]):
        taken.append(create(panel, f"e{len(taken)}.test"))
        left.append(waiting(panel))
    tell("beside them", taken, "then none of them waited")
    print(f"| of them waiting when the other tenant first asked | {left[0]} | |")
    print(f"| the same when its first domain was there, and its last | {left[1]}, {left[-1]} | |")


def ask_many(panel: Panel, deadline: float) -> int:
    """Have one tenant ask for ASKED domains, each by a change of its own, until the deadline; return how many."""
    numbers = iter(range(ASKED))
    with ThreadPoolExecutor(ASKERS) as pool:
        return sum(pool.map(lambda _asker: _ask_some(panel, numbers, deadline), range(ASKERS)))


def _ask_some(panel: Panel, numbers: Iterator[int], deadline: float) -> int:
    client, count = Client(find_place(panel.environment)), 0
    for number in numbers:
        client.call("POST", "/api/v1/domains", body={"name": f"w{number}.test", "tenant": "big"})
        count += 1
        if time.monotonic() > deadline:
            break
    return count


def waiting(panel: Panel) -> int:
    """Return how many changes of the big tenant wait."""
    client, count, cursor = Client(find_place(panel.environment)), 0, ""
    while True:
        query = {"status": "pending", "tenant": "big", "limit": 1000} | ({"cursor": cursor} if cursor else {})
        page = client.call("GET", "/api/v1/changes", query).body
        count, cursor = count + len(page["items"]), page["next"]
        if not cursor:
            return count


def main() -> None:
    """Print the section."""
    about(
        "Fairness",
        "What others wait while one imports, or has very many changes waiting; all are asked for by the same caller.\n"
        "Batches are sized to take about six seconds.",
    )
    print("\n| what | measured | goal |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        taking_up(Path(name))
    with nodes.started("bench-fair") as found, nodes.serving(found) as panel:
        panel.run("tenant", "create", "clicker", "--node", nodes.NODE)
        panel.run("domain", "create", "first.test", "--tenant", "clicker")  # puts the server level there
        beside_import(panel)
        beside_many(panel)


if __name__ == "__main__":
    main()
