"""The forms of reasons that a preview and a run have in common.

A reason that lies with another resource is known by its form when that one is healed.
"""

from __future__ import annotations

from wcp360.core.resources import Ref


def needs(ref: Ref, trouble: str) -> str:
    """Return the reason of a resource that cannot be applied for want of ``ref``, of which ``trouble`` is told."""
    return f"{_start(ref)}which {trouble}"


def unchanged(reason: str) -> str:
    """Return the reason of a resource that is as its node has refused it, with ``reason``."""
    return f"it is unchanged and was refused before ({reason}); correct it, or retry the change that failed"


def is_for_want(reason: str, ref: Ref) -> bool:
    """Tell whether a reason says that ``ref`` was missing."""
    return reason.startswith(_start(ref))


def _start(ref: Ref) -> str:
    return f"skipped: needs {ref.kind} {ref.name}, "
