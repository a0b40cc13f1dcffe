"""The engine's side of previews: which wait, who makes one, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wcp360.core.errors import NotFound
from wcp360.core.views import PredictedItem, RecordStatus
from wcp360.storage.encode import from_text, to_text
from wcp360.storage.leases import Leases, is_held, take_lease
from wcp360.storage.tables import Row
from wcp360.storage.times import now_text
from wcp360.storage.unit import Unit

QUEUED, RUNNING = RecordStatus.QUEUED.value, RecordStatus.RUNNING.value


class Previews(Leases):
    """The previews in a store. One is made under the lease ``preview:<id>``, so that a dead engine's are made again."""

    def preview_queue(self) -> list[str]:
        """Return the previews to make, oldest first: queued ones, and those whose maker's lease has expired."""
        with self._store.read() as unit:
            table, lease = unit.tables.preview, unit.tables.lease
            query = table.select(table.id, table.status).where(table.status.in_([QUEUED, RUNNING]))
            live = {row["name"] for row in lease.select(lease.name).where(is_held(lease))}
            rows = list(query.order_by(table.id))
        return [row["id"] for row in rows if row["status"] == QUEUED or lease_of(row["id"]) not in live]

    def begin_preview(self, preview_id: str, owner: str, seconds: float) -> bool:
        """Take a preview for ``owner``; False when it is finished or another makes it. Raises NotFound.

        Runs that its former maker left behind are closed as failed.
        """
        with self._store.write() as unit:
            preview = unit.preview(preview_id)
            if preview.finished is not None or not take_lease(unit, lease_of(preview_id), owner, seconds):
                return False
            self._close_runs(unit, preview_id)
            table = unit.tables.preview
            table.update(status=RUNNING).where(table.id == preview_id).execute()
            return True

    def finish_preview(
        self,
        preview_id: str,
        status: RecordStatus,
        reason: str,
        items: Sequence[PredictedItem],
        changed: bool | None,
    ) -> None:
        """Keep what came of a preview and give its lease back. Raises NotFound."""
        values = {
            "status": status.value,
            "reason": reason,
            "items": to_text([item.model_dump(mode="json") for item in items]),
            "changed": None if changed is None else int(changed),
            "finished": now_text(),
        }
        with self._store.write() as unit:
            preview = unit.preview(preview_id)
            table, lease = unit.tables.preview, unit.tables.lease
            table.update(**values).where(table.id == preview_id).execute()
            lease.delete().where(lease.name == lease_of(preview_id)).execute()
            data = {"preview": preview_id, "operation": preview.operation, "status": status.value, "changed": changed}
            unit.add_event("preview.finished", data, tenant=preview.tenant, correlation=preview.correlation)

    def batches_of(self, preview_id: str) -> dict[str, dict[str, Any]]:
        """Return the batch of each node that a preview was kept with. Raises NotFound."""
        with self._store.read() as unit:
            table = unit.tables.preview
            row: Row | None = table.select(table.batches).where(table.id == preview_id).first()
        if row is None:
            raise NotFound(f"There is no preview {preview_id!r}. Check the identifier.")
        batches: dict[str, dict[str, Any]] = from_text(row["batches"])
        return batches

    def _close_runs(self, unit: Unit, preview_id: str) -> None:
        table = unit.tables.run
        left = (table.preview == preview_id) & (table.status == RUNNING)
        values = {"status": RecordStatus.FAILED.value, "reason": "The engine that made it ended before it was done."}
        table.update(finished=now_text(), **values).where(left).execute()


def lease_of(preview_id: str) -> str:
    """Return the name of the lease under which a preview is made."""
    return f"preview:{preview_id}"
