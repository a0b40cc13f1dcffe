"""Desired state: resources, what their nodes shall have, claims on host names and counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wcp360.core.errors import Conflict, NotFound
from wcp360.core.ports import Claim, Target
from wcp360.core.resources import Life, Ref, Resource, RoleItem, Spec
from wcp360.core.settle import TENANT
from wcp360.core.views import ChangeStatus, ResourceOutcome
from wcp360.storage.encode import from_text, items_from_text, items_to_text, to_text
from wcp360.storage.part import ASKED, Part, matches, ref_of, rows_of
from wcp360.storage.tables import Row, Tables
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

    def find(self, ref: Ref) -> Resource | None:
        """Return the resource, tombstones included, or None."""
        row = self._resource_row(ref)
        return None if row is None else self._resources([row])[0]

    def get(self, ref: Ref) -> Resource:
        """Return the resource; raise NotFound where it does not exist or is being removed."""
        resource = self.find(ref)
        if resource is None:
            raise NotFound(f"There is no {ref.kind} {ref.name!r}. Check the name.")
        if resource.life is Life.ABSENT:
            raise NotFound(f"The {ref.kind} {ref.name!r} is being removed.")
        return resource

    def of_tenant(self, tenant: str) -> list[Resource]:
        """Return everything that a tenant owns (itself included), tombstones included."""
        table = self.tables.resource
        return self._resources(list(table.select().where(table.tenant == tenant).order_by(table.kind, table.name)))

    def put(
        self, ref: Ref, spec: Spec, *, tenant: str | None = None, life: Life = Life.PRESENT, purge: bool = False
    ) -> Resource:
        """Write a resource and mark it touched. A tenant belongs to itself.

        Raises Conflict ``tenant_fixed`` where an existing resource would get another tenant.
        """
        self._writing()
        tenant = ref.name if ref.kind == TENANT else tenant
        values = {"life": life.value, "spec": to_text(spec.model_dump(mode="json")), "purge": int(purge)}
        row, now = self._resource_row(ref), now_text()
        table = self.tables.resource
        if row is None:
            table.insert(kind=ref.kind, name=ref.name, tenant=tenant, created=now, updated=now, **values).execute()
        elif tenant not in (None, row["tenant"]):
            # Whose it is concerns only its owner.
            raise Conflict(f"{ref} belongs to another tenant and cannot be given away.", code="tenant_fixed")
        elif any(row[name] != value for name, value in values.items()):
            table.update(updated=now, **values).where(matches(table, ref)).execute()
        self.touched.add(ref)
        written = self.find(ref)
        assert written is not None, ref  # noqa: S101 - it was written two lines above
        return written

    def bury(self, ref: Ref, *, purge: bool) -> None:
        """Turn a resource into a tombstone and mark it touched. Raises NotFound.

        A tombstone stays as it is, but where a node has refused it, it is tried again.
        """
        self._writing()
        row = self._resource_row(ref)
        if row is None:
            raise NotFound(f"There is no {ref.kind} {ref.name!r}. Check the name.")
        if row["life"] != Life.ABSENT.value:
            table = self.tables.resource
            values = {"life": Life.ABSENT.value, "purge": int(purge), "updated": now_text()}
            table.update(**values).where(matches(table, ref)).execute()
        else:
            for target in self._target_rows(ref):
                if target["applied"] < target["wanted"] <= target["failed"]:
                    self._bump(target, {"attempts": 0})
        self.touched.add(ref)

    def outcomes(self, ref: Ref) -> list[ResourceOutcome]:
        """Return how far the resource has come on each of its nodes."""
        return [outcome_of(row) for row in self._target_rows(ref)]

    def facts(self, ref: Ref) -> dict[str, Any]:
        """Return what the last runs learned about the resource, of all its nodes together."""
        facts: dict[str, Any] = {}
        for row in self._target_rows(ref):
            facts |= from_text(row["facts"])
        return facts

    def retry(self, ref: Ref) -> None:
        """Ask for the resource to be applied again, although its content is unchanged, and mark it touched."""
        self._writing()
        for row in self._target_rows(ref):
            self._bump(row, {"attempts": 0})
        self.touched.add(ref)

    def want(
        self, ref: Ref, items: tuple[RoleItem, ...], nodes: tuple[str, ...], depends: Mapping[str, tuple[Ref, ...]]
    ) -> None:
        """Store what the nodes of a resource shall have; counts the revision up only where it differs.

        Raises Conflict ``placement_fixed`` where a node would drop out that has, or was to have, something of it.
        """
        self._writing()
        resource = self._resource_row(ref)
        if resource is None:
            raise NotFound(f"There is no {ref.kind} {ref.name!r}. Check the name.")
        stored = {row["node"]: row for row in self._target_rows(ref)}
        gone = sorted(set(stored) - set(nodes))
        if any(stored[node]["items"] != NO_ITEMS or stored[node]["applied_items"] != NO_ITEMS for node in gone):
            raise Conflict(f"{ref} is on {', '.join(gone)} and cannot be moved away yet.", code="placement_fixed")
        for node in gone:
            table = self.tables.target
            table.delete().where(matches(table, ref) & (table.node == node)).execute()
        wanted = {"life": resource["life"], "purge": resource["purge"], "items": items_to_text(items)}
        for node in nodes:
            content = wanted | {"depends": to_text(sorted({str(other) for other in depends.get(node, ())}))}
            if node not in stored:
                self._add_target(resource, node, content)
            elif any(stored[node][name] != value for name, value in content.items()):
                self._bump(stored[node], content)

    def claim(self, owner: Ref, tenant: str, hostnames: Iterable[str]) -> None:
        """Replace the host names that ``owner`` holds. Raises Conflict ``hostname_taken``."""
        self._writing()
        table, names = self.tables.claim, sorted(set(hostnames))
        table.delete().where(matches(table, owner)).execute()
        taken = table.select().where(table.hostname.in_(names)).first()
        if taken is not None:
            raise Conflict(f"{taken['hostname']} is in use already; choose another name.", code="hostname_taken")
        for name in names:
            table.insert(
                hostname=name, reversed=_reversed(name), kind=owner.kind, name=owner.name, tenant=tenant
            ).execute()

    def claims_near(self, hostname: str) -> list[Claim]:
        """Return the claims on ``hostname``, on names above it and on names below it."""
        table, labels = self.tables.claim, hostname.split(".")
        above = [".".join(labels[start:]) for start in range(len(labels))]
        first = _reversed(hostname)
        # "/" follows "." in ASCII, so this range holds exactly the texts that begin with ``first``.
        below = (table.reversed >= first) & (table.reversed < first[:-1] + "/")
        rows = table.select().where(table.hostname.in_(above) | below).order_by(table.reversed)
        return [Claim(row["hostname"], ref_of(row), row["tenant"]) for row in rows]

    def allocate(self, counter: str, first: int, last: int) -> int:
        """Return the next number of a counter that never goes back; raise Conflict ``exhausted`` past ``last``."""
        self._writing()
        before = self._count(counter)
        value = first if before is None else max(before + 1, first)
        if value > last:
            raise Conflict(f"All numbers of {counter!r} from {first} to {last} are used up.", code="exhausted")
        self._set_counter(counter, value)
        return value

    def targets(
        self, nodes: Iterable[str] | None = None, *, refs: Iterable[Ref] | None = None, pending: bool = False
    ) -> list[Target]:
        """Return the targets on the given nodes (all where None), in the order in which they were asked for."""
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

    def _resource_row(self, ref: Ref) -> Row | None:
        row: Row | None = self.tables.resource.select().where(matches(self.tables.resource, ref)).first()
        return row

    def _target_rows(self, ref: Ref) -> list[Row]:
        table = self.tables.target
        return list(table.select().where(matches(table, ref)).order_by(table.node))

    def _resources(self, rows: list[Row]) -> list[Resource]:
        placed: dict[Ref, list[tuple[str, int]]] = {}
        table = self.tables.target
        columns = (table.kind, table.name, table.node, table.wanted)
        for target in rows_of(table, map(ref_of, rows), columns=columns):
            placed.setdefault(ref_of(target), []).append((target["node"], target["wanted"]))
        return [_resource_of(row, placed.get(ref_of(row), [])) for row in rows]

    def _add_target(self, resource: Row, node: str, content: Row) -> None:
        ref = ref_of(resource)
        self.tables.target.insert(
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
            **content,
        ).execute()
        self.bumped.add((ref, node))

    def _bump(self, row: Row, content: Row) -> None:
        ref, node = ref_of(row), row["node"]
        values = dict(content)
        if (ref, node) not in self.bumped:
            # What is new is tried at once, even on a node that is being left alone for a while.
            values |= {"wanted": row["wanted"] + 1, "asked": self._next(ASKED), "retry_at": None, "reason": ""}
            self.bumped.add((ref, node))
        table = self.tables.target
        table.update(**values).where(matches(table, ref) & (table.node == node)).execute()


def is_pending(table: Any) -> Any:
    """Return the condition of ``Target.pending``."""
    return (table.applied < table.wanted) & (table.failed < table.wanted)


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


def _resource_of(row: Row, placed: list[tuple[str, int]]) -> Resource:
    return Resource(
        ref=ref_of(row),
        tenant=row["tenant"],
        life=Life(row["life"]),
        spec=from_text(row["spec"]),
        revision=max((wanted for _, wanted in placed), default=0),
        nodes=tuple(sorted(node for node, _ in placed)),
        created=row["created"],
        updated=row["updated"],
        purge=bool(row["purge"]),
    )


def _reversed(hostname: str) -> str:
    return ".".join(reversed(hostname.split("."))) + "."
