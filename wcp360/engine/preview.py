"""Previews: the kept batches of a dry run, in check mode, without the node's lease."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from structlog.contextvars import bound_contextvars

from wcp360.core.errors import Problem
from wcp360.core.faults import point
from wcp360.core.ports import TargetStatus
from wcp360.core.views import PredictedItem, RecordStatus
from wcp360.engine.batch import Batch
from wcp360.engine.converge import FAULT, Tools
from wcp360.engine.lease import Lease
from wcp360.engine.outcome import Report, judge, predicted, why_broken
from wcp360.engine.permit import Radius

log = logging.getLogger("wcp360.engine.preview")

# How long a preview that has looked at a node in the middle of a run waits for that run's end, and looks for it.
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.2


def make_preview(tools: Tools, preview_id: str) -> None:
    """Make a preview and record its result; one that another engine is making is left alone.

    Where a node had a run meanwhile, or has one still, its part is made once more when that has ended, because it may
    have looked at a half-done state.
    """
    if not tools.ledger.begin_preview(preview_id, tools.owner, tools.lease_seconds):
        return
    name = f"preview:{preview_id}"
    with Lease(tools.ledger, name, tools.owner, tools.lease_seconds, taken=True) as lease:
        with tools.store.read() as state:
            correlation = state.preview(preview_id).correlation
        items: list[PredictedItem] = []
        failure = ""
        for node, batch in tools.ledger.batches_of(preview_id).items():
            part = _Part(tools, preview_id, node, batch, correlation, lambda: lease.lost)
            found, reason = part.make()
            items += found
            failure = failure or reason
        if tools.stop.is_set() or lease.lost:
            return  # it stays queued: whoever takes it up next starts it again
        point("preview.before_finish")
        status = RecordStatus.FAILED if failure else RecordStatus.SUCCEEDED
        changed = None if failure else any(item.changed for item in items)
        tools.ledger.finish_preview(preview_id, status, failure, items, changed)


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a preview that lies on one node; ``lost`` tells whether another engine may have it by now."""

    _tools: Tools
    _preview: str
    _node: str
    _batch: Batch
    _correlation: str
    _lost: Callable[[], bool]

    def make(self) -> tuple[list[PredictedItem], str]:
        """Return what would change, and why that cannot be told (or an empty string)."""
        left_out = [
            PredictedItem(resource=name, changed=False, failed=True, message=entry["reason"])
            for name, entry in self._batch["skipped"].items()
        ]
        if not self._batch["targets"]:
            return left_out, ""
        if self._batch["node"] is None:
            return left_out, f"There is no node {self._node}; add it first."
        before = self._tools.ledger.last_run(self._node)
        found, reason = self._rehearse()
        if not self._stopped() and self._moved(before):
            self._await_rest()
            found, reason = self._rehearse()
        return left_out + found, reason

    def _moved(self, before: str | None) -> bool:
        return self._is_busy() or self._tools.ledger.last_run(self._node) != before

    def _is_busy(self) -> bool:
        return self._tools.ledger.leased(f"node:{self._node}")

    def _await_rest(self) -> None:
        """Wait until nobody works on the node; one that never rests is looked at as it is."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self._is_busy() and not self._stopped() and time.monotonic() < end:
            self._tools.stop.wait(LOOK_SECONDS)

    def _stopped(self) -> bool:
        return self._tools.stop.is_set() or self._lost()

    def _rehearse(self) -> tuple[list[PredictedItem], str]:
        tools, batch = self._tools, self._batch
        run_id = tools.ledger.begin_run(
            self._node,
            (),
            correlation=self._correlation,
            check=True,
            resources=batch["order"],
            preview_id=self._preview,
        )
        with bound_contextvars(correlation=self._correlation, run=run_id):
            return self._carry_out(run_id)

    def _carry_out(self, run_id: str) -> tuple[list[PredictedItem], str]:
        tools, batch = self._tools, self._batch
        items: list[PredictedItem] = []
        try:
            progress = tools.progress(run_id, self._node, self._correlation)
            ended = tools.executor.execute(run_id, batch, check=True, cancelled=self._stopped, progress=progress)
        except (ValueError, OSError, Problem) as error:
            log.warning("Dry run %s on node %s could not be made: %s", run_id, self._node, error)
            reason = str(error)
        except Exception as error:  # so that whoever asked is told, and the sweep does not try it for ever
            log.exception("Dry run %s on node %s could not be made.", run_id, self._node)
            reason = FAULT.format(type(error).__name__)
        else:
            reason = why_broken(ended.report, self._node, ended.status, ended.rc, ended.said)
            items = predicted(ended.report)
            items += [] if reason else _unreported(batch, ended.report, items)
            if not reason and tools.declared is not None:
                reason = Radius(batch, tools.declared).judge(ended.report).reason
        status = RecordStatus.FAILED if reason else RecordStatus.SUCCEEDED
        tools.ledger.finish_run(run_id, status, reason, items)
        return items, reason


def _unreported(batch: Batch, report: Report, items: list[PredictedItem]) -> list[PredictedItem]:
    """Return what would fail although no item says so, such as a role that did not report."""
    said = {item.resource for item in items if item.failed}
    return [
        PredictedItem(resource=str(outcome.ref), changed=False, failed=True, message=outcome.reason)
        for outcome in judge(batch, report)
        if outcome.status is TargetStatus.FAILED and str(outcome.ref) not in said
    ]
