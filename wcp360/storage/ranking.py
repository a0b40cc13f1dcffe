"""In which order waiting targets are taken up.

Interactive changes go before bulk. Within both a tenant's targets have *turns*, as in fair queueing: the next target
of a tenant that waits has a turn after its last one, that of a tenant that does not wait has the turn that is being
served. So nobody is served more often than another because more of his waits; and the next batch is read off an index.
"""

from __future__ import annotations

from collections.abc import Iterable

from peewee import fn

from wcp360.storage.desired import is_pending
from wcp360.storage.part import Part
from wcp360.storage.tables import CHUNK, UNRANKED, Row

# One person at a terminal or panel has seldom more than this under way; who has is importing, in one change or in many.
INTERACTIVE_TARGETS = 50
INTERACTIVE, BULK = 0, 1


class RankingPart(Part):
    """The part of a transaction that gives what a change asks for its place among what waits."""

    def rank(self, rows: list[Row], actor: str) -> None:
        """Rank the targets that a change of ``actor`` is tied to.

        What waited already keeps its place, except that an interactive change takes bulk along with it.
        """
        fresh = [row for row in rows if row["bulk"] == UNRANKED]
        rank = INTERACTIVE if self._is_interactive(len(rows), actor) else BULK
        moved = [row for row in rows if rank == INTERACTIVE and row["bulk"] == BULK]
        places: dict[tuple[str, int], list[Row]] = {}
        for node in sorted({row["node"] for row in rows}):
            here = sorted((row for row in [*fresh, *moved] if row["node"] == node), key=lambda row: row["asked"])
            for row, turn in self._turns(node, rank, here):
                places.setdefault((node, turn), []).append(row)
        for (node, turn), placed in places.items():
            self._place(node, placed, {"bulk": rank, "turn": turn, "asked_by": actor})

    def _is_interactive(self, count: int, actor: str) -> bool:
        """Tell whether a change is small, and not one of very many of the same caller."""
        room = INTERACTIVE_TARGETS - count
        if room < 0:
            return False
        table = self.tables.target
        mine = is_pending(table) & (table.asked_by == actor) & (table.bulk == INTERACTIVE)
        return len(list(table.select(table.name).where(mine).limit(room + 1))) <= room

    def _turns(self, node: str, rank: int, rows: list[Row]) -> Iterable[tuple[Row, int]]:
        table = self.tables.target
        waiting = is_pending(table) & (table.node == node) & (table.bulk == rank)
        first = table.select(fn.MIN(table.turn).alias("turn")).where(waiting).first()["turn"]
        served = 0 if first is None else int(first)
        last: dict[str | None, int] = {}
        for row in rows:
            tenant = row["tenant"]
            if tenant not in last:
                mine = waiting & (table.tenant.is_null() if tenant is None else (table.tenant == tenant))
                found = table.select(fn.MAX(table.turn).alias("turn")).where(mine).first()["turn"]
                last[tenant] = served - 1 if found is None else int(found)
            last[tenant] = max(served, last[tenant] + 1)
            yield row, last[tenant]

    def _place(self, node: str, rows: list[Row], values: Row) -> None:
        table = self.tables.target
        kinds = {row["kind"] for row in rows}
        for kind in sorted(kinds):
            names = [row["name"] for row in rows if row["kind"] == kind]
            for start in range(0, len(names), CHUNK):
                these = (table.kind == kind) & table.name.in_(names[start : start + CHUNK]) & (table.node == node)
                table.update(**values).where(these).execute()
