"""How long submitting takes: one change with little and with much stored, and one change set of 1,200 operations.

Prints a Markdown section; progress goes to stderr. PostgreSQL is Debian's, started here, with its stock settings.
"""

from __future__ import annotations

import datetime
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pydantic import SecretStr

from tests.postgresql import program, serving
from wcp360.core.actor import SYSTEM
from wcp360.core.config import Settings, StorageSettings
from wcp360.core.ids import new_id
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.submit import Asked
from wcp360.core.views import RecordStatus
from wcp360.storage import migrate
from wcp360.wiring import System, build

STORED = int(os.environ.get("WCP360_BENCH_DOMAINS", "5000"))
TENANTS = 200
TIMES = 40
SET = 1000


def submit(system: System, operation_name: str, **given: Any) -> float:
    """Submit one change and return the seconds that it took."""
    operation = system.registry.operation(operation_name)
    asked = Asked(operation, operation.input.model_validate(given, strict=False), SYSTEM, new_id())
    start = time.perf_counter()
    system.door.submit(asked)
    return time.perf_counter() - start


def converge(system: System) -> None:
    """Apply what waits, as the engine does."""
    while targets := system.ledger.pending("local")[:500]:
        run = system.ledger.begin_run("local", targets, correlation="")
        system.ledger.record(run, [TargetOutcome(t.ref, t.wanted, TargetStatus.APPLIED) for t in targets])
        system.ledger.finish_run(run, RecordStatus.SUCCEEDED, "", [])


def change_set(prefix: str, tenants: range, domains: range, per: int) -> list[dict[str, Any]]:
    """Return operations that make tenants and domains, spread evenly."""
    made = [{"operation": "tenant.create", "input": {"name": f"{prefix}{number}"}} for number in tenants]
    return made + [
        {"operation": "domain.create", "input": {"name": f"{prefix}-d{n}.test", "tenant": f"{prefix}{n % per}"}}
        for n in domains
    ]


def prepared(url: str, directory: Path) -> System:
    """Return a panel with one node, one tenant and one domain, all applied."""
    system = build(Settings(state_dir=directory, storage=StorageSettings(url=SecretStr(url))))
    migrate(system.store)
    submit(system, "node.create", name="local", connection="local")
    submit(system, "tenant.create", name="subject")
    submit(system, "domain.create", name="subject.test", tenant="subject")
    converge(system)
    return system


def one_change(system: System) -> tuple[float, float]:
    """Return median and 95th percentile of submitting one change of a domain, in milliseconds."""
    taken = []
    for number in range(TIMES):
        taken.append(submit(system, "domain.update", name="subject.test", document_root=f"r{new_id().lower()}{number}"))
        converge(system)
    return statistics.median(taken) * 1000, statistics.quantiles(taken, n=20)[-1] * 1000


def fill(system: System) -> None:
    """Store STORED domains of TENANTS tenants."""
    step = 1500
    for start in range(0, STORED, step):
        numbers = range(start, min(start + step, STORED))
        tenants = range(TENANTS if start == 0 else 0)
        submit(system, "change.create", operations=change_set("full", tenants, numbers, TENANTS))
        print(f"stored {numbers.stop} domains", file=sys.stderr)
    converge(system)


def measure(name: str, small: System, large: System) -> str:
    """Return a row of the table; both sides are measured in turns, so that the machine's load meets both."""
    one_change(small)
    fill(large)
    one_change(large)
    rounds = [(one_change(small), one_change(large)) for _ in range(3)]
    alone = [min(side[index] for side, _ in rounds) for index in (0, 1)]
    many = [min(side[index] for _, side in rounds) for index in (0, 1)]
    operations = change_set("set", range(TENANTS), range(SET), TENANTS)
    seconds = submit(large, "change.create", operations=operations)
    return (
        f"| {name} | {alone[0]:.1f} / {alone[1]:.1f} | {many[0]:.1f} / {many[1]:.1f} | {many[0] / alone[0]:.2f} "
        f"| {seconds:.1f} |"
    )


@contextmanager
def urls() -> Iterator[list[tuple[str, str, str]]]:
    """Yield name and two URLs for each database that is here."""
    with tempfile.TemporaryDirectory() as directory:
        found = [(f"SQLite {sqlite3.sqlite_version}", f"sqlite:///{directory}/a.db", f"sqlite:///{directory}/b.db")]
        if program("initdb") is None:
            yield found
            return
        with serving({}) as server:
            release = program("initdb").parts[-3]  # type: ignore[union-attr]
            yield [*found, (f"PostgreSQL {release}", server.url(server.create()), server.url(server.create()))]


def main() -> None:
    """Print the section."""
    with urls() as databases, tempfile.TemporaryDirectory() as directory:
        rows = [
            measure(name, prepared(small, Path(directory)), prepared(large, Path(directory)))
            for name, small, large in databases
        ]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print("## Submitting a change\n")
    print(
        f"One `domain.update` (median / 95th percentile of {TIMES}, best of three rounds), from the door to the commit."
    )
    print(f"Every commit is on the disk. The change set has {TENANTS} tenants and {SET} domains.\n")
    print(f"| database | 1 domain stored, ms | {STORED:,} stored, ms | ratio | {TENANTS + SET:,} operations, s |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))
    print(
        f"\n{platform.platform()}, {os.cpu_count()} cores, load {load}, Python {platform.python_version()}, "
        f"peewee {version('peewee')}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC."
    )


if __name__ == "__main__":
    main()
