"""What has moved since a preview was made: of the desired state, and of what a node would be changed in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from wcp360.core.views import PredictedItem

Batches = dict[str, dict[str, Any]]
# The parts of a request that say what is wanted. The node's facts are judged by the prediction that is made with them.
_LEFT_OUT = frozenset({"facts", "version"})
# Enough to go and look at; a server that is another one altogether differs in thousands.
_MOST_NAMED = 10


def moved_state(kept: Batches, fresh: Batches) -> list[str]:
    """Return the resources that are asked for differently than in the batches of a preview."""
    moved: set[str] = set()
    fresh = json.loads(json.dumps(fresh))  # as the kept ones were: a tuple is a list then
    for node in kept.keys() | fresh.keys():
        moved.update(_moved_on(node, kept.get(node), fresh.get(node)))
    return sorted(moved)


def moved_node(kept: Iterable[PredictedItem], fresh: Iterable[PredictedItem]) -> list[str]:
    """Return the files, accounts and units in which a new prediction differs from a kept one."""
    before, after = _effects(kept), _effects(fresh)
    return sorted({name or resource for resource, name in _different(before, after)})


def listed(names: list[str]) -> str:
    """Return names as a part of a sentence."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _moved_on(node: str, kept: dict[str, Any] | None, fresh: dict[str, Any] | None) -> Iterable[str]:
    if kept is None or fresh is None:
        return sorted((kept or fresh or {})["targets"])
    moved = set(_different(kept["targets"], fresh["targets"])) | set(_different(kept["skipped"], fresh["skipped"]))
    if kept["node"] != fresh["node"]:
        moved.add(f"node:{node}")
    return moved or _different(_wanted(kept["request"]), _wanted(fresh["request"]))


def _wanted(request: dict[str, Any]) -> dict[str, Any]:
    """Return what a request asks for by the ids of its elements, and its other parts by their names."""
    parts: dict[str, Any] = {}
    for name, value in sorted(request.items()):
        if isinstance(value, list):
            for element in value:
                parts.setdefault(str(element.get("id") or element["name"]), []).append((name, element))
        elif name not in _LEFT_OUT:
            parts[name] = value
    return parts


def _effects(items: Iterable[PredictedItem]) -> dict[tuple[str, str], list[tuple[str, ...]]]:
    """Return every difference by resource and name; flags stand under the resource alone.

    The names of tasks are left out: they are for people, and what counts is what becomes of the server.
    """
    found: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for item in items:
        flags = (str(item.failed), item.message if item.failed else "", item.not_checked)
        found.setdefault((item.resource, ""), []).append((*flags, str(item.changed)))
        for diff in item.diff:
            found.setdefault((item.resource, diff.name), []).append((diff.before, diff.after))
    return found


def _different(before: dict[Any, Any], after: dict[Any, Any]) -> list[Any]:
    named = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    # A file says more than the resource that it belongs to.
    exact = {key[0] for key in named if isinstance(key, tuple) and key[1]}
    return [key for key in named if not isinstance(key, tuple) or key[1] or key[0] not in exact]
