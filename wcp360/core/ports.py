"""What the rules need from storage, as protocols: a unit of work on the desired state, and its records.

``wcp360.storage`` implements them; the functions of operations see nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from wcp360.core.listing import Query
from wcp360.core.resources import Life, Ref, Resource, RoleItem, Spec
from wcp360.core.views import (
    AuditVerdict,
    AuditView,
    ChangeView,
    EventView,
    Page,
    PreviewView,
    ResourceOutcome,
    RunView,
)

Tenants = frozenset[str] | None
"""The tenants that a caller may see; None stands for all of them and for the server's own objects."""

# The words by which a target's reason says that its node was not reached at all, which is no target's fault.
UNREACHABLE = "could not be reached"


@dataclass(frozen=True, slots=True)
class Claim:
    """A host name that a resource holds; no other tenant may hold it, or a name above or below it.

    A name that is ``leaving`` was given up, and is held until the nodes have let go of it.
    """

    hostname: str
    owner: Ref
    tenant: str
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A resource on one of its nodes: what is wanted there, what is applied, and what was refused.

    ``applied_items`` are those of the applied revision, and those that a later run has tried: any of them may be there.
    ``bulk`` was asked for with very much else and waits for what was not; ``preview`` is the preview that is to be
    applied exactly, empty for none.
    """

    ref: Ref
    node: str
    tenant: str | None
    life: Life
    wanted: int
    applied: int
    failed: int
    items: tuple[RoleItem, ...]
    applied_items: tuple[RoleItem, ...]
    depends: tuple[Ref, ...]
    reason: str
    attempts: int
    bulk: bool = False
    preview: str = ""

    @property
    def pending(self) -> bool:
        """Whether the node still has to be brought to the wanted revision, and has not refused it."""
        return self.applied < self.wanted and self.failed < self.wanted

    @property
    def refused(self) -> bool:
        """Whether the node has refused the wanted revision, which is not tried again as it is."""
        return self.applied < self.wanted <= self.failed


class TargetStatus(StrEnum):
    """What a run did to a target. APPLIED: done. FAILED: refused by the node. INTERRUPTED: tried again later."""

    APPLIED = "applied"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class TargetOutcome:
    """What came of one target; ``facts`` None keeps those of earlier runs."""

    ref: Ref
    revision: int
    status: TargetStatus
    reason: str = ""
    facts: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a request with an Idempotency-Key: a digest of the request, and the answer's JSON."""

    request: str
    body: str


