"""One transaction: desired state, records, and what only the door and the engine write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wcp360.core.needs import unchanged
from wcp360.core.resources import Life, Ref
from wcp360.core.settle import TENANT
from wcp360.core.views import ChangeStatus, ChangeView, EventView, PreviewView, RecordStatus
from wcp360.storage.answers import AnswersPart
from wcp360.storage.audit import FIRST, HASHED, chain_hash
from wcp360.storage.encode import to_text
from wcp360.storage.lists import ListsPart
from wcp360.storage.part import AUDIT, EVENT, matches, ref_of, rows_of
from wcp360.storage.ranking import RankingPart
from wcp360.storage.records import RecordsPart, event_of, reason_of
from wcp360.storage.reserving import ReservingPart
from wcp360.storage.tables import CHUNK, Row, Tables, insert_all
from wcp360.storage.times import now_text


class Unit(ListsPart, RecordsPart, AnswersPart, RankingPart, ReservingPart):
    """Implements ``wcp360.core.ports.Transaction``; ``events`` are told to subscribers after the commit."""

    def __init__(self, tables: Tables, *, writable: bool) -> None:
        super().__init__(tables, writable=writable)
        self.events_added: list[EventView] = []
        self._born_finished: list[str] = []

    def add_change(
        self, change_id: str, *, operation: str, given: dict[str, Any], actor: str, tenant: str | None, correlation: str
    ) -> ChangeView:
        """Record an accepted operation with the resources that are pending because of it.

        These are the targets with a new revision, and the touched ones that were pending already. A touched target
        that its node refused before and that is unchanged fails the change at once: calling it done would be a lie.
        """
        self._writing()
        self.kept.forget()
        rows = self._tied()
        self.rank(rows, actor)
        tied = [self._tie(change_id, row) for row in rows]
        row = {
            "id": change_id,
            "operation": operation,
            "input": to_text(given),
            "actor": actor,
            "tenant": tenant,
            "correlation": correlation,
            "created": now_text(),
            "preview": self.applied_preview,
        }
        self.tables.change.insert(status=ChangeStatus.PENDING.value, reason="", finished=None, **row).execute()
        insert_all(self.tables.change_target, tied)
        self.sweep_tombstones(self.touched)
        self.release_claims(self.touched)
        self.finish_changes(self.fail_overtaken(self.overtaken))
        if self.finish_changes([change_id], tell=False):
            self._born_finished.append(change_id)
        return self.change(change_id)

    def add_preview(
        self,
        preview_id: str,
        *,
        operation: str,
        given: dict[str, Any],
        actor: str,
        tenant: str | None,
        correlation: str,
        base: dict[str, int],
        batches: dict[str, dict[str, Any]],
    ) -> PreviewView:
        """Keep a dry run that the engine shall make."""
        self._writing()
        self.tables.preview.insert(
            id=preview_id,
            operation=operation,
            input=to_text(given),
            actor=actor,
            tenant=tenant,
            status=RecordStatus.QUEUED.value,
            reason="",
            base=to_text(base),
            batches=to_text(batches),
            undo="",
            changed=None,
            items="[]",
            correlation=correlation,
            created=now_text(),
            finished=None,
        ).execute()
        return self.preview(preview_id)

    def add_event(self, type_: str, data: dict[str, Any], *, tenant: str | None = None, correlation: str = "") -> None:
        """Append an event. Numbers are given under the write lock, so no later one appears before an earlier one."""
        self._writing()
        row = {
            "id": self._next(EVENT),
            "time": now_text(),
            "type": type_,
            "tenant": tenant,
            "data": to_text(data),
            "correlation": correlation,
        }
        self.tables.event.insert(**row).execute()
        self.events_added.append(event_of(row))

    def add_audit(
        self, *, actor: str, operation: str, tenant: str | None, outcome: str, given: dict[str, Any], correlation: str
    ) -> None:
        """Append an entry to the hash-chained audit log."""
        self._writing()
        table = self.tables.audit
        last = table.select(table.hash).order_by(table.id.desc()).first()
        row = {
            "id": self._next(AUDIT),
            "time": now_text(),
            "actor": actor,
            "operation": operation,
            "tenant": tenant,
            "outcome": outcome,
            "input": to_text(given),
            "correlation": correlation,
            "previous": FIRST if last is None else last["hash"],
        }
        table.insert(hash=chain_hash(row[name] for name in HASHED), **row).execute()

    def before_commit(self) -> None:
        """Tell of changes that were finished when they were accepted: after the door told that it accepted them."""
        for change_id in self._born_finished:
            self._tell_finished(self._row("change", change_id))
        self._born_finished.clear()
        self.kept.flush()
        self.kept.flush_counters()

    def finish_changes(self, change_ids: Iterable[str], *, tell: bool = True) -> list[str]:
        """Finish those of the pending changes that wait for nothing any more; return their ids."""
        finished: list[str] = []
        waiting = sorted(set(change_ids))
        for start in range(0, len(waiting), CHUNK):
            finished += self._finish(waiting[start : start + CHUNK], tell)
        return finished

    def sweep_tombstones(self, refs: Iterable[Ref]) -> list[Ref]:
        """Remove the tombstones among ``refs`` that are applied on all their nodes, and what they claimed.

        A tenant's stays for as long as anything is left that it owns: its name and numbers are not free before.
        """
        buried: list[Ref] = []
        owners: set[Ref] = set()
        self.kept.forget()
        table = self.tables.resource
        rows = rows_of(table, refs, table.life == Life.ABSENT.value)
        for resource in sorted(rows, key=lambda row: row["kind"] == TENANT):
            ref = ref_of(resource)
            targets = rows_of(self.tables.target, [ref])
            if not self._may_be_buried(ref, targets):
                continue
            self._note_former(ref, targets)
            self.tables.claim.delete().where(matches(self.tables.claim, ref)).execute()
            table.delete().where(matches(table, ref)).execute()
            self._end_waiting(ref)
            buried.append(ref)
            if ref.kind != TENANT and resource["tenant"] is not None:
                owners.add(Ref(TENANT, resource["tenant"]))
        return buried + (self.sweep_tombstones(owners) if owners else [])

    def _may_be_buried(self, ref: Ref, targets: list[Row]) -> bool:
        owned = self.tables.resource
        if ref.kind == TENANT and len(list(owned.select(owned.name).where(owned.tenant == ref.name).limit(2))) > 1:
            return False
        return all(row["applied"] >= row["wanted"] and row["applied_life"] == Life.ABSENT.value for row in targets)

    def _end_waiting(self, ref: Ref) -> None:
        """Finish the changes that still wait for a resource that is gone: its removal replaced what they asked for."""
        table = self.tables.change_target
        mine = matches(table, ref) & (table.status == ChangeStatus.PENDING.value)
        waiting = {row["change"] for row in table.select(table.change).where(mine)}
        table.update(status=ChangeStatus.SUCCEEDED.value, reason="").where(mine).execute()
        self.finish_changes(waiting)

    def _note_former(self, ref: Ref, targets: list[Row]) -> None:
        table = self.tables.former
        table.delete().where(matches(table, ref)).execute()
        key = {"kind": ref.kind, "name": ref.name}
        insert_all(table, [{**key, "node": row["node"], "revision": row["wanted"]} for row in targets])

    def _tied(self) -> list[Row]:
        table = self.tables.target
        refs = self.touched | {ref for ref, _ in self.bumped}
        return [
            row
            for row in rows_of(table, refs, table.applied < table.wanted)
            if ref_of(row) in self.touched or (ref_of(row), row["node"]) in self.bumped
        ]

    def _finish(self, change_ids: list[str], tell: bool) -> list[str]:
        changes, targets = self.tables.change, self.tables.change_target
        outcomes: dict[str, list[Row]] = {}
        order = (targets.kind, targets.name, targets.node)
        for row in targets.select().where(targets.change.in_(change_ids)).order_by(*order):
            outcomes.setdefault(row["change"], []).append(row)
        open_ = changes.id.in_(change_ids) & changes.finished.is_null()
        finished = []
        for change in list(changes.select().where(open_).order_by(changes.id)):
            values = _verdict(outcomes.get(change["id"], []))
            if values is None:
                continue
            changes.update(**values).where(changes.id == change["id"]).execute()
            finished.append(change["id"])
            if tell:
                self._tell_finished(change | values)
        return finished

    def _tie(self, change_id: str, row: Row) -> Row:
        refused = row["failed"] >= row["wanted"]
        return {
            "change": change_id,
            "kind": row["kind"],
            "name": row["name"],
            "node": row["node"],
            "revision": row["wanted"],
            "status": (ChangeStatus.FAILED if refused else ChangeStatus.PENDING).value,
            "reason": unchanged(row["reason"]) if refused else "",
        }

    def _tell_finished(self, change: Row) -> None:
        data = {name: change[name] for name in ("operation", "status", "reason")}
        self.add_event(
            "change.finished",
            {"change": change["id"], **data},
            tenant=change["tenant"],
            correlation=change["correlation"],
        )


def _verdict(outcomes: list[Row]) -> Row | None:
    """Return what a change becomes by the outcomes of its targets, or None while one of them waits."""
    statuses = {row["status"] for row in outcomes}
    if ChangeStatus.PENDING.value in statuses:
        return None
    status = ChangeStatus.FAILED if ChangeStatus.FAILED.value in statuses else ChangeStatus.SUCCEEDED
    return {"status": status.value, "reason": reason_of(outcomes), "finished": now_text()}
