"""JSON as storage keeps it: one text for one value, so that equal texts mean equal content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from wcp360.core.resources import RoleItem


def to_text(value: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces. Raises ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def from_text(text: str) -> Any:
    """Return the value that ``to_text`` wrote."""
    return json.loads(text)


def items_to_text(items: Iterable[RoleItem]) -> str:
    """Write role items as pairs, in their order."""
    return to_text([[item.variable, item.value] for item in items])


def items_from_text(text: str) -> tuple[RoleItem, ...]:
    """Read what ``items_to_text`` wrote."""
    return tuple(RoleItem(variable, value) for variable, value in from_text(text))


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be kept as JSON.")
