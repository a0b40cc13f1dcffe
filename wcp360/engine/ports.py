"""What the engine needs of the ledger, and the values that pass between them.

``wcp360.storage`` implements the protocol; engine and storage do not import each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from wcp360.core.ports import Target, TargetOutcome
from wcp360.core.views import PredictedItem, RecordStatus


class Ledger(Protocol):
    """Leases, runs and previews; every method is one short transaction of its own."""

    def next_batch(self, node: str, limit: int) -> list[Target]:
        """Return what a node's next run shall take up: ``limit`` interactive targets at most, then bulk.

        What has broken run after run comes alone, and in halves.
        """

    def applied_for(self, node: str, preview_id: str) -> list[Target]:
        """Return the targets of a node that wait to be applied exactly as a preview showed it."""

    def kept_prediction(self, node: str, preview_id: str) -> list[PredictedItem]:
        """Return what a preview showed for a node."""

    def give_up(self, node: str, preview_id: str, reason: str) -> list[str]:
        """Fail what a preview's change waits for on a node; returns the changes that it finished."""

    def pending_nodes(self) -> list[str]:
        """Return the nodes with targets that are due."""

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        """Take a lease, or return False because another owner has it."""

    def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Prolong a lease; False when it is no longer the owner's."""

    def leased(self, name: str) -> bool:
        """Tell whether anybody has a lease now."""

    def release(self, name: str, owner: str) -> None:
        """Give a lease back."""

    def begin_run(
        self,
        node: str,
        targets: Sequence[Target],
        *,
        correlation: str,
        check: bool = False,
        resources: Sequence[str] = (),
        preview_id: str = "",
    ) -> str:
        """Record that a run starts; returns its id."""

    def conclude(
        self,
        run_id: str,
        outcomes: Iterable[TargetOutcome],
        status: RecordStatus,
        reason: str,
        items: Sequence[PredictedItem],
    ) -> list[str]:
        """Write the outcomes of a run and how it ended in one transaction; returns the changes that it finished."""

    def refuse(self, node: str, outcomes: Iterable[TargetOutcome]) -> list[str]:
        """Write outcomes that no run was needed for."""

    def finish_run(self, run_id: str, status: RecordStatus, reason: str, items: Sequence[PredictedItem]) -> None:
        """Record how a run ended."""

    def abandon_runs(self, node: str, reason: str) -> list[str]:
        """Close the runs that a dead engine left open; the caller holds the node's lease."""

    def last_run(self, node: str) -> str | None:
        """Return the newest finished run that was no dry run."""

    def event(self, type_: str, data: dict[str, Any], *, tenant: str | None = None, correlation: str = "") -> None:
        """Append an event."""

    def preview_queue(self) -> list[str]:
        """Return the previews that wait, those of a dead engine included."""

    def begin_preview(self, preview_id: str, owner: str, seconds: float) -> bool:
        """Take a waiting preview under the lease ``preview:<id>``."""

    def finish_preview(
        self, preview_id: str, status: RecordStatus, reason: str, items: Sequence[PredictedItem], changed: bool | None
    ) -> None:
        """Record the result of a dry run."""

    def batches_of(self, preview_id: str) -> dict[str, dict[str, Any]]:
        """Return the batches that were kept with a preview, by node."""
