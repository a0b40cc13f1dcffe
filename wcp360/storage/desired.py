"""Desired state: resources, what their nodes shall have, claims on host names and counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wcp360.core.errors import Conflict, NotFound
from wcp360.core.ports import Claim, Target
from wcp360.core.resources import Life, Ref, Resource, RoleItem, Spec
from wcp360.core.settle import TENANT
from wcp360.core.views import ChangeStatus, ResourceOutcome
from wcp360.storage.encode import from_text, items_from_text, items_to_text, to_text
from wcp360.storage.part import ASKED, Part, matches, ref_of, rows_of
from wcp360.storage.tables import CHUNK, UNRANKED, Row, Tables, fetch
from wcp360.storage.times import now_text

WAITING = "still waits: "

# How an empty list of items is stored.
NO_ITEMS = items_to_text(())


class DesiredPart(Part):
    """The part of a transaction that operations read and write."""

    def __init__(self, tables: Tables, *, writable: bool) -> None:
        super().__init__(tables, writable=writable)
        # Targets that got a new revision in this transaction: a second call must not count another one.
        self.bumped: set[tuple[Ref, str]] = set()
        # Names that were looked for in this transaction, and that nobody holds.
        self._free: set[str] = set()
        # Previews that were to be applied exactly, and now are not what is wanted any more.
        self.overtaken: set[tuple[str, Ref, str]] = set()

    def find(self, ref: Ref) -> Resource | None:
        """Return the resource, tombstones included, or None."""
        row = self.kept.resource(ref)
        return None if row is None else _resource_of(row, self.kept.targets(ref))

    def get(self, ref: Ref) -> Resource:
        """Return the resource; raise NotFound where it does not exist or is being removed."""
        resource = self.known(ref)
        if resource.life is Life.ABSENT:
            raise NotFound(f"The {ref.kind} {ref.name!r} is being removed.")
        return resource

    def known(self, ref: Ref) -> Resource:
        """Return the resource, also while it is being removed; raise NotFound where there is none."""
        resource = self.find(ref)
        if resource is None:
            raise NotFound(f"There is no {ref.kind} {ref.name!r}. Check the name.")
        return resource

    def of_tenant(self, tenant: str) -> list[Resource]:
        """Return everything that a tenant owns (itself included), tombstones included."""
        if self.kept.was_born(Ref(TENANT, tenant)):
            known = (self.kept.resource(ref) for ref in sorted(self.kept.known_of(tenant)))
            return self._resources([row for row in known if row is not None])
        self.kept.flush()
        rows = fetch(self.tables.resource, '"tenant" = ? ORDER BY "kind", "name"', [tenant])
        return self._resources(self.kept.learn(rows))

    def owns(self, tenant: str, kind: str, test: Callable[[Resource], bool]) -> bool:
        """Tell whether a tenant owns a resource of a kind that passes a test; looks at no more than it has to."""
        known = [ref for ref in self.kept.known_of(tenant) if ref.kind == kind]
        if any(resource is not None and test(resource) for resource in map(self.find, known)):
            return True
        if self.kept.was_born(Ref(TENANT, tenant)):
            return False
        self.kept.flush()
        after, size = "", 8
        while True:
            condition = '"tenant" = ? AND "kind" = ? AND "name" > ? ORDER BY "name" LIMIT ?'
            rows = fetch(self.tables.resource, condition, [tenant, kind, after, size])
            if any(test(resource) for resource in self._resources(self.kept.learn(rows))):
                return True
            if len(rows) < size:
                return False
            after, size = rows[-1]["name"], min(size * 8, CHUNK)

    def expect(self, refs: Iterable[Ref]) -> None:
        """Read what is there of many resources at once, because each of them will be asked for."""
        self.kept.load(refs)

    def put(
        self, ref: Ref, spec: Spec, *, tenant: str | None = None, life: Life = Life.PRESENT, purge: bool = False
    ) -> Resource:
        """Write a resource and mark it touched. A tenant belongs to itself.

        Raises Conflict ``tenant_fixed`` where an existing resource would get another tenant.
        """
        self._writing()
        tenant = ref.name if ref.kind == TENANT else tenant
        values = {"life": life.value, "spec": to_text(spec.model_dump(mode="json")), "purge": int(purge)}
        row, now = self.kept.resource(ref), now_text()
        if row is None:
            fresh = {"kind": ref.kind, "name": ref.name, "tenant": tenant, "created": now, "updated": now}
            self.kept.add_resource(fresh | values)
        elif tenant not in (None, row["tenant"]):
            # Whose it is concerns only its owner.
            raise Conflict(f"{ref} belongs to another tenant and cannot be given away.", code="tenant_fixed")
        elif any(row[name] != value for name, value in values.items()):
            self.kept.change_resource(ref, {"updated": now, **values})
        self.touched.add(ref)
        written = self.find(ref)
        assert written is not None, ref  # noqa: S101 - it was written two lines above
        return written

    def bury(self, ref: Ref, *, purge: bool) -> None:
        """Turn a resource into a tombstone and mark it touched. Raises NotFound.

        A tombstone stays as it is, but where a node has refused it, it is tried again.
        """
        self._writing()
        row = self.kept.resource(ref)
        if row is None:
            raise NotFound(f"There is no {ref.kind} {ref.name!r}. Check the name.")
        if row["life"] != Life.ABSENT.value:
            values = {"life": Life.ABSENT.value, "purge": int(purge), "updated": now_text()}
            self.kept.change_resource(ref, values)
        else:
            for target in self.kept.targets(ref):
                if target["applied"] < target["wanted"] <= target["failed"]:
                    self._bump(target, {"attempts": 0})
        self.touched.add(ref)

    def outcomes(self, ref: Ref) -> list[ResourceOutcome]:
        """Return how far the resource has come on each of its nodes."""
        return [outcome_of(row) for row in self.kept.targets(ref)]

    def facts(self, ref: Ref) -> dict[str, Any]:
        """Return what the last runs learned about the resource, of all its nodes together."""
        facts: dict[str, Any] = {}
        for row in self.kept.targets(ref):
            facts |= from_text(row["facts"])
        return facts

    def retry(self, ref: Ref) -> None:
        """Ask for the resource to be applied again, although its content is unchanged, and mark it touched."""
        self._writing()
        for row in self.kept.targets(ref):
            self._bump(row, {"attempts": 0})
        self.touched.add(ref)

    def want(
        self, ref: Ref, items: tuple[RoleItem, ...], nodes: tuple[str, ...], depends: Mapping[str, tuple[Ref, ...]]
    ) -> None:
        """Store what the nodes of a resource shall have; counts the revision up only where it differs.

        Raises Conflict ``placement_fixed`` where a node would drop out that has, or was to have, something of it.
        """
        self._writing()
        resource = self.kept.resource(ref)
        if resource is None:
            raise NotFound(f"There is no {ref.kind} {ref.name!r}. Check the name.")
        stored = {row["node"]: row for row in self.kept.targets(ref)}
        gone = sorted(set(stored) - set(nodes))
        if any(stored[node]["items"] != NO_ITEMS or stored[node]["applied_items"] != NO_ITEMS for node in gone):
            raise Conflict(f"{ref} is on {', '.join(gone)} and cannot be moved away yet.", code="placement_fixed")
        for node in gone:
            self.kept.drop_target(stored[node])
        wanted = {"life": resource["life"], "purge": resource["purge"], "items": items_to_text(items)}
        for node in nodes:
            content = wanted | {"depends": to_text(sorted({str(other) for other in depends.get(node, ())}))}
            if node not in stored:
                self._add_target(resource, node, content)
            elif any(stored[node][name] != value for name, value in content.items()):
                self._bump(stored[node], content)

    def claim(self, owner: Ref, tenant: str, hostnames: Iterable[str]) -> None:
        """Replace the host names that ``owner`` holds. Raises Conflict ``hostname_taken``.

        A name that it gives up is free when its nodes have let go of it: until then its site answers there.
        """
        self._writing()
        names = set(hostnames)
        self.kept.drop_claims(owner)
        held = set() if self.kept.was_born(owner) else self._hold(owner, names)
        wanted = sorted(names - held)
        for row in self._claimed([name for name in wanted if name not in self._free]):
            raise Conflict(f"{row['hostname']} is in use already; choose another name.", code="hostname_taken")
        of = {"kind": owner.kind, "name": owner.name, "tenant": tenant, "leaving": 0}
        for name in wanted:
            self.kept.add_claim({"hostname": name, "reversed": _reversed(name), **of})
        self._free -= names

    def _hold(self, owner: Ref, names: set[str]) -> set[str]:
        """Mark which of the owner's names leave; return those that stay."""
        table = self.tables.claim
        rows = fetch(table, '"kind" = ? AND "name" = ?', [owner.kind, owner.name])
        for row in rows:
            leaving = int(row["hostname"] not in names)
            if row["leaving"] != leaving:
                table.update(leaving=leaving).where(table.hostname == row["hostname"]).execute()
        return {row["hostname"] for row in rows} & names

    def _claimed(self, names: list[str]) -> list[Row]:
        if not names:
            return []
        marks = ", ".join("?" * len(names))
        return self.kept.claims(names) or fetch(self.tables.claim, f'"hostname" IN ({marks})', names)

    def claims_near(self, hostname: str) -> list[Claim]:
        """Return the claims on ``hostname``, on names above it and on names below it."""
        labels = hostname.split(".")
        above = [".".join(labels[start:]) for start in range(len(labels))]
        first = _reversed(hostname)
        # "/" follows "." in ASCII, so this range holds exactly the texts that begin with ``first``.
        end = first[:-1] + "/"
        marks = ", ".join("?" * len(above))
        condition = f'"hostname" IN ({marks}) OR ("reversed" >= ? AND "reversed" < ?)'
        rows = fetch(self.tables.claim, condition, [*above, first, end]) + self.kept.claims(above, first, end)
        rows.sort(key=lambda row: str(row["reversed"]))
        if all(row["hostname"] != hostname for row in rows):
            self._free.add(hostname)
        return [Claim(row["hostname"], ref_of(row), row["tenant"], leaving=bool(row["leaving"])) for row in rows]

    def release_claims(self, refs: Iterable[Ref]) -> None:
        """Free the names that ``refs`` have given up, where all their nodes are as they shall be."""
        table, targets = self.tables.claim, self.tables.target
        leaving = {ref_of(row) for row in rows_of(table, refs, table.leaving == 1)}
        late = {ref_of(row) for row in rows_of(targets, leaving, targets.applied < targets.wanted)}
        for ref in sorted(leaving - late):
            table.delete().where(matches(table, ref) & (table.leaving == 1)).execute()

    def allocate(self, counter: str, first: int, last: int) -> int:
        """Return the next number of a counter that never goes back; raise Conflict ``exhausted`` past ``last``."""
        self._writing()
        before = self._count(counter)
        value = first if before is None else max(before + 1, first)
        if value > last:
            raise Conflict(f"All numbers of {counter!r} from {first} to {last} are used up.", code="exhausted")
        self.kept.set_counter(counter, value)
        return value

    def targets(
        self, nodes: Iterable[str] | None = None, *, refs: Iterable[Ref] | None = None, pending: bool = False
    ) -> list[Target]:
        """Return the targets on the given nodes (all where None), in the order in which they were asked for."""
        self.kept.flush()
        table = self.tables.target
        conditions = [table.node.in_(sorted(nodes))] if nodes is not None else []
        if pending:
            conditions.append(is_pending(table))
        if refs is not None:
            rows = rows_of(table, refs, *conditions)
        else:
            rows = list(table.select().where(*conditions) if conditions else table.select())
        rows.sort(key=lambda row: (row["asked"], row["kind"], row["name"], row["node"]))
        return [target_of(row) for row in rows]

    def revisions_before(self, refs: Iterable[Ref]) -> dict[str, int]:
        """Return which revision of each of ``refs`` its nodes were to have before this transaction."""
        return {
            f"{ref} on {row['node']}": row["wanted"] - ((ref, row["node"]) in self.bumped)
            for ref in refs
            for row in self.kept.targets(ref)
            if not self.kept.was_born(ref)
        }

    def _resources(self, rows: list[Row]) -> list[Resource]:
        self.kept.load_targets(map(ref_of, rows))
        return [_resource_of(row, self.kept.targets(ref_of(row))) for row in rows]

    def _add_target(self, resource: Row, node: str, content: Row) -> None:
        ref = ref_of(resource)
        row = dict(
            kind=ref.kind,
            name=ref.name,
            node=node,
            tenant=resource["tenant"],
            wanted=1,
            applied=0,
            failed=0,
            applied_items="[]",
            applied_life=Life.ABSENT.value,
            reason="",
            attempts=0,
            retry_at=None,
            facts="{}",
            asked=self._next(ASKED),
            bulk=UNRANKED,
            turn=0,
            asked_by="",
            preview="",
            **content,
        )
        self.kept.add_target(row)
        self.bumped.add((ref, node))

    def _bump(self, row: Row, content: Row) -> None:
        ref, node = ref_of(row), row["node"]
        values = dict(content)
        if (ref, node) not in self.bumped:
            # What is new is tried at once, even on a node that is being left alone for a while.
            values |= {"wanted": row["wanted"] + 1, "asked": self._next(ASKED), "retry_at": None, "reason": ""}
            if not waits(row):
                values["bulk"] = UNRANKED
            if row["preview"]:
                self.overtaken.add((row["preview"], ref, node))
                values["preview"] = ""
            self.bumped.add((ref, node))
        self.kept.change_target(row, values)