class State(Protocol):
    """The desired state inside one transaction."""

    touched: set[Ref]

    def find(self, ref: Ref) -> Resource | None:
        """Return the resource, tombstones included, or None."""

    def get(self, ref: Ref) -> Resource:
        """Return the resource; raise NotFound where it does not exist or is being removed."""

    def known(self, ref: Ref) -> Resource:
        """Return the resource, also while it is being removed; raise NotFound where there is none."""

    def page(self, kind: str, query: Query | None = None, *, tenants: Tenants = None) -> Page[Any]:
        """Return a page of a list: rows of records, or Resource values of a kind of resources, tombstones included.

        ``tenants`` limits it to what a caller may see; without a query the first 100 by name are meant.
        """

    def outcomes_of(self, refs: Iterable[Ref]) -> dict[Ref, list[ResourceOutcome]]:
        """Return what ``outcomes`` returns for each of many resources, by a few statements."""

    def facts_of(self, refs: list[Ref]) -> dict[Ref, dict[str, Any]]:
        """Return what ``facts`` returns for each of many resources."""

    def dependents(self, refs: list[Ref]) -> dict[Ref, int]:
        """Return how many targets depend on each of ``refs``."""

    def of_tenant(self, tenant: str) -> list[Resource]:
        """Return everything that a tenant owns (itself included), tombstones included."""

    def owns(self, tenant: str, kind: str, test: Callable[[Resource], bool]) -> bool:
        """Tell whether a tenant owns a resource of a kind that passes a test; looks at no more than it has to."""

    def expect(self, refs: Iterable[Ref]) -> None:
        """Announce which resources will be asked for, so that storage reads them together."""

    def put(
        self, ref: Ref, spec: Spec, *, tenant: str | None = None, life: Life = Life.PRESENT, purge: bool = False
    ) -> Resource:
        """Write a resource and mark it touched; ``tenant`` of an existing one cannot change."""

    def bury(self, ref: Ref, *, purge: bool) -> None:
        """Turn a resource into a tombstone (life ABSENT) and mark it touched; a refused tombstone is tried again."""

    def outcomes(self, ref: Ref) -> list[ResourceOutcome]:
        """Return how far the resource has come on each of its nodes."""

    def facts(self, ref: Ref) -> dict[str, Any]:
        """Return what the last run learned about the resource (a node's service manager, for example)."""

    def retry(self, ref: Ref) -> None:
        """Ask for the resource to be applied again, although its content is unchanged, and mark it touched."""

    def want(
        self, ref: Ref, items: tuple[RoleItem, ...], nodes: tuple[str, ...], depends: Mapping[str, tuple[Ref, ...]]
    ) -> None:
        """Store what the nodes of a touched resource shall have; counts the revision up only where it differs."""

    def claim(self, owner: Ref, tenant: str, hostnames: Iterable[str]) -> None:
        """Replace the host names that ``owner`` holds."""

    def claims_near(self, hostname: str) -> list[Claim]:
        """Return the claims on ``hostname``, on names above it and on names below it."""

    def allocate(self, counter: str, first: int, last: int) -> int:
        """Return the next number of a counter that never goes back; raise Conflict ``exhausted`` past ``last``."""

    def targets(
        self, nodes: Iterable[str] | None = None, *, refs: Iterable[Ref] | None = None, pending: bool = False
    ) -> list[Target]:
        """Return targets in the order in which they were asked for.

        ``nodes`` and ``refs`` limit them (None: all); ``pending`` leaves only what still has to be done.
        """

    def change(self, change_id: str) -> ChangeView:
        """Return a change or raise NotFound."""

    def preview(self, preview_id: str) -> PreviewView:
        """Return a preview or raise NotFound."""

    def preview_batches(self, preview_id: str) -> dict[str, dict[str, Any]]:
        """Return the batch of each node that a preview was kept with, or raise NotFound."""

    def appliers(self, preview_id: str) -> list[str]:
        """Return the changes that apply a preview, or did."""

    def picture(self, refs: Iterable[Ref]) -> dict[str, Any]:
        """Return all that is stored of resources, for ``reserve``."""

    def reserve(self, preview_id: str, refs: Mapping[str, Iterable[Ref]], before: dict[str, Any]) -> None:
        """Have the pending targets ``refs`` of each node applied exactly as the preview showed, by this change.

        ``before`` is the picture of them from before the change: it is put back where the node refuses the preview.
        """

    def run(self, run_id: str) -> RunView:
        """Return a run or raise NotFound."""

    def events(self, *, tenants: Tenants, limit: int, after: int) -> list[EventView]:
        """Return the events after a number, oldest first."""

    def audit(self, *, limit: int, after: int) -> list[AuditView]:
        """Return the audit entries after a number, oldest first."""

    def answer(self, actor: str, key: str) -> Answer | None:
        """Return what this actor's request under this key was answered in the last 24 hours."""

    def verify_audit(self) -> AuditVerdict:
        """Check the hash chain of the whole audit log."""


class Transaction(State, Protocol):
    """What only the door itself writes."""

    def revisions_before(self, refs: Iterable[Ref]) -> dict[str, int]:
        """Return which revision of each of ``refs`` its nodes were to have before this transaction.

        The keys are as in ``domain:example.com on web1``; what did not exist is left out.
        """

    def add_change(
        self, change_id: str, *, operation: str, given: dict[str, Any], actor: str, tenant: str | None, correlation: str
    ) -> ChangeView:
        """Record an accepted operation with the touched resources whose targets are pending because of it."""

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
        """Keep a dry run that the engine shall make; ``batches`` holds one serialised batch for each node."""

    def keep_answer(self, actor: str, key: str, answer: Answer) -> None:
        """Keep an answer for 24 hours."""

    def add_event(self, type_: str, data: dict[str, Any], *, tenant: str | None = None, correlation: str = "") -> None:
        """Append an event."""

    def add_audit(
        self, *, actor: str, operation: str, tenant: str | None, outcome: str, given: dict[str, Any], correlation: str
    ) -> None:
        """Append an entry to the hash-chained audit log."""


class Store(Protocol):
    """Where transactions come from."""

    @property
    def shared(self) -> bool:
        """Whether other machines may use the same database; our bells do not reach their engines."""

    def write(self) -> AbstractContextManager[Transaction]:
        """Open a writing transaction (on SQLite BEGIN IMMEDIATE); it rolls back when the block raises."""

    def read(self) -> AbstractContextManager[State]:
        """Open a consistent snapshot for reading."""
