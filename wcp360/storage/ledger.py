"""The engine's book: what waits, which run does it, and what came of every target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wcp360.core.ids import new_id
from wcp360.core.needs import is_for_want
from wcp360.core.ports import Target, TargetOutcome, TargetStatus
from wcp360.core.resources import Ref, RoleItem
from wcp360.core.views import ChangeStatus, PredictedItem, RecordStatus
from wcp360.storage.applying import Applying
from wcp360.storage.desired import WAITING, target_of
from wcp360.storage.encode import from_text, items_to_text, to_text
from wcp360.storage.part import matches, ref_of, rows_of
from wcp360.storage.previews import RUNNING, Previews
from wcp360.storage.store import SqlStore
from wcp360.storage.tables import CHUNK, Row, insert_all
from wcp360.storage.times import now_text
from wcp360.storage.unit import Unit
from wcp360.storage.waiting import is_due


class Ledger(Previews, Applying):
    """Reads pending targets and records runs; every method is a short transaction of its own.

    A target that was interrupted is due again after ``retry`` seconds, twice that the next time, and so on up to
    ``retry_max`` seconds.
    """

    def __init__(self, store: SqlStore, retry: float = 5, retry_max: float = 300) -> None:
        super().__init__(store)
        self._retry, self._retry_max = retry, retry_max

    def pending(self, node: str | None = None, now: str | None = None) -> list[Target]:
        """Return the pending targets that are due, in the order in which they were asked for."""
        with self._store.read() as unit:
            table = unit.tables.target
            query = table.select().where(is_due(table, now))
            if node is not None:
                query = query.where(table.node == node)
            return [target_of(row) for row in query.order_by(table.asked, table.kind, table.name)]

    def pending_nodes(self, now: str | None = None) -> list[str]:
        """Return the nodes on which targets are due."""
        with self._store.read() as unit:
            table = unit.tables.target
            query = table.select(table.node).where(is_due(table, now))
            return [row["node"] for row in query.distinct().order_by(table.node)]

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
        """Open a run and return its id.

        A real run keeps what ``targets`` held when they were compiled, so that exactly this counts as applied later,
        whatever was asked for meanwhile. What it tries for the first time may be on the node from now on, however it
        ends. A check run has no targets, and ``resources`` names what it is about.
        """
        run_id = new_id()
        row = {
            "id": run_id,
            "node": node,
            "is_check": int(check),
            "preview": preview_id,
            "status": RUNNING,
            "reason": "",
            "resources": to_text([*resources, *(str(target.ref) for target in targets)]),
            "items": "[]",
            "correlation": correlation,
            "created": now_text(),
            "finished": None,
        }
        with self._store.write() as unit:
            unit.tables.run.insert(**row).execute()
            insert_all(unit.tables.run_target, [_run_target(run_id, target) for target in targets])
            _note_attempts(unit, node, targets)
            _link_changes(unit, run_id, node, targets)
            data = {"run": run_id, "node": node, "check": check}
            unit.add_event("run.started", data, correlation=correlation)
        return run_id

    def record(self, run_id: str, outcomes: Iterable[TargetOutcome]) -> list[str]:
        """Record what a run did to its targets; return the changes that are finished by it.

        Raises ValueError for a target or revision that the run did not have and for a run that is closed: another
        engine has taken its work over. Raises NotFound for an unknown run.
        """
        with self._store.write() as unit:
            return self._record(unit, run_id, list(outcomes))

    def conclude(
        self,
        run_id: str,
        outcomes: Iterable[TargetOutcome],
        status: RecordStatus,
        reason: str,
        items: Sequence[PredictedItem],
    ) -> list[str]:
        """Do ``record`` and ``finish_run`` in one transaction, so that nobody sees the one without the other."""
        with self._store.write() as unit:
            finished = self._record(unit, run_id, list(outcomes))
            _finish_run(unit, run_id, status, reason, [item.model_dump(mode="json") for item in items])
            return finished

    def _record(self, unit: Unit, run_id: str, outcomes: list[TargetOutcome]) -> list[str]:
        run = unit.run(run_id)
        if run.finished is not None:
            raise ValueError(f"Run {run_id} is closed already; what it did is not counted.")
        table = unit.tables.run_target
        carried = {ref_of(row): row for row in table.select().where(table.run == run_id)}
        for outcome in outcomes:
            entry = carried.get(outcome.ref)
            if entry is None or entry["revision"] != outcome.revision:
                raise ValueError(f"Run {run_id} did not carry {outcome.ref} at revision {outcome.revision}.")
        refs = self._settle(unit, run.node, outcomes, carried)
        _mark_recorded(unit, run_id, refs)
        _revive(unit, run.node, [each.ref for each in outcomes if each.status == TargetStatus.APPLIED])
        return _close(unit, run.node, refs)

    def refuse(self, node: str, outcomes: Iterable[TargetOutcome]) -> list[str]:
        """Record outcomes of targets that no run took up; return the changes that are finished by it.

        Raises ValueError for APPLIED: only a run applies.
        """
        with self._store.write() as unit:
            return self.refused(unit, node, list(outcomes))

    def refused(self, unit: Unit, node: str, outcomes: list[TargetOutcome]) -> list[str]:
        """Do what ``refuse`` does within a transaction."""
        return _close(unit, node, self._settle(unit, node, outcomes, {}))

    def finish_run(self, run_id: str, status: RecordStatus, reason: str, items: Sequence[PredictedItem]) -> None:
        """Close a run. Raises NotFound."""
        with self._store.write() as unit:
            unit.run(run_id)
            _finish_run(unit, run_id, status, reason, [item.model_dump(mode="json") for item in items])

    def abandon_runs(self, node: str, reason: str) -> list[str]:
        """Close the real runs that a dead engine left open on a node, and have their targets tried again.

        Only the holder of the node's lease may call this: to anybody else an open run may be a living one.
        """
        with self._store.write() as unit:
            table = unit.tables.run
            left = (table.node == node) & (table.status == RUNNING) & (table.is_check == 0)
            runs = [row["id"] for row in table.select(table.id).where(left).order_by(table.id)]
            for run_id in runs:
                self._abandon(unit, node, run_id, reason)
            return runs

    def last_run(self, node: str) -> str | None:
        """Return the newest finished real run on a node; another answer than before means that the node moved."""
        with self._store.read() as unit:
            table = unit.tables.run
            finished = (table.node == node) & (table.is_check == 0) & table.finished.is_null(False)
            row = table.select(table.id).where(finished).order_by(table.finished.desc(), table.id.desc()).first()
        return None if row is None else str(row["id"])

    def event(self, type_: str, data: dict[str, Any], *, tenant: str | None = None, correlation: str = "") -> None:
        """Append one event."""
        with self._store.write() as unit:
            unit.add_event(type_, data, tenant=tenant, correlation=correlation)

    def _abandon(self, unit: Unit, node: str, run_id: str, reason: str) -> None:
        table = unit.tables.run_target
        left = list(table.select().where((table.run == run_id) & (table.recorded == 0)))
        outcomes = [TargetOutcome(ref_of(row), row["revision"], TargetStatus.INTERRUPTED, reason) for row in left]
        refs = self._settle(unit, node, outcomes, {})
        _mark_recorded(unit, run_id, refs)
        _close(unit, node, refs)
        _finish_run(unit, run_id, RecordStatus.FAILED, reason, [])

    def _settle(
        self, unit: Unit, node: str, outcomes: Sequence[TargetOutcome], carried: Mapping[Ref, Row]
    ) -> list[Ref]:
        table = unit.tables.target
        refs = [outcome.ref for outcome in outcomes]
        rows = {ref_of(row): row for row in rows_of(table, refs, table.node == node)}
        for outcome in outcomes:
            row = rows.get(outcome.ref)
            if row is None:
                continue  # a node with nothing on it is gone as soon as that is asked for, also during its own run
            values = self._values(row, outcome, carried.get(outcome.ref))
            if outcome.facts is not None:
                values["facts"] = to_text(from_text(row["facts"]) | outcome.facts)
            if values:
                table.update(**values).where(matches(table, outcome.ref) & (table.node == node)).execute()
        return refs

    def _values(self, row: Row, outcome: TargetOutcome, carried: Row | None) -> Row:
        settled = {"attempts": 0, "retry_at": None} | ({"preview": ""} if outcome.revision >= row["wanted"] else {})
        if outcome.status is TargetStatus.APPLIED:
            if carried is None:
                raise ValueError(f"{outcome.ref} cannot be applied without a run.")
            if outcome.revision <= row["applied"]:
                return {}
            content = {"applied_items": carried["items"], "applied_life": carried["life"]}
            return settled | content | {"applied": outcome.revision, "reason": ""}
        if outcome.status is TargetStatus.FAILED:
            return settled | {"failed": max(outcome.revision, row["failed"]), "reason": outcome.reason}
        if max(row["applied"], row["failed"]) >= row["wanted"]:
            return {}
        attempts = row["attempts"] + 1
        pause = min(self._retry * 2 ** min(attempts - 1, 32), self._retry_max)
        return {"attempts": attempts, "retry_at": now_text(pause), "reason": outcome.reason}


def _run_target(run_id: str, target: Target) -> Row:
    return {
        "run": run_id,
        "kind": target.ref.kind,
        "name": target.ref.name,
        "revision": target.wanted,
        "life": target.life.value,
        "items": items_to_text(target.items),
        "recorded": 0,
    }


def _note_attempts(unit: Unit, node: str, targets: Sequence[Target]) -> None:
    """Add what the run tries to what may be on the node, or a killed run's leavings could never be taken away."""
    table = unit.tables.target
    for target in targets:
        known = {_role_key(item) for item in target.applied_items}
        fresh = tuple(item for item in target.items if _role_key(item) not in known)
        if fresh:
            this = matches(table, target.ref) & (table.node == node)
            table.update(applied_items=items_to_text(target.applied_items + fresh)).where(this).execute()