def is_pending(table: Any) -> Any:
    """Return the condition of ``Target.pending``."""
    return (table.applied < table.wanted) & (table.failed < table.wanted)


def waits(row: Row) -> bool:
    """Tell whether the target in a row is pending."""
    return bool(row["applied"] < row["wanted"] and row["failed"] < row["wanted"])


def target_of(row: Row) -> Target:
    """Return the target in a row."""
    return Target(
        ref=ref_of(row),
        node=row["node"],
        tenant=row["tenant"],
        life=Life(row["life"]),
        wanted=row["wanted"],
        applied=row["applied"],
        failed=row["failed"],
        items=items_from_text(row["items"]),
        applied_items=items_from_text(row["applied_items"]),
        depends=tuple(Ref.parse(text) for text in from_text(row["depends"])),
        reason=row["reason"],
        attempts=row["attempts"],
        bulk=bool(row["bulk"]),
        preview=row["preview"],
    )


def outcome_of(row: Row) -> ResourceOutcome:
    """Return how far the target in a row has come."""
    status, reason = ChangeStatus.PENDING, row["reason"]
    if row["applied"] >= row["wanted"]:
        status, reason = ChangeStatus.SUCCEEDED, ""
    elif row["failed"] >= row["wanted"]:
        status = ChangeStatus.FAILED
    elif reason:
        reason = WAITING + reason
    return ResourceOutcome(
        resource=str(ref_of(row)), node=row["node"], revision=row["wanted"], status=status, reason=reason
    )


def _resource_of(row: Row, targets: list[Row]) -> Resource:
    return Resource(
        ref=ref_of(row),
        tenant=row["tenant"],
        life=Life(row["life"]),
        spec=from_text(row["spec"]),
        revision=max((target["wanted"] for target in targets), default=0),
        nodes=tuple(target["node"] for target in targets),
        created=row["created"],
        updated=row["updated"],
        purge=bool(row["purge"]),
    )


def _reversed(hostname: str) -> str:
    return ".".join(reversed(hostname.split("."))) + "."
