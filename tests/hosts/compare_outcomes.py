#!/usr/bin/env python3
"""Was the preview true? Compares what a run in check mode predicted with what the same run then did.

Usage: compare_outcomes.py PREDICTED.jsonl DONE.jsonl HOST, both written by the callback plugin wcp360.hosting.outcomes.
Tenant level (results with items): the same items, flags and diffs, exactly. Server level (everything else, and items
called "server:…"): the same end state of each thing that changes, of a path also the same state before, and so the same
packages; how it gets there may differ, because in check mode a later task cannot see what an earlier one would have
made, such as the service that a package brings.
Ends with 1 and a line per difference.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Outcome = dict[str, Any]
States = dict[str, tuple[str, str]]


def load(path: str, host: str) -> list[Outcome]:
    """The finished tasks of one host in one run; raises ValueError when the run did not reach its end."""
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    if not any(host in line.get("stats", {}) for line in lines):
        raise ValueError(f"{path} has no closing line for {host}: the run was cut off")
    return [line for line in lines if line.get("host") == host]


def is_server_level(item: Outcome) -> bool:
    """Whether an item stands for the server itself and not for something of a tenant."""
    return str(item["id"]).startswith("server:") or item["id"] == "node"


def tenant_items(outcomes: list[Outcome]) -> dict[tuple[str, str, str, int], Outcome]:
    """Every tenant-level item by role, task, id and how many times that task has named it before."""
    found: dict[tuple[str, str, str, int], Outcome] = {}
    for outcome in outcomes:
        for item in outcome["items"] or []:
            if is_server_level(item):
                continue
            key, nth = (outcome["role"], outcome["task"], str(item["id"])), 0
            while (*key, nth) in found:
                nth += 1
            found[(*key, nth)] = item
    return found


def server_states(outcomes: list[Outcome]) -> States:
    """The first state (of a path) and the last of each thing that changes at server level: by path, package, unit."""
    states: States = {}
    for outcome in outcomes:
        items = outcome["items"]
        if items is None:
            changes = (outcome["diff"] or []) if outcome["changed"] else []
        else:
            changes = [change for item in items if is_server_level(item) for change in item.get("diff") or []]
        for change in changes:
            name, before, after = _sides(change)
            if name:
                states[name] = (states.get(name, (before if name.startswith("/") else "", ""))[0], after)
    return states


def _sides(change: Outcome) -> tuple[str, str, str]:
    """What one diff is about and its two sides; an empty name where ansible-core says nothing about it."""
    before, after = change.get("before", ""), change.get("after", "")
    if isinstance(after, dict):
        return str(after.get("path", "")), json.dumps(before, sort_keys=True), json.dumps(after, sort_keys=True)
    name = str(change.get("after_header") or change.get("before_header") or "")
    return name.partition(" (")[0], str(before), str(after)


def differences(predicted: list[Outcome], done: list[Outcome]) -> list[str]:
    """One line per thing that was predicted and not done, done and not predicted, or done in another way."""
    lines = [
        f"failed: {outcome['task']}: {outcome['msg']}"
        for outcome in predicted + done
        if outcome["failed"] and not outcome["ignored"]
    ]
    lines += _compare(tenant_items(predicted), tenant_items(done), _item_differs)
    lines += _compare(server_states(predicted), server_states(done), _server_differs)
    return lines


def _compare(predicted: dict[Any, Any], done: dict[Any, Any], differs: Any) -> list[str]:
    lines = [f"predicted, not done: {key}: {json.dumps(predicted[key])}" for key in predicted if key not in done]
    lines += [f"done, not predicted: {key}: {json.dumps(done[key])}" for key in done if key not in predicted]
    return lines + [line for key in predicted if key in done for line in differs(key, predicted[key], done[key])]


def _item_differs(key: Any, predicted: Outcome, done: Outcome) -> list[str]:
    # What says of itself that it could not be judged has promised nothing.
    if predicted.get("not_checked"):
        return []
    return [
        f"{key}: {field} predicted {json.dumps(predicted.get(field))}, done {json.dumps(done.get(field))}"
        for field in ("changed", "failed", "diff")
        if (predicted.get(field) or None) != (done.get(field) or None)
    ]


def _server_differs(key: Any, predicted: tuple[str, str], done: tuple[str, str]) -> list[str]:
    return [] if predicted == done else [f"{key}: predicted {predicted!r}, done {done!r}"]


def main(arguments: list[str]) -> int:
    """Compare two files; 0 = the preview was true."""
    predicted, done = (load(path, arguments[2]) for path in arguments[:2])
    found = differences(predicted, done)
    items, states = tenant_items(done), server_states(done)
    unchecked = [key for key, item in tenant_items(predicted).items() if item.get("not_checked")]
    if not items and not states:
        found.append("nothing was compared: the run neither changed the server nor had an item")
    print("\n".join(found) or f"the preview was true: {len(items)} items, {len(states)} server-level states")
    for key in unchecked:
        print(f"not checked: {key}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