def _role_key(item: RoleItem) -> tuple[str, Any]:
    return item.variable, item.value.get("name")


def _link_changes(unit: Unit, run_id: str, node: str, targets: Sequence[Target]) -> None:
    carried = {target.ref: target.wanted for target in targets}
    changes = {row["change"] for row in _waiting(unit, node, carried) if row["revision"] <= carried[ref_of(row)]}
    insert_all(unit.tables.run_change, [{"run": run_id, "change": change} for change in sorted(changes)])


def _waiting(unit: Unit, node: str, refs: Iterable[Ref]) -> list[Row]:
    table = unit.tables.change_target
    return rows_of(table, refs, (table.node == node) & (table.status == ChangeStatus.PENDING.value))


def _revive(unit: Unit, node: str, applied: Sequence[Ref]) -> None:
    """Try again what failed for want of something that is applied now; it was never refused itself."""
    table = unit.tables.target
    failed = (table.node == node) & (table.applied < table.wanted) & (table.failed >= table.wanted)
    rows = table.select(table.kind, table.name, table.depends, table.reason).where(failed)
    for row in list(rows):
        wanting = {Ref.parse(text) for text in from_text(row["depends"])} & set(applied)
        if any(is_for_want(row["reason"], ref) for ref in wanting):
            this = matches(table, ref_of(row)) & (table.node == node)
            table.update(failed=0, reason="", attempts=0, retry_at=None).where(this).execute()


