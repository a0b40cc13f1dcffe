"""The converge loop: lease on the node, batch, run, record; whatever arrives meanwhile forms the next batch."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from structlog.contextvars import bound_contextvars

from wcp360.core.errors import Problem
from wcp360.core.faults import point
from wcp360.core.footprint import Footprints
from wcp360.core.ids import new_id
from wcp360.core.listing import newest
from wcp360.core.ports import State, Store, Target, TargetOutcome, TargetStatus
from wcp360.core.views import ChangeStatus, PredictedItem, RecordStatus
from wcp360.engine.batch import Batch
from wcp360.engine.choice import Work, next_work
from wcp360.engine.lease import Lease
from wcp360.engine.outcome import Report, interrupted, judge, predicted, skipped, why_broken
from wcp360.engine.pace import Pace
from wcp360.engine.permit import Permit
from wcp360.engine.ports import Ledger
from wcp360.engine.runner import Ended, Executor, Progress

log = logging.getLogger("wcp360.engine.converge")

STOPPED = "The engine was stopped during the run; it goes on when the engine runs again."
DIED = "The engine died during the run."
LOST = "Another engine may have taken node {} over, so nothing was done."
FAULT = "The run could not be made because of a fault in WCP360 ({}); its log says more."
# How many of the newest changes are looked at for the correlation id of a run.
RECENT_CHANGES = 20


@dataclass(frozen=True, slots=True)
class Tools:
    """What the engine's work is done with; ``owner`` names this engine in leases.

    ``declared`` is what the modules say that belongs to whom; None lets runs touch anything, which is for tests that
    bring roles of their own.
    """

    store: Store
    ledger: Ledger
    executor: Executor
    owner: str
    lease_seconds: float
    stop: threading.Event
    declared: Footprints | None = None
    pace: Pace = field(default_factory=Pace)

    def progress(self, run_id: str, node: str, correlation: str) -> Progress:
        """Return what turns a run's progress into events; a busy database only costs the event."""

        def report(data: dict[str, Any]) -> None:
            try:
                self.ledger.event("run.task", {"run": run_id, "node": node, **data}, correlation=correlation)
            except Problem as problem:
                log.warning("An event of run %s could not be kept: %s", run_id, problem.detail)

        return report


def converge(tools: Tools, node: str) -> bool:
    """Make one run for what is pending on a node; returns whether there is more to do at once.

    Does nothing where another engine has the node. Killed at any moment, it leaves changes pending that the next
    engine takes up; nothing is taken for applied before it is recorded.
    """
    point("engine.before_lease")
    with Lease(tools.ledger, f"node:{node}", tools.owner, tools.lease_seconds) as lease:
        if not lease.held:
            return False
        point("engine.after_lease")
        tools.ledger.abandon_runs(node, DIED)
        work = next_work(tools.store, tools.ledger, node, tools.pace.limit(node))
        point("engine.after_compile")
        if work is not None:
            _do(tools, node, work, lease)
        return not tools.stop.is_set() and not lease.lost and bool(tools.ledger.next_batch(node, 1))


def _do(tools: Tools, node: str, work: Work, lease: Lease) -> None:
    if work.batch["skipped"]:
        tools.ledger.refuse(node, skipped(work.batch))
    if work.targets and work.batch["node"] is None:
        tools.ledger.refuse(node, _nowhere(work.batch, node))
    elif work.targets:
        with tools.store.read() as state:
            correlation = _correlation(state, work.targets)
        _Run(tools, node, work, correlation, lease).make()


