"""What becomes of a run whose node another engine may have taken over before it changed anything."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.panel import NODE, Panel
from wcp360.core.errors import Unavailable
from wcp360.core.ports import Target, TargetOutcome, TargetStatus
from wcp360.core.resources import Ref
from wcp360.core.views import ChangeStatus, FileDiff, PredictedItem, RecordStatus
from wcp360.engine.choice import Work, next_work
from wcp360.engine.converge import LOST, Tools, _Run, converge
from wcp360.engine.gate import Gate
from wcp360.engine.lease import Lease
from wcp360.engine.outcome import Report
from wcp360.engine.runner import Ended
from wcp360.storage import Ledger

DEMO = Ref("tenant", "demo")
LEASE = f"node:{NODE}"
GONE = LOST.format(NODE)
SHOWN = PredictedItem(
    resource=str(DEMO), changed=True, failed=False, diff=[FileDiff(name="/home/demo", before="", after="x")]
)


class Asking:
    """An executor that predicts nothing, lets something happen, and then asks at a real gate whether it may go on."""

    def __init__(self, base: Path, meanwhile: Callable[[], None]) -> None:
        self._path, self._meanwhile = base / "gate", meanwhile
        self.answer = "never asked"

    def execute(self, *_given: Any, permit: Callable[[Report], str], **_more: Any) -> Ended:
        for end in ("ask", "answer"):
            os.mkfifo(f"{self._path}.{end}")
        with Gate(self._path, lambda: permit(Report())) as gate:
            self._meanwhile()
            with open(f"{self._path}.ask", "w") as question:
                question.write("\n")
            with open(f"{self._path}.answer") as answer:
                self.answer = json.loads(answer.readline())["reason"]
        return Ended("failed", 1, Report(), "It ended here.", gate.reason)


class Cut(Ledger):
    """A ledger that leases can be taken from, and whose database is away when one is to be renewed."""

    def renew(self, name: str, owner: str, seconds: float) -> bool:
        raise Unavailable("The database is away.")


@pytest.fixture
def panel(tmp_path: Path, url: str) -> Iterator[Panel]:
    (tmp_path / "database.url").write_text(url)
    panel = Panel.make(tmp_path)
    panel.ledger = Ledger(panel.store, retry=0)
    yield panel
    panel.store.close()


def tools(panel: Panel, meanwhile: Callable[[], None], ledger: Ledger | None = None) -> tuple[Tools, Asking]:
    executor = Asking(panel.base, meanwhile)
    return Tools(panel.store, ledger or panel.ledger, executor, "frozen", 60, threading.Event()), executor  # type: ignore[arg-type]


def take_over(panel: Panel) -> None:
    """Take the node as another engine does whose clock is past the lease."""
    with panel.store.write() as unit:
        unit.tables.lease.update(expires="2000-01-01T00:00:00.000Z").execute()
    assert panel.ledger.lease(LEASE, "other", 60)
    assert len(panel.ledger.abandon_runs(NODE, "x")) == 1


def apply_all(panel: Panel) -> None:
    """Record a run of the other engine that applies all that waits, and give the node back."""
    targets = panel.ledger.next_batch(NODE, 9)
    run = panel.ledger.begin_run(NODE, targets, correlation="c")
    outcomes = [TargetOutcome(each.ref, each.wanted, TargetStatus.APPLIED) for each in targets]
    panel.ledger.conclude(run, outcomes, RecordStatus.SUCCEEDED, "", [])
    panel.ledger.release(LEASE, "other")


def demo(panel: Panel) -> Target:
    with panel.store.read() as state:
        return state.targets(refs=[DEMO])[0]


def test_who_still_has_the_node_goes_on(panel: Panel) -> None:
    panel.submit("demo", "one")
    made, executor = tools(panel, lambda: None)
    converge(made, NODE)
    assert executor.answer == ""
    assert demo(panel).reason.startswith("Ansible ended with code 1"), "what came of the run was recorded"


def test_a_frozen_engine_does_not_undo_what_another_has_applied_meanwhile(panel: Panel) -> None:
    first = panel.submit("demo", "one")

    def meanwhile() -> None:
        take_over(panel)
        panel.submit("demo", "two")
        apply_all(panel)

    made, executor = tools(panel, meanwhile)
    assert not converge(made, NODE)
    assert executor.answer == GONE
    target = demo(panel)
    assert (target.wanted, target.applied, target.failed, target.reason) == (2, 2, 0, "")
    assert panel.change(first.id).status is ChangeStatus.SUCCEEDED
    assert [run.status for run in panel.runs()] == [RecordStatus.SUCCEEDED, RecordStatus.FAILED]


def test_what_a_frozen_engine_had_in_hand_waits_for_the_other(panel: Panel) -> None:
    change = panel.submit("demo", "one")
    made, executor = tools(panel, lambda: take_over(panel))
    assert not converge(made, NODE)
    assert executor.answer == GONE
    assert demo(panel).pending and demo(panel).failed == 0
    assert panel.change(change.id).status is ChangeStatus.PENDING
    assert panel.ledger.leased(LEASE), "the lease is the other's, and is not given back for it"
    apply_all(panel)
    assert panel.change(change.id).status is ChangeStatus.SUCCEEDED


def test_without_a_database_nothing_is_done_and_nothing_fails(panel: Panel) -> None:
    change = panel.submit("demo", "one")
    made, executor = tools(panel, lambda: None, Cut(panel.store))
    assert not converge(made, NODE)
    assert executor.answer == GONE
    assert demo(panel).pending and panel.change(change.id).status is ChangeStatus.PENDING
    assert panel.ledger.abandon_runs(NODE, "x") and panel.ledger.next_batch(NODE, 9)


@pytest.mark.parametrize("lost", [True, False])
def test_a_preview_is_given_up_by_nobody_but_who_has_the_node(
    panel: Panel, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.submit("demo", "one")
    given_up: list[str] = []
    monkeypatch.setattr(panel.ledger, "give_up", lambda node, preview, reason: given_up.append(preview) or [])
    made, executor = tools(panel, lambda: take_over(panel) if lost else None)
    work = next_work(panel.store, panel.ledger, NODE, 9)
    assert work is not None
    with Lease(panel.ledger, LEASE, "frozen", 60) as lease:
        _Run(made, NODE, Work(work.batch, work.targets, "shown", (SHOWN,)), "c", lease).make()
    assert given_up == ([] if lost else ["shown"])
    assert executor.answer == GONE if lost else "shown" in executor.answer
