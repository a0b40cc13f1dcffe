"""The converge loop: lease on the node, batch, run, record; whatever arrives meanwhile forms the next batch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from structlog.contextvars import bound_contextvars

from wcp360.core.errors import Problem
from wcp360.core.faults import point
from wcp360.core.ids import new_id
from wcp360.core.ports import State, Store, Target, TargetOutcome, TargetStatus
from wcp360.core.views import ChangeStatus, PredictedItem, RecordStatus
from wcp360.engine.batch import MAX_TARGETS, Batch, compile_node, fair_share, set_apart
from wcp360.engine.lease import Lease
from wcp360.engine.outcome import interrupted, judge, predicted, skipped, why_broken
from wcp360.engine.ports import Ledger
from wcp360.engine.runner import Ended, Executor, Progress

log = logging.getLogger("wcp360.engine.converge")

STOPPED = "The engine was stopped during the run; it goes on when the engine runs again."
DIED = "The engine died during the run."
# How many of the newest changes are looked at for the correlation id of a run.
RECENT_CHANGES = 20


@dataclass(frozen=True, slots=True)
class Tools:
    """What the engine's work is done with; ``owner`` names this engine in leases."""

    store: Store
    ledger: Ledger
    executor: Executor
    owner: str
    lease_seconds: float
    stop: threading.Event

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
    with Lease(tools.ledger, f"node:{node}", tools.owner, tools.lease_seconds) as lease:
        if not lease.held:
            return False
        point("engine.after_lease")
        tools.ledger.abandon_runs(node, DIED)
        due = {target.ref for target in tools.ledger.pending(node)}
        with tools.store.read() as state:
            chosen = [target for target in state.targets([node], pending=True) if target.ref in due]
            batch, targets = compile_node(state, node, fair_share(set_apart(chosen), MAX_TARGETS))
            correlation = _correlation(state, targets)
        point("engine.after_compile")
        if batch["skipped"]:
            tools.ledger.refuse(node, skipped(batch))
        if targets and batch["node"] is None:
            tools.ledger.refuse(node, _nowhere(batch, node))
        elif targets:
            _Run(tools, node, batch, targets, correlation, lambda: lease.lost).make()
        return not tools.stop.is_set() and not lease.lost and bool(tools.ledger.pending(node))


@dataclass(frozen=True, slots=True)
class _Run:
    """One real run on a node whose lease is held; ``lost`` tells whether it still is."""

    _tools: Tools
    _node: str
    _batch: Batch
    _targets: list[Target]
    _correlation: str
    _lost: Callable[[], bool]

    def make(self) -> None:
        """Run the batch and record what came of it."""
        run_id = self._tools.ledger.begin_run(self._node, self._targets, correlation=self._correlation)
        with bound_contextvars(correlation=self._correlation, run=run_id):
            self._carry_out(run_id)

    def _carry_out(self, run_id: str) -> None:
        ledger = self._tools.ledger
        point("engine.before_run")
        outcomes, reason, items = self._outcomes(run_id)
        point("engine.after_run")
        if self._lost():
            return  # the node is another engine's now, which closes this run and takes its resources up again
        if self._tools.stop.is_set() and reason:
            ledger.finish_run(run_id, RecordStatus.FAILED, STOPPED, items)
            return
        point("engine.before_record")
        ledger.record(run_id, outcomes)
        point("engine.after_record")
        refused = sum(outcome.status is TargetStatus.FAILED for outcome in outcomes)
        reason = reason or (f"{refused} of {len(outcomes)} resources failed." if refused else "")
        ledger.finish_run(run_id, RecordStatus.FAILED if reason else RecordStatus.SUCCEEDED, reason, items)
        log.info("The run on node %s ended%s", self._node, f": {reason}" if reason else " well.")

    def _outcomes(self, run_id: str) -> tuple[list[TargetOutcome], str, list[PredictedItem]]:
        """Return the outcome of each target, why the run broke (or an empty string), and what it did."""
        try:
            ended = self._execute(run_id)
        except (ValueError, OSError, Problem) as error:
            log.warning("Run %s on node %s could not be made: %s", run_id, self._node, error)
            return interrupted(self._batch, str(error)), str(error), []
        reason = why_broken(ended.report, self._node, ended.status, ended.rc, ended.said)
        outcomes = interrupted(self._batch, reason) if reason else judge(self._batch, ended.report)
        return outcomes, reason, predicted(ended.report)

    def _execute(self, run_id: str) -> Ended:
        return self._tools.executor.execute(
            run_id,
            self._batch,
            check=False,
            cancelled=lambda: self._tools.stop.is_set() or self._lost(),
            progress=self._tools.progress(run_id, self._node, self._correlation),
        )


def _nowhere(batch: Batch, node: str) -> list[TargetOutcome]:
    reason = f"There is no node {node}; add it, then retry."
    return [
        TargetOutcome(outcome.ref, outcome.revision, TargetStatus.FAILED, reason)
        for outcome in interrupted(batch, reason)
    ]


def _correlation(state: State, targets: list[Target]) -> str:
    """Return the correlation id of the change that the run is for; a fresh one where it is for several or none."""
    wanted = {str(target.ref) for target in targets}
    recent = state.changes(tenants=None, limit=RECENT_CHANGES, after="").items
    found = {
        change.correlation
        for change in recent
        if change.status is ChangeStatus.PENDING and wanted & {entry.resource for entry in change.resources}
    }
    return found.pop() if len(found) == 1 else new_id()
