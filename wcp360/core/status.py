"""How a resource stands: one word and one sentence from its outcomes on all its nodes."""

from __future__ import annotations

from collections.abc import Iterable

from wcp360.core.ports import State
from wcp360.core.resources import Life, Ref, Resource
from wcp360.core.views import ChangeStatus, ResourceOutcome


def status_of(state: State, resource: Resource) -> tuple[str, str]:
    """Return ``applied``, ``pending``, ``removing`` or ``failed``, and the reason where there is one."""
    return _standing(resource, state.outcomes(resource.ref))


def statuses_of(state: State, resources: Iterable[Resource]) -> dict[Ref, tuple[str, str]]:
    """Return what ``status_of`` returns for each of many resources, by a few statements."""
    wanted = list(resources)
    outcomes = state.outcomes_of(resource.ref for resource in wanted)
    return {resource.ref: _standing(resource, outcomes[resource.ref]) for resource in wanted}


def _standing(resource: Resource, outcomes: list[ResourceOutcome]) -> tuple[str, str]:
    failed = [outcome for outcome in outcomes if outcome.status is ChangeStatus.FAILED]
    pending = [outcome for outcome in outcomes if outcome.status is ChangeStatus.PENDING]
    reason = "; ".join(outcome.reason for outcome in failed + pending if outcome.reason)
    if failed:
        return "failed", reason
    if resource.life is Life.ABSENT:
        return "removing", reason
    return ("pending", reason) if pending else ("applied", "")
