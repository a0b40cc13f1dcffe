"""Previews that are applied: the targets that shall become exactly what a preview showed, or be refused.

Such targets carry the preview's id until they are applied or refused. Whoever asks for something else of one of them
meanwhile overtakes the preview, whose change then fails: it can no longer be what was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wcp360.core.errors import NotFound
from wcp360.core.resources import Ref
from wcp360.core.views import ChangeStatus, RecordStatus
from wcp360.storage.desired import is_pending
from wcp360.storage.encode import from_text
from wcp360.storage.part import Part, matches, ref_of, rows_of
from wcp360.storage.tables import Row

OVERTAKEN = "the preview was not applied, because something else was asked of {} before its run"


class ReservingPart(Part):
    """The part of a transaction that says which targets shall be what a preview showed."""

    applied_preview = ""

    def preview_batches(self, preview_id: str) -> dict[str, dict[str, Any]]:
        """Return the batch of each node that a preview was kept with. Raises NotFound."""
        table = self.tables.preview
        row: Row | None = table.select(table.batches).where(table.id == preview_id).first()
        if row is None:
            raise NotFound(f"There is no preview {preview_id!r}. Check the identifier.")
        batches: dict[str, dict[str, Any]] = from_text(row["batches"])
        return batches

    def appliers(self, preview_id: str) -> list[str]:
        """Return the changes that apply a preview, or did."""
        table = self.tables.change
        return [row["id"] for row in table.select(table.id).where(table.preview == preview_id).order_by(table.id)]

    def reserve(self, preview_id: str, refs: Mapping[str, Iterable[Ref]]) -> None:
        """Have the pending targets ``refs`` of each node applied exactly as the preview showed, by this change."""
        self._writing()
        self.kept.forget()
        table = self.tables.target
        for node, wanted in refs.items():
            for row in rows_of(table, wanted, is_pending(table), table.node == node):
                this = matches(table, ref_of(row)) & (table.node == node)
                table.update(preview=preview_id).where(this).execute()
        self.applied_preview = preview_id

    def fail_overtaken(self, overtaken: Iterable[tuple[str, Ref, str]]) -> set[str]:
        """Fail what previews' changes waited for and what is something else now; return these changes.

        What a run has in hand already is left to that run.
        """
        table, changes = self.tables.change_target, self.tables.change
        touched: set[str] = set()
        for preview_id, ref, node in sorted(overtaken):
            if self._is_running(ref, node):
                continue
            ids = self.appliers(preview_id)
            waiting = table.change.in_(ids) & matches(table, ref) & (table.node == node)
            waiting &= table.status == ChangeStatus.PENDING.value
            reason = OVERTAKEN.format(ref)
            if table.update(status=ChangeStatus.FAILED.value, reason=reason).where(waiting).execute():
                touched.update(ids)
        open_ = changes.finished.is_null()
        return {row["id"] for row in changes.select(changes.id).where(changes.id.in_(sorted(touched)) & open_)}

    def _is_running(self, ref: Ref, node: str) -> bool:
        run, carried = self.tables.run, self.tables.run_target
        open_ = run.select(run.id).where((run.node == node) & (run.status == RecordStatus.RUNNING.value))
        ids = [row["id"] for row in open_]
        return bool(ids) and carried.select().where(carried.run.in_(ids) & matches(carried, ref)).first() is not None
