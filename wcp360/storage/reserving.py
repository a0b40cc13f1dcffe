"""Previews that are applied: the targets that shall become exactly what a preview showed, or be refused.

Such targets carry the preview's id until they are applied or refused. Whoever asks for something else of one of them
meanwhile overtakes the preview, whose change then fails: it can no longer be what was shown. What a refused preview's
change asked for is taken back: the rows are made what they were, but for the revisions, which go on counting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wcp360.core.errors import NotFound
from wcp360.core.resources import Ref
from wcp360.core.views import ChangeStatus, RecordStatus
from wcp360.storage.desired import is_pending, target_of, waits
from wcp360.storage.encode import from_text, to_text
from wcp360.storage.part import ASKED, Part, matches, ref_of, rows_of
from wcp360.storage.tables import Row, insert_all

OVERTAKEN = "the preview was not applied, because something else was asked of {} before its run"

# Columns of a target that say what its node shall have, and how it came along with that.
CONTENT = ("life", "purge", "items", "depends", "reason", "attempts", "retry_at")


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

    def picture(self, refs: Iterable[Ref]) -> dict[str, Any]:
        """Return all that is stored of resources, for ``reserve``."""
        wanted = sorted(refs)
        self.kept.flush()
        return {name: rows_of(getattr(self.tables, name), wanted) for name in ("resource", "target", "claim")}

    def reserve(self, preview_id: str, refs: Mapping[str, Iterable[Ref]], before: dict[str, Any]) -> None:
        """Have the pending targets ``refs`` of each node applied exactly as the preview showed, by this change.

        ``before`` is the picture of them from before the change: it is put back where the node refuses the preview.
        """
        self._writing()
        self.kept.forget()
        table = self.tables.target
        for node, wanted in refs.items():
            for row in rows_of(table, wanted, is_pending(table), table.node == node):
                this = matches(table, ref_of(row)) & (table.node == node)
                table.update(preview=preview_id).where(this).execute()
        self.applied_preview = preview_id
        # With several nodes one may have applied its part when another refuses.
        if len(refs) == 1:
            [asked] = refs.values()
            after = _revisions(rows_of(table, asked))
            undo = {"before": before, "after": after, "asked": self._count(ASKED) or 0}
            self.tables.preview.update(undo=to_text(undo)).where(self.tables.preview.id == preview_id).execute()

    def take_back(self, preview_id: str) -> None:
        """Put back what a refused preview's change has replaced, unless others have built on it meanwhile."""
        undo = self._undo_of(preview_id)
        if undo is None:
            return
        refs = {Ref.parse(text) for text, _, _ in undo["after"]}
        targets = rows_of(self.tables.target, refs)
        old = {(ref_of(row), row["node"]): row for row in undo["before"]["target"]}
        moved = [(row, old.get((ref_of(row), row["node"]))) for row in targets]
        moved = [(row, before) for row, before in moved if before is None or before["wanted"] != row["wanted"]]
        if _revisions(targets) != undo["after"] or not all(_may_go_back(*pair) for pair in moved):
            return
        if self._is_built_upon(refs, undo["asked"]):
            return
        for row, before in moved:
            self._put_target_back(row, before)
        self._put_resources_back(refs, undo["before"])

    def _undo_of(self, preview_id: str) -> dict[str, Any] | None:
        """Return what a preview's change has replaced, once."""
        table = self.tables.preview
        row: Row | None = table.select(table.undo).where(table.id == preview_id).first()
        if row is None or not row["undo"]:
            return None
        table.update(undo="").where(table.id == preview_id).execute()
        undo: dict[str, Any] = from_text(row["undo"])
        return undo

    def _put_target_back(self, row: Row, old: Row | None) -> None:
        table = self.tables.target
        this = matches(table, ref_of(row)) & (table.node == row["node"])
        if old is None:
            table.delete().where(this).execute()
            return
        state = "applied" if old["applied"] >= old["wanted"] else "failed"
        values = {name: old[name] for name in CONTENT} | {"failed": old["failed"], state: row["wanted"]}
        table.update(**values).where(this).execute()

    def _put_resources_back(self, refs: set[Ref], before: dict[str, Any]) -> None:
        resources, claims = self.tables.resource, self.tables.claim
        old = {ref_of(row): row for row in before["resource"]}
        for ref in sorted(refs):
            claims.delete().where(matches(claims, ref)).execute()
            if ref in old:
                values = {name: old[ref][name] for name in ("life", "spec", "purge", "updated")}
                resources.update(**values).where(matches(resources, ref)).execute()
            else:
                resources.delete().where(matches(resources, ref)).execute()
        insert_all(claims, before["claim"])

    def _is_built_upon(self, refs: set[Ref], asked: int) -> bool:
        """Tell whether something that was asked for later rests on one of ``refs``."""
        table = self.tables.target
        later = table.select(table.depends).where(table.asked > asked)
        return any(Ref.parse(text) in refs for row in later for text in from_text(row["depends"]))

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


def _revisions(rows: Iterable[Row]) -> list[list[Any]]:
    return sorted([str(ref_of(row)), row["node"], row["wanted"]] for row in rows)


def _may_go_back(row: Row, before: Row | None) -> bool:
    """Tell whether a target was refused, and nobody waits for it as it was: that change has been refused as well."""
    return target_of(row).refused and not (before is not None and waits(before))