@dataclass(frozen=True, slots=True)
class _Result:
    """What came of each target, why the run broke (or an empty string), and what it did.

    ``given_up`` says that the preview cannot be applied which the run was for.
    """

    outcomes: list[TargetOutcome]
    reason: str = ""
    items: list[PredictedItem] = field(default_factory=list)
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    """One real run on a node whose lease is held."""

    _tools: Tools
    _node: str
    _work: Work
    _correlation: str
    _lease: Lease

    def make(self) -> None:
        """Run the batch and record what came of it."""
        run_id = self._tools.ledger.begin_run(self._node, self._work.targets, correlation=self._correlation)
        with bound_contextvars(correlation=self._correlation, run=run_id):
            self._carry_out(run_id)

    def _carry_out(self, run_id: str) -> None:
        ledger = self._tools.ledger
        point("engine.before_run")
        result = self._result(run_id)
        point("engine.after_run")
        if self._lease.lost:
            return  # the node is another engine's now, which closes this run and takes its resources up again
        if result.given_up:
            ledger.give_up(self._node, self._work.preview, result.reason)
        if self._tools.stop.is_set() and result.reason:
            ledger.finish_run(run_id, RecordStatus.FAILED, STOPPED, result.items)
            return
        point("engine.before_record")
        refused = sum(outcome.status is TargetStatus.FAILED for outcome in result.outcomes)
        reason = result.reason or (f"{refused} of {len(result.outcomes)} resources failed." if refused else "")
        status = RecordStatus.FAILED if reason else RecordStatus.SUCCEEDED
        ledger.conclude(run_id, result.outcomes, status, reason, result.items)
        point("engine.after_record")
        log.info("The run on node %s ended%s", self._node, f": {reason}" if reason else " well.")

    def _result(self, run_id: str) -> _Result:
        batch, permit = self._work.batch, Permit(self._work, self._tools.declared)
        try:
            ended = self._execute(run_id, permit)
        except (ValueError, OSError, Problem) as error:
            log.warning("Run %s on node %s could not be made: %s", run_id, self._node, error)
            return _Result(interrupted(batch, str(error)), str(error))
        except Exception as error:  # so that what breaks here again and again is tried with growing pauses
            log.exception("Run %s on node %s could not be made.", run_id, self._node)
            reason = FAULT.format(type(error).__name__)
            return _Result(interrupted(batch, reason), reason)
        if ended.refused:
            return self._refused(permit, ended)
        reason = why_broken(ended.report, self._node, ended.status, ended.rc, ended.said)
        outcomes = interrupted(batch, reason) if reason else judge(batch, ended.report)
        return _Result(outcomes, reason, predicted(ended.report))

    def _refused(self, permit: Permit, ended: Ended) -> _Result:
        """Fail what was to blame; the rest of the batch waits for the next run."""
        if not permit.verdict.reason:  # the prediction could not be judged, which is nobody's fault but ours
            return _Result(interrupted(self._work.batch, ended.refused), ended.refused)
        if self._work.preview:
            return _Result([], ended.refused, given_up=True)
        blamed = permit.verdict.blamed or set(self._work.batch["targets"])
        outcomes = [
            TargetOutcome(outcome.ref, outcome.revision, TargetStatus.FAILED, ended.refused)
            for outcome in interrupted(self._work.batch, ended.refused)
            if str(outcome.ref) in blamed
        ]
        return _Result(outcomes, ended.refused)

    def _judge(self, permit: Permit, prediction: Report) -> str:
        """Return why the run must not go on; the lease is asked for last, right before the node is changed."""
        reason = permit(prediction)
        return reason if self._lease.confirm() else LOST.format(self._node)

    def _execute(self, run_id: str, permit: Permit) -> Ended:
        start = time.monotonic()
        ended = self._tools.executor.execute(
            run_id,
            self._work.batch,
            check=False,
            cancelled=lambda: self._tools.stop.is_set() or self._lease.lost,
            progress=self._tools.progress(run_id, self._node, self._correlation),
            permit=lambda prediction: self._judge(permit, prediction),
        )
        # Packages are installed at the server level, which says nothing about what a resource takes.
        if ended.rc == 0 and not any(self._work.batch["request"]["server"].values()):
            self._tools.pace.learn(self._node, len(self._work.targets), time.monotonic() - start)
        return ended


def _nowhere(batch: Batch, node: str) -> list[TargetOutcome]:
    reason = f"There is no node {node}; add it, then retry."
    return [
        TargetOutcome(outcome.ref, outcome.revision, TargetStatus.FAILED, reason)
        for outcome in interrupted(batch, reason)
    ]


def _correlation(state: State, targets: list[Target]) -> str:
    """Return the correlation id of the change that the run is for; a fresh one where it is for several or none."""
    wanted = {str(target.ref) for target in targets}
    recent = state.page("change", newest(RECENT_CHANGES)).items
    found = {
        change.correlation
        for change in recent
        if change.status is ChangeStatus.PENDING
        and wanted & {entry.resource for entry in state.change(change.id).resources}
    }
    return found.pop() if len(found) == 1 else new_id()
