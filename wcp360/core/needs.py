"""The one form of a reason that lies with another resource, by which it is known when that one is healed."""

from __future__ import annotations

from wcp360.core.resources import Ref


def needs(ref: Ref, trouble: str) -> str:
    """Return the reason of a resource that cannot be applied for want of ``ref``, of which ``trouble`` is told."""
    return f"{_start(ref)}which {trouble}"


def is_for_want(reason: str, ref: Ref) -> bool:
    """Tell whether a reason says that ``ref`` was missing."""
    return reason.startswith(_start(ref))


def _start(ref: Ref) -> str:
    return f"skipped: needs {ref.kind} {ref.name}, "
