"""In which order waiting targets are taken up."""

from __future__ import annotations

from collections.abc import Iterable

from tests.unit.storage.helpers import NODE, record, want
from wcp360.core.ids import new_id
from wcp360.core.ports import Target, TargetOutcome, TargetStatus
from wcp360.core.resources import Ref
from wcp360.storage import Ledger, SqlStore
from wcp360.storage.ranking import INTERACTIVE_TARGETS
from wcp360.storage.unit import Unit


def change(unit: Unit, actor: str = "root") -> None:
    """Record a change as the door does."""
    unit.add_change(new_id(), operation="domain.update", given={}, actor=actor, tenant=None, correlation="c")


def ask(store: SqlStore, names: Iterable[str], tenant: str, actor: str = "root") -> None:
    """Ask for resources of a tenant by one change."""
    with store.write() as unit:
        for name in names:
            want(unit, Ref("domain", name), tenant=tenant)
        change(unit, actor=actor)


def served(ledger: Ledger, limit: int) -> list[str]:
    """Make one imagined run that applies all that it takes up; return the names in order."""
    targets = ledger.next_batch(NODE, limit)
    finish(ledger, targets, TargetStatus.APPLIED)
    return [target.ref.name for target in targets]


def finish(ledger: Ledger, targets: list[Target], status: TargetStatus, reason: str = "") -> None:
    run = ledger.begin_run(NODE, targets, correlation="c")
    record(ledger, run, [TargetOutcome(target.ref, target.wanted, status, reason) for target in targets])


def test_what_is_interactive_goes_before_bulk(store: SqlStore, ledger: Ledger) -> None:
    bulk = [f"b{number:03}" for number in range(INTERACTIVE_TARGETS + 1)]
    ask(store, bulk, "import")
    ask(store, ["now"], "reseller")
    first = served(ledger, 8)
    assert first[0] == "now"
    assert first[1:] == bulk[:2], "bulk has a quarter of the room beside interactive changes"
    assert served(ledger, 8) == bulk[2:10], "and all of it otherwise"


def test_many_small_changes_of_one_caller_are_bulk_too(store: SqlStore, ledger: Ledger) -> None:
    for number in range(INTERACTIVE_TARGETS + 5):
        ask(store, [f"l{number:03}"], f"t{number}", actor="import")
    ask(store, ["now"], "acme", actor="person")
    order = [target.ref.name for target in ledger.next_batch(NODE, 500)]
    assert order.index("now") <= INTERACTIVE_TARGETS
    assert set(order[INTERACTIVE_TARGETS + 1 :]) == {f"l{INTERACTIVE_TARGETS + number:03}" for number in range(5)}


def test_a_tenant_with_very_many_is_served_no_more_often_than_one_with_one(store: SqlStore, ledger: Ledger) -> None:
    for number in range(40):
        ask(store, [f"big{number:02}"], "big", actor="big")
    for number in range(30):
        ask(store, [f"small{number:02}"], f"small{number:02}", actor="small")
    counts = {"big": 0, "small": 0}
    while counts["small"] < 30:
        for name in served(ledger, 4):
            counts["big" if name.startswith("big") else "small"] += 1
    assert counts["big"] <= 1 + 4, "one turn of its own, and what fills up the last batch"


def test_who_comes_later_is_not_behind_another_ones_bulk(store: SqlStore, ledger: Ledger) -> None:
    ask(store, [f"a{number:03}" for number in range(200)], "first")
    served(ledger, 20)
    ask(store, [f"b{number:03}" for number in range(100)], "second")
    order = served(ledger, 20)
    assert sorted(name[0] for name in order) == ["a"] * 10 + ["b"] * 10


def test_what_is_asked_again_keeps_its_place(store: SqlStore, ledger: Ledger) -> None:
    ask(store, ["one"], "acme")
    ask(store, ["two"], "acme")
    with store.write() as unit:
        unit.retry(Ref("domain", "one"))
        change(unit)
    assert [target.ref.name for target in ledger.next_batch(NODE, 9)] == ["one", "two"]


def test_an_interactive_change_takes_bulk_along(store: SqlStore, ledger: Ledger) -> None:
    names = [f"b{number:03}" for number in range(100)]
    ask(store, names, "import", actor="import")
    with store.write() as unit:
        unit.retry(Ref("domain", names[-1]))
        change(unit, actor="person")
    assert served(ledger, 4)[0] == names[-1]


def test_what_breaks_every_run_waits_for_the_rest(store: SqlStore, ledger: Ledger) -> None:
    eager = Ledger(store, retry=0.0)
    ask(store, ["bad"], "acme")
    for _ in range(3):
        finish(eager, eager.next_batch(NODE, 9), TargetStatus.INTERRUPTED, "the module crashed")
    ask(store, ["good"], "other")
    assert served(eager, 9) == ["good"]
    assert [target.ref.name for target in eager.next_batch(NODE, 9)] == ["bad"]


def test_what_breaks_every_run_is_found_by_halving(store: SqlStore) -> None:
    eager = Ledger(store, retry=0.0)
    ask(store, [f"d{number}" for number in range(5)], "acme")
    for _ in range(3):
        finish(eager, eager.next_batch(NODE, 9), TargetStatus.INTERRUPTED, "the module crashed")
    assert [served(eager, 9) for _ in range(3)] == [["d0", "d1", "d2"], ["d3"], ["d4"]]
    assert eager.next_batch(NODE, 9) == []


def test_a_node_that_cannot_be_reached_is_tried_as_a_whole(store: SqlStore) -> None:
    eager = Ledger(store, retry=0.0)
    ask(store, ["one", "two"], "acme")
    for _ in range(4):
        finish(eager, eager.next_batch(NODE, 9), TargetStatus.INTERRUPTED, "Node web1 could not be reached: no route")
    ask(store, ["fresh"], "acme")
    assert len(eager.next_batch(NODE, 9)) == 3


def test_a_clock_that_was_set_back_does_not_keep_anything_waiting(store: SqlStore, ledger: Ledger) -> None:
    ask(store, ["late"], "acme")
    with store.write() as unit:
        unit.tables.target.update(retry_at="2999-01-01T00:00:00.000000Z").execute()
    assert ledger.next_batch(NODE, 9) and ledger.pending_nodes() == [NODE]
