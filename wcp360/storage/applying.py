"""The engine's side of previews that are applied."""

from __future__ import annotations

from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.views import ChangeStatus, PredictedItem, RecordStatus
from wcp360.storage.encode import from_text
from wcp360.storage.part import ref_of
from wcp360.storage.tables import Row
from wcp360.storage.unit import Unit
from wcp360.storage.waiting import Waiting


class Applying(Waiting):
    """What a preview showed, and what becomes of its change where it cannot be applied."""

    def kept_prediction(self, node: str, preview_id: str) -> list[PredictedItem]:
        """Return what a preview showed for a node: what its last dry run there predicted."""
        with self._store.read() as unit:
            table = unit.tables.run
            mine = (table.preview == preview_id) & (table.node == node)
            mine &= table.status == RecordStatus.SUCCEEDED.value
            row: Row | None = table.select(table.items).where(mine).order_by(table.id.desc()).first()
        items = [] if row is None else from_text(row["items"])
        return [PredictedItem.model_validate(item) for item in items]

    def give_up(self, node: str, preview_id: str, reason: str) -> list[str]:
        """Fail what a preview's change waits for on a node; return the changes that are finished by it.

        What it asked for is taken back, unless somebody has built on it. What the preview had only taken along, because
        it waited already, goes on waiting.
        """
        with self._store.write() as unit:
            tied = _tied_to(unit, node, preview_id)
            outcomes = [TargetOutcome(ref_of(row), row["wanted"], TargetStatus.FAILED, reason) for row in tied]
            finished = self.refused(unit, node, outcomes) if outcomes else []
            unit.take_back(preview_id)
            table = unit.tables.target
            table.update(preview="").where((table.preview == preview_id) & (table.node == node)).execute()
        return finished

    def refused(self, unit: Unit, node: str, outcomes: list[TargetOutcome]) -> list[str]:
        """Record outcomes of targets that no run took up; return the changes that are finished by it."""
        raise NotImplementedError


def _tied_to(unit: Unit, node: str, preview_id: str) -> list[Row]:
    table, links = unit.tables.target, unit.tables.change_target
    here = (table.preview == preview_id) & (table.node == node)
    marked = {ref_of(row): row for row in table.select().where(here)}
    ids = unit.appliers(preview_id)
    waiting = (links.node == node) & (links.status == ChangeStatus.PENDING.value) & links.change.in_(ids)
    refs = [ref_of(row) for row in links.select().where(waiting)]
    return [marked[ref] for ref in refs if ref in marked]