def _mark_recorded(unit: Unit, run_id: str, refs: Sequence[Ref]) -> None:
    """Note what is recorded, and drop its content, which is with the target now: runs are kept long."""
    table = unit.tables.run_target
    for start in range(0, len(refs), CHUNK):
        some = refs[start : start + CHUNK]
        for kind in {ref.kind for ref in some}:
            names = [ref.name for ref in some if ref.kind == kind]
            these = (table.run == run_id) & (table.kind == kind) & table.name.in_(names)
            table.update(recorded=1, items="[]").where(these).execute()


def _close(unit: Unit, node: str, refs: Sequence[Ref]) -> list[str]:
    """Carry what became of targets over to the changes that wait for them; remove tombstones that are done."""
    targets = {ref_of(row): row for row in rows_of(unit.tables.target, refs, unit.tables.target.node == node)}
    waiting = _waiting(unit, node, refs)
    for row in waiting:
        if ref_of(row) in targets:
            _resolve(unit, row, targets[ref_of(row)])
    unit.sweep_tombstones(refs)
    unit.release_claims(refs)
    return unit.finish_changes(row["change"] for row in waiting)


def _resolve(unit: Unit, waiting: Row, target: Row) -> None:
    """A change's revision is done when that revision or a newer one, which replaces it, is applied or refused."""
    status, reason = ChangeStatus.PENDING, WAITING + target["reason"] if target["reason"] else ""
    if target["applied"] >= waiting["revision"]:
        status, reason = ChangeStatus.SUCCEEDED, ""
    elif target["failed"] >= waiting["revision"]:
        status, reason = ChangeStatus.FAILED, target["reason"]
    table = unit.tables.change_target
    this = (table.change == waiting["change"]) & matches(table, ref_of(waiting)) & (table.node == waiting["node"])
    table.update(status=status.value, reason=reason).where(this).execute()


def _finish_run(unit: Unit, run_id: str, status: RecordStatus, reason: str, items: list[Any]) -> None:
    table = unit.tables.run
    row = table.select().where(table.id == run_id).first()
    values = {"status": status.value, "reason": reason, "items": to_text(items), "finished": now_text()}
    table.update(**values).where(table.id == run_id).execute()
    data = {"run": run_id, "node": row["node"], "check": bool(row["is_check"]), "status": status.value}
    unit.add_event("run.finished", data | {"reason": reason}, correlation=row["correlation"])
