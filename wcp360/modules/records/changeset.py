"""Change sets: several operations as one change, accepted all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from wcp360.core.actor import Actor
from wcp360.core.errors import FieldError, Invalid
from wcp360.core.operation import Input, Kind, Operation
from wcp360.core.policy import check_before_io, check_scope
from wcp360.core.ports import State
from wcp360.core.registry import Registry
from wcp360.core.resources import Ref
from wcp360.core.validate import validate
from wcp360.modules.records.inputs import ChangeSet, SetMember

NAME = "change.create"
# Neither can be a part of something else: a preview is applied exactly, and so by itself.
NOT_MEMBERS = frozenset({NAME, "preview.apply"})


class ChangeSets:
    """The functions behind ``change.create``; the registry is there only after all modules are declared."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry

    def prepare(self, given: ChangeSet, actor: Actor) -> ChangeSet:
        """Check every member's input, and complete those that need I/O, before the transaction."""
        members = []
        for member, operation, validated in self._members(given):
            check_before_io(actor, operation)
            completed = operation.prepare(validated, actor) if operation.prepare else validated
            members.append(member.model_copy(update={"input": completed.model_dump(mode="json", exclude_unset=True)}))
        return ChangeSet(operations=members)

    def check(self, given: ChangeSet, actor: Actor) -> None:
        """Raise unless the actor may ask for every member; ``create`` judges who owns what."""
        for _, operation, _ in self._members(given):
            check_before_io(actor, operation)

    def create(self, state: State, given: ChangeSet, actor: Actor) -> None:
        """Run the members in their order; the first refusal takes all of them back."""
        members = list(self._members(given))
        named = ((operation.object, getattr(validated, "name", "")) for _, operation, validated in members)
        state.expect({Ref(kind, name) for kind, name in named if name})
        for _, operation, validated in members:
            check_scope(actor, operation, operation.tenant_of(state, validated))
            operation.function(state, validated, actor)

    def _members(self, given: ChangeSet) -> Iterator[tuple[SetMember, Operation, Input]]:
        for index, member in enumerate(given.operations):
            operation = self._registry().operation(member.operation)
            if operation.kind is not Kind.CHANGE or operation.name in NOT_MEMBERS:
                raise _not_a_change(f"operations.{index}.operation", operation.name)
            yield member, operation, _input(operation, member.input, f"operations.{index}.input")


def _input(operation: Operation, data: dict[str, Any], prefix: str) -> Input:
    return validate(operation.input, data, prefix=prefix)


def _not_a_change(field: str, name: str) -> Invalid:
    message = f"{name} cannot be part of a change set; list operations that change tenants, domains, nodes or modules."
    return Invalid(message, errors=(FieldError(field, message, "not_a_change"),))
