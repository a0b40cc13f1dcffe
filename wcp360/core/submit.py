"""The one door: every change of tenant state and every read passes through here.

``submit`` checks permission, scope and policy, runs the operation's function and writes desired state, change, audit
entry and event in one transaction, with its answer where the caller may repeat the request. ``preview`` does
the same, keeps what the nodes would be asked to do, and takes the state back before anything runs. ``ask`` answers
queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from wcp360.core.actor import Actor
from wcp360.core.errors import Forbidden, Invalid, NotFound, Problem, Unauthenticated
from wcp360.core.faults import point
from wcp360.core.ids import new_id
from wcp360.core.operation import ANY_TENANT, Input, Operation, View
from wcp360.core.policy import check_before_io, check_permission, check_scope
from wcp360.core.ports import Answer, State, Store, Transaction
from wcp360.core.registry import Registry
from wcp360.core.resources import Ref
from wcp360.core.settle import settle
from wcp360.core.views import ChangeView, PreviewView

Accepted = TypeVar("Accepted", ChangeView, PreviewView)

Batches = dict[str, dict[str, Any]]
"""One serialised batch for each node."""


@dataclass(frozen=True, slots=True)
class Once:
    """A request that its caller may repeat: ``key`` names it among the actor's, ``request`` is a digest of it."""

    key: str
    request: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: which operation, with what input, by whom, under which correlation id."""

    operation: Operation
    input: Input
    actor: Actor
    correlation: str
    once: Once | None = None

    def given(self) -> dict[str, Any]:
        """Return the input as it may be kept: secrets print as ``**********``."""
        return self.input.model_dump(mode="json", exclude_unset=True)


class Door:
    """Joins a store, the registry and the compiler of batches.

    ``compile_batches`` turns the pending targets of an open transaction into one batch a node (the engine's, given
    by the wiring, so that the door does not depend on it).
    """

    def __init__(self, store: Store, registry: Registry, compile_batches: Callable[[State], Batches]) -> None:
        self.store = store
        self.registry = registry
        self._compile = compile_batches

    def ask(self, asked: Asked) -> View:
        """Answer a query. Raises Problem."""
        check_permission(asked.actor, asked.operation)
        with self.store.read() as state:
            self._check_scope(asked, state)
            answer: View = asked.operation.function(state, asked.input, asked.actor)
            return answer

    def submit(self, asked: Asked) -> ChangeView:
        """Accept a change, or raise Problem having written nothing but the audit entry of the refusal."""
        with _audited(self.store, asked):
            known = self._known(asked, ChangeView)
            if known is not None:
                return known
            completed = self._prepared(asked)
            point("submit.before_transaction")
            with self.store.write() as tx:
                # A repetition may have come in between.
                known = _answered(asked, tx, ChangeView)
                if known is not None:
                    return known
                change = self._accept(completed, tx, self._apply(completed, tx))
                _keep_answer(asked, tx, change)
                point("submit.before_commit")
        point("submit.after_commit")
        return change

    def preview(self, asked: Asked) -> PreviewView:
        """Keep a dry run of a change for the engine to make. Raises Problem like ``submit``."""
        with _audited(self.store, asked):
            known = self._known(asked, PreviewView)
            if known is not None:
                return known
            completed = self._prepared(asked)
            tenant, base, batches = self._rehearse(completed)
            with self.store.write() as tx:
                known = _answered(asked, tx, PreviewView)
                if known is not None:
                    return known
                kept = self._keep(completed, tx, tenant, base, batches)
                _keep_answer(asked, tx, kept)
                return kept

    def _known(self, asked: Asked, view: type[Accepted]) -> Accepted | None:
        """Look for the answer before anything else is done: a repetition needs no I/O and no rehearsal."""
        if asked.once is None:
            return None
        check_permission(asked.actor, asked.operation)
        with self.store.read() as state:
            return _answered(asked, state, view)

    def _prepared(self, asked: Asked) -> Asked:
        check_before_io(asked.actor, asked.operation)
        if asked.operation.prepare is None:
            return asked
        return replace(asked, input=asked.operation.prepare(asked.input, asked.actor))

    def _check_scope(self, asked: Asked, state: State) -> str | None:
        tenant = asked.operation.tenant_of(state, asked.input)
        if tenant != ANY_TENANT:
            check_scope(asked.actor, asked.operation, tenant)
        return tenant

    def _apply(self, asked: Asked, tx: Transaction) -> str | None:
        tenant = self._check_scope(asked, tx)
        asked.operation.function(tx, asked.input, asked.actor)
        settle(tx, self.registry)
        return _tenant_of_touched(tx) if tenant == ANY_TENANT else tenant

    def _accept(self, asked: Asked, tx: Transaction, tenant: str | None) -> ChangeView:
        name, given, actor = asked.operation.name, asked.given(), asked.actor.name
        change = tx.add_change(
            new_id(), operation=name, given=given, actor=actor, tenant=tenant, correlation=asked.correlation
        )
        _audit(tx, asked, tenant, "accepted")
        data = {"change": change.id, "operation": name, "status": change.status.value}
        tx.add_event("change.accepted", data, tenant=tenant, correlation=asked.correlation)
        return change

    def _rehearse(self, asked: Asked) -> tuple[str | None, dict[str, int], Batches]:
        try:
            with self.store.write() as tx:
                tenant = self._apply(asked, tx)
                batches = self._compile(tx)
                used = {Ref.parse(name) for batch in batches.values() for name in batch["targets"]}
                raise _TakenBack(tenant, tx.revisions_before(sorted(used)), batches)
        except _TakenBack as rehearsed:
            return rehearsed.tenant, rehearsed.base, rehearsed.batches

    def _keep(
        self, asked: Asked, tx: Transaction, tenant: str | None, base: dict[str, int], batches: Batches
    ) -> PreviewView:
        kept = tx.add_preview(
            new_id(),
            operation=asked.operation.name,
            given=asked.given(),
            actor=asked.actor.name,
            tenant=tenant,
            correlation=asked.correlation,
            base=base,
            batches=batches,
        )
        _audit(tx, asked, tenant, "previewed")
        data = {"preview": kept.id, "operation": asked.operation.name}
        tx.add_event("preview.queued", data, tenant=tenant, correlation=asked.correlation)
        return kept


def _answered(asked: Asked, state: State, view: type[Accepted]) -> Accepted | None:
    """Return what was answered to this request before, or None. Raises Invalid for another one under its key."""
    kept = state.answer(asked.actor.name, asked.once.key) if asked.once else None
    if kept is None or asked.once is None:
        return None
    if kept.request != asked.once.request:
        raise Invalid(
            "This Idempotency-Key was used for another request in the last 24 hours. Use a new key for a new request.",
            code="idempotency_key_reused",
        )
    return view.model_validate_json(kept.body)


def _keep_answer(asked: Asked, tx: Transaction, view: View) -> None:
    if asked.once is not None:
        tx.keep_answer(asked.actor.name, asked.once.key, Answer(asked.once.request, view.model_dump_json()))


def _tenant_of_touched(tx: Transaction) -> str | None:
    """Return the one tenant that owns all that a change set has touched; None where the server owns a part of it."""
    found = (tx.find(ref) for ref in tx.touched)
    tenants = {resource.tenant for resource in found if resource is not None}
    return tenants.pop() if len(tenants) == 1 else None


class _TakenBack(Exception):
    """Carries the result of a rehearsal out of its transaction, which rolls back because of it."""

    def __init__(self, tenant: str | None, base: dict[str, int], batches: Batches) -> None:
        super().__init__("rehearsed")
        self.tenant, self.base, self.batches = tenant, base, batches


@contextmanager
def _audited(store: Store, asked: Asked) -> Iterator[None]:
    """Give a request that is refused, or that fails by a fault of ours, its audit entry in a transaction of its own."""
    try:
        yield
    except Problem as problem:
        refuse(store, asked, problem)
        raise
    except Exception:
        with store.write() as tx:
            _audit(tx, asked, None, "failed: internal")
        raise


def refuse(store: Store, asked: Asked, problem: Problem) -> None:
    """Write the audit entry of a refused change."""
    outcome = "denied" if isinstance(problem, Forbidden | NotFound) else "refused"
    with store.write() as tx:
        _audit(tx, asked, None, f"{outcome}: {problem.code}")


def refuse_unread(store: Store, operation: Operation, actor: str, correlation: str, problem: Problem) -> None:
    """Write the audit entry of a change that was refused before it had an input; what was sent is not kept."""
    outcome = "denied" if isinstance(problem, Unauthenticated | Forbidden) else "refused"
    with store.write() as tx:
        tx.add_audit(
            actor=actor,
            operation=operation.name,
            tenant=None,
            outcome=f"{outcome}: {problem.code}",
            given={},
            correlation=correlation,
        )


def _audit(tx: Transaction, asked: Asked, tenant: str | None, outcome: str) -> None:
    tx.add_audit(
        actor=asked.actor.name,
        operation=asked.operation.name,
        tenant=tenant,
        outcome=outcome,
        given=asked.given(),
        correlation=asked.correlation,
    )
