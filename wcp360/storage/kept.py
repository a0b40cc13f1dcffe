"""What a transaction has read and written of resources, targets and counters, so that it asks and writes little.

Nobody else writes while a transaction does, and a reader has a snapshot: what was read once stays true. What is written
goes out together, as few statements, before anything is asked that is not answered from here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from wcp360.core.resources import Ref
from wcp360.storage.rows import matches, ref_of, rows_of
from wcp360.storage.tables import Row, Tables, fetch, insert_all


class Kept:
    """The rows; they are changed only by the methods here."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._resources: dict[Ref, Row | None] = {}
        self._targets: dict[Ref, dict[str, Row]] = {}
        self._of_tenant: dict[str, set[Ref]] = {}
        self._counters: dict[str, int | None] = {}
        self._claims: dict[str, Row] = {}
        self._claim_order: list[tuple[str, str]] = []
        self._born: set[Ref] = set()
        self._new: set[Ref] = set()
        self._changed: dict[Ref, set[str]] = {}
        self._new_targets: dict[tuple[Ref, str], Row] = {}
        self._changed_targets: dict[tuple[Ref, str], set[str]] = {}
        self._changed_counters: set[str] = set()

    def resource(self, ref: Ref) -> Row | None:
        """Return the row of a resource, or None."""
        if ref not in self._resources:
            rows = fetch(self._tables.resource, '"kind" = ? AND "name" = ?', [ref.kind, ref.name])
            self._note(ref, rows[0] if rows else None)
        return self._resources[ref]

    def load(self, refs: Iterable[Ref]) -> None:
        """Read the rows of many resources at once."""
        unknown = {ref for ref in refs if ref not in self._resources}
        found = {ref_of(row): row for row in rows_of(self._tables.resource, unknown)}
        for ref in unknown:
            self._note(ref, found.get(ref))
        self.load_targets(ref for ref in unknown if ref in found)

    def load_targets(self, refs: Iterable[Ref]) -> None:
        """Read the targets of many resources at once."""
        unknown = {ref for ref in refs if ref not in self._targets}
        if not unknown:
            return
        self.flush()
        for ref in unknown:
            self._targets[ref] = {}
        for row in rows_of(self._tables.target, unknown):
            self._targets[ref_of(row)][row["node"]] = row

    def known_of(self, tenant: str) -> set[Ref]:
        """Return those of a tenant's resources that are known here; there may be more."""
        return self._of_tenant.get(tenant, set())

    def learn(self, rows: Iterable[Row]) -> list[Row]:
        """Take rows in that were asked for past here (after ``flush``); return what is known of them."""
        known = []
        for row in rows:
            ref = ref_of(row)
            if self._resources.get(ref) is None:
                self._note(ref, row)
            known.append(self._resources[ref] or row)
        return known

    def add_resource(self, row: Row) -> None:
        """Write a new resource; it has no targets yet."""
        ref = ref_of(row)
        self._note(ref, row)
        self._new.add(ref)
        self._born.add(ref)
        self._targets[ref] = {}

    def change_resource(self, ref: Ref, values: Row) -> None:
        """Write columns of a resource that exists."""
        row = self.resource(ref)
        assert row is not None, ref  # noqa: S101 - callers have looked
        row.update(values)
        if ref not in self._new:
            self._changed.setdefault(ref, set()).update(values)

    def targets(self, ref: Ref) -> list[Row]:
        """Return the rows of a resource's targets, by node."""
        self.load_targets([ref])
        return [row for _, row in sorted(self._targets[ref].items())]

    def add_target(self, row: Row) -> None:
        """Write a new target."""
        ref = ref_of(row)
        self._targets.setdefault(ref, {})[row["node"]] = row
        self._new_targets[ref, row["node"]] = row

    def change_target(self, row: Row, values: Row) -> None:
        """Write columns of a target that ``targets`` returned."""
        row.update(values)
        key = (ref_of(row), row["node"])
        if key not in self._new_targets:
            self._changed_targets.setdefault(key, set()).update(values)

    def drop_target(self, row: Row) -> None:
        """Remove a target that ``targets`` returned."""
        self.flush()
        ref, table = ref_of(row), self._tables.target
        table.delete().where(matches(table, ref) & (table.node == row["node"])).execute()
        self._targets[ref].pop(row["node"])

    def counter(self, name: str) -> int | None:
        """Return the value of a counter."""
        if name not in self._counters:
            rows = fetch(self._tables.counter, '"name" = ?', [name])
            self._counters[name] = int(rows[0]["value"]) if rows else None
        return self._counters[name]

    def set_counter(self, name: str, value: int) -> None:
        """Write a counter."""
        self._counters[name] = value
        self._changed_counters.add(name)

    def was_born(self, ref: Ref) -> bool:
        """Tell whether a resource was made in this transaction: what belongs to it is all known here."""
        return ref in self._born

    def add_claim(self, row: Row) -> None:
        """Write a claim on a host name."""
        self._claims[row["hostname"]] = row
        insort(self._claim_order, (row["reversed"], row["hostname"]))

    def drop_claims(self, owner: Ref) -> None:
        """Take claims of ``owner`` back that are not written yet."""
        mine = [row for row in self._claims.values() if ref_of(row) == owner]
        for row in mine:
            del self._claims[row["hostname"]]
            self._claim_order.remove((row["reversed"], row["hostname"]))

    def claims(self, hostnames: Iterable[str], first: str = "", end: str = "") -> list[Row]:
        """Return unwritten claims: on ``hostnames``, and those with reversed names from ``first`` up to ``end``."""
        order = self._claim_order
        found = {name for name in hostnames if name in self._claims}
        found |= {name for _, name in order[bisect_left(order, (first,)) : bisect_left(order, (end,))]}
        return [self._claims[name] for name in sorted(found)]

    def flush(self) -> None:
        """Write what waits here."""
        tables = self._tables
        if self._new:
            insert_all(tables.resource, [self._resources[ref] or {} for ref in sorted(self._new)])
            self._new.clear()
        for ref, names in self._changed.items():
            row = self._resources[ref] or {}
            tables.resource.update(**{name: row[name] for name in names}).where(matches(tables.resource, ref)).execute()
        self._changed.clear()
        if self._new_targets:
            self._go_on_counting()
            insert_all(tables.target, list(self._new_targets.values()))
            self._new_targets.clear()
        for (ref, node), names in self._changed_targets.items():
            row = self._targets[ref][node]
            this = matches(tables.target, ref) & (tables.target.node == node)
            tables.target.update(**{name: row[name] for name in names}).where(this).execute()
        self._changed_targets.clear()
        insert_all(tables.claim, list(self._claims.values()))
        self._claims.clear()
        self._claim_order.clear()

    def flush_counters(self) -> None:
        """Write the counters; nothing but this class reads them, so that the end of the transaction is enough."""
        table = self._tables.counter
        for name in sorted(self._changed_counters):
            value = self._counters[name]
            table.insert(name=name, value=value).on_conflict(
                conflict_target=[table.name], update={table.value: value}
            ).execute()
        self._changed_counters.clear()

    def forget(self) -> None:
        """Write, and read anew what is asked next: others write these tables past here from now on."""
        self.flush()
        self._resources.clear()
        self._targets.clear()
        self._of_tenant.clear()
        self._born.clear()

    def _note(self, ref: Ref, row: Row | None) -> None:
        self._resources[ref] = row
        if row is not None and row["tenant"] is not None:
            self._of_tenant.setdefault(row["tenant"], set()).add(ref)

    def _go_on_counting(self) -> None:
        """Let the revisions of a name go on where they ended, so that an old preview is known as such."""
        former = self._tables.former
        for row in rows_of(former, {ref for ref, _ in self._new_targets}):
            target = self._new_targets.get((ref_of(row), row["node"]))
            if target is not None:
                target["wanted"] += row["revision"]
