"""What the tests run in other processes: ``python worker.py JOB DATABASE …``."""

from __future__ import annotations

import sys
from pathlib import Path

from wcp360.core.ids import new_id
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.resources import Ref, RoleItem, Spec
from wcp360.core.views import RecordStatus
from wcp360.storage import Ledger, SqlStore, migrate


class Text(Spec):
    """A counter in a specification."""

    count: int = 0


REF = Ref("domain", "shared.test")


def increment(store: SqlStore, times: int) -> None:
    """Read, then write: count a specification, a counter, the audit log and the events up."""
    for _ in range(times):
        with store.write() as unit:
            found = unit.find(REF)
            count = 0 if found is None else found.spec["count"]
            unit.allocate("uid", 1, 10**6)
            unit.put(REF, Text(count=count + 1))
            unit.want(REF, (RoleItem("nginx_sites", {"count": count + 1}),), ("web1",), {})
            change = unit.add_change(new_id(), operation="x", given={}, actor="a", tenant=None, correlation="c")
            unit.add_audit(actor="a", operation="x", tenant=None, outcome="accepted", given={}, correlation="c")
            unit.add_event("change.accepted", {"change": change.id})


def apply(store: SqlStore, seconds: int) -> None:
    """Converge all the time, beside those who write, until stopped."""
    ledger = Ledger(store)
    while True:
        targets = ledger.next_batch("web1", 1000)
        if targets:
            run = ledger.begin_run("web1", targets, correlation="")
            outcomes = [TargetOutcome(t.ref, t.wanted, TargetStatus.APPLIED) for t in targets]
            ledger.conclude(run, outcomes, RecordStatus.SUCCEEDED, "", [])


def leases(store: SqlStore, times: int) -> None:
    """Print what was won of so many leases, each of which many ask for."""
    ledger, owner = Ledger(store), new_id()
    print(sum(ledger.lease(f"l{number}", owner, 600) for number in range(times)))


def main() -> None:
    """Run one job."""
    job, database, argument = sys.argv[1:4]
    store = SqlStore(database)
    if job == "migrate":
        print(len(migrate(store, Path(argument))))
    else:
        {"increment": increment, "apply": apply, "leases": leases}[job](store, int(argument))


if __name__ == "__main__":
    main()
