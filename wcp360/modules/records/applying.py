"""Applying a preview: the same operation again, accepted only while it comes to exactly what was shown."""

from __future__ import annotations

from collections.abc import Callable

from wcp360.core.actor import Actor
from wcp360.core.errors import Conflict, Invalid, NotFound
from wcp360.core.kept import Batches, listed, moved_state
from wcp360.core.operation import Operation
from wcp360.core.policy import check_before_io, check_scope
from wcp360.core.ports import State
from wcp360.core.registry import Registry
from wcp360.core.resources import Ref
from wcp360.core.settle import settle
from wcp360.core.validate import validate
from wcp360.core.views import PreviewView, RecordStatus
from wcp360.modules.records.changeset import ChangeSets
from wcp360.modules.records.inputs import ChangeSet, RecordKey

NAME = "preview.apply"


class Applying:
    """The function behind ``preview.apply``; ``compile_batches`` is what previews are compiled by."""

    def __init__(self, registry: Callable[[], Registry], compile_batches: Callable[[State], Batches]) -> None:
        self._registry, self._compile = registry, compile_batches
        self._sets = ChangeSets(registry)

    def apply(self, state: State, given: RecordKey, actor: Actor) -> None:
        """Run a preview's operation, and have its resources applied exactly as the preview showed.

        Raises Conflict ``preview_unfinished``, ``preview_failed``, ``preview_applied`` or ``preview_stale``; Forbidden
        and NotFound where the actor could not ask for the operation itself.
        """
        preview = state.preview(given.id)
        self._check(state, preview)
        kept = state.preview_batches(preview.id)
        _compare_base(state, preview, kept)
        targets = {node: list(map(Ref.parse, batch["targets"])) for node, batch in kept.items()}
        before = state.picture({ref for refs in targets.values() for ref in refs})
        self._repeat(state, preview, actor)
        settle(state, self._registry())
        if moved := moved_state(kept, self._compile(state)):
            raise _stale(preview, moved)
        state.reserve(preview.id, targets, before)

    def _check(self, state: State, preview: PreviewView) -> None:
        if preview.status not in (RecordStatus.SUCCEEDED, RecordStatus.FAILED):
            raise Conflict(f"The preview {preview.id} is not made yet; wait for it.", code="preview_unfinished")
        applied = state.appliers(preview.id)
        if applied:
            raise Conflict(
                f"The preview {preview.id} was applied already, by the change {applied[0]}; make a new one.",
                code="preview_applied",
            )
        refused = next((item for item in preview.items if item.failed), None)
        if preview.status is RecordStatus.FAILED or refused is not None or preview.operation == NAME:
            reason = preview.reason or (f"{refused.resource}: {refused.message}" if refused else "it applies another")
            raise Conflict(f"The preview {preview.id} cannot be applied: {reason}", code="preview_failed")

    def _repeat(self, state: State, preview: PreviewView, actor: Actor) -> None:
        operation = self._registry().operation(preview.operation)
        check_before_io(actor, operation)
        try:
            given = validate(operation.input, preview.input)
            if isinstance(given, ChangeSet):
                self._sets.check(given, actor)
            else:
                _check_owner(state, operation, given, actor)
            operation.function(state, given, actor)
        except (Conflict, NotFound, Invalid) as problem:
            raise Conflict(
                f"The preview {preview.id} cannot be applied any more: {problem.detail} Make a new one.",
                code="preview_stale",
            ) from problem


def _check_owner(state: State, operation: Operation, given: object, actor: Actor) -> None:
    tenant = operation.tenant_of(state, given)
    if tenant != "*":
        check_scope(actor, operation, tenant)


def _compare_base(state: State, preview: PreviewView, kept: Batches) -> None:
    used = {f"{ref} on {node}" for node, batch in kept.items() for ref in batch["targets"]}
    refs = sorted({Ref.parse(ref) for batch in kept.values() for ref in batch["targets"]})
    now = {f"{target.ref} on {target.node}": target.wanted for target in state.targets(refs=refs)}
    moved = sorted(name for name in used if now.get(name) != preview.base.get(name))
    if moved:
        raise _stale(preview, moved)


def _stale(preview: PreviewView, moved: list[str]) -> Conflict:
    return Conflict(
        f"The preview {preview.id} is not what would happen now: {listed(moved)} moved since. Make a new one.",
        code="preview_stale",
        moved=moved,
    )
