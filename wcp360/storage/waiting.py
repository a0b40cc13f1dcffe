"""The engine's view of what waits: what a node's next run shall take up."""

from __future__ import annotations

from typing import Any

from wcp360.core.ports import UNREACHABLE, Target
from wcp360.storage.desired import is_pending, target_of
from wcp360.storage.leases import Leases
from wcp360.storage.ranking import BULK, INTERACTIVE
from wcp360.storage.tables import Row
from wcp360.storage.times import now_text

# After so many broken runs a target is no longer put together with fresh ones.
SUSPECT_ATTEMPTS = 3
# No pause is as long. One that seems to be comes from before the clock was set back, and is over.
LONGEST_PAUSE = 3600.0


def is_due(table: Any, now: str | None = None) -> Any:
    """Return the condition that a target is pending and may be tried at ``now``."""
    over = (
        table.retry_at.is_null() | (table.retry_at <= (now or now_text())) | (table.retry_at > now_text(LONGEST_PAUSE))
    )
    return is_pending(table) & over


class Waiting(Leases):
    """The engine's view of what waits."""

    def next_batch(self, node: str, limit: int) -> list[Target]:
        """Return what a node's next run shall take up, in order: at most ``limit`` interactive targets, then bulk.

        Beside interactive targets there is room for a quarter of ``limit`` of bulk, which so goes on however much is
        asked for, and makes nobody wait long.

        What has broken run after run waits until nothing else is due, and is tried half by half, which finds the one
        that is to blame in a few turns. A node that cannot be reached says nothing about its targets.
        """
        with self._store.read() as unit:
            table = unit.tables.target
            due = is_due(table) & (table.node == node)
            blameless = (table.attempts < SUSPECT_ATTEMPTS) | table.reason.contains(UNREACHABLE)
            fresh = _taken(table, due & blameless, limit)
            suspects = [] if fresh else _taken(table, due, limit)
            return fresh or suspects[: (len(suspects) + 1) // 2]

    def applied_for(self, node: str, preview_id: str) -> list[Target]:
        """Return the targets of a node that wait to be applied exactly as a preview showed it."""
        with self._store.read() as unit:
            table = unit.tables.target
            meant = is_pending(table) & (table.node == node) & (table.preview == preview_id)
            return [target_of(row) for row in table.select().where(meant).order_by(table.asked)]


def _taken(table: Any, due: Any, limit: int) -> list[Target]:
    def of(rank: int, most: int) -> list[Row]:
        mine = due & (table.bulk == rank)
        return list(table.select().where(mine).order_by(table.turn, table.asked).limit(most))

    interactive = of(INTERACTIVE, limit)
    bulk = of(BULK, max(1, limit // 4) if interactive else limit)
    return [target_of(row) for row in interactive + bulk]
