"""How a resource stands: one word and one sentence from its outcomes on all its nodes."""

from __future__ import annotations

from wcp360.core.ports import State
from wcp360.core.resources import Life, Resource
from wcp360.core.views import ChangeStatus


def status_of(state: State, resource: Resource) -> tuple[str, str]:
    """Return ``applied``, ``pending``, ``removing`` or ``failed``, and the reason where there is one."""
    outcomes = state.outcomes(resource.ref)
    failed = [outcome for outcome in outcomes if outcome.status is ChangeStatus.FAILED]
    pending = [outcome for outcome in outcomes if outcome.status is ChangeStatus.PENDING]
    reason = "; ".join(outcome.reason for outcome in failed + pending if outcome.reason)
    if failed:
        return "failed", reason
    if resource.life is Life.ABSENT:
        return "removing", reason
    return ("pending", reason) if pending else ("applied", "")
