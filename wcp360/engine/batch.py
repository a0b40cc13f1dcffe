"""Batches: what one run converges on one node, compiled from the targets that are pending there.

A batch is plain JSON, because a preview keeps it while the desired state that it was made from is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wcp360.core.needs import needs, unchanged
from wcp360.core.ports import State, Target
from wcp360.core.request import LISTS, SERVER, build_request
from wcp360.core.resources import Life, Ref, RoleItem

Batch = dict[str, Any]

# The role that takes a list of the request file, and so has to report on each of its elements.
ROLE_OF = dict(zip(LISTS, ("tenant", "php_fpm", "nginx"), strict=True))
NODE = "node"


def compile_batches(state: State) -> dict[str, Batch]:
    """Return one batch for each node that has something pending.

    In a transaction that has touched resources (a rehearsal) it is limited to those and what belongs to their
    tenants: a preview shows what its own operation does, not what others have asked for meanwhile. What is touched,
    and still as its node has refused it, would fail the change at once.
    """
    chosen: dict[str, list[Target]] = {}
    tenants = _touched_tenants(state)
    for target in state.targets(pending=True):
        if _is_own(target, state, tenants):
            chosen.setdefault(target.node, []).append(target)
    refused = [target for target in state.targets(refs=sorted(state.touched)) if target.refused]
    for target in refused:
        chosen.setdefault(target.node, [])
    # Whole, however much it is: a preview has to name everything that would change.
    batches = {node: compile_node(state, node, targets)[0] for node, targets in chosen.items()}
    for target in refused:
        entry = {"revision": target.wanted, "reason": unchanged(target.reason)}
        batches[target.node]["skipped"][str(target.ref)] = entry
    return batches


def compile_node(state: State, node: str, chosen: Iterable[Target]) -> tuple[Batch, list[Target]]:
    """Return the batch of one node for ``chosen`` and their dependencies, and the targets in it."""
    plan = _Plan(state, node, list(chosen))
    targets = plan.ordered()
    resource = state.find(Ref(NODE, node))
    batch = {
        "node": None if resource is None else {**resource.spec, "name": node},
        "request": build_request(
            (item for target in targets for item in items_to_send(target)),
            facts=_facts(state, node, targets),
        ),
        "targets": {str(target.ref): target.wanted for target in targets},
        "order": [str(target.ref) for target in targets],
        "depends": {str(target.ref): [str(ref) for ref in target.depends] for target in targets},
        "expects": {str(target.ref): expected_reports(target) for target in targets},
        "tenants": {str(target.ref): target.tenant for target in targets},
        "skipped": plan.skipped,
    }
    return batch, targets


def _facts(state: State, node: str, targets: list[Target]) -> dict[str, Any]:
    """Return what is known about a node, or nothing where the batch is to look at it."""
    ref = Ref(NODE, node)
    return {} if ref in {target.ref for target in targets} else state.facts(ref)


def items_to_send(target: Target) -> tuple[RoleItem, ...]:
    """Return the items of a target, and those applied earlier that it has no longer, to be taken away.

    Roles leave alone what they are not given, so that what shall go has to be said.
    """
    wanted = {(item.variable, item.value["name"]) for item in target.items if item.variable in ROLE_OF}
    gone = tuple(
        RoleItem(item.variable, {**item.value, "state": "absent"})
        for item in target.applied_items
        if item.variable in ROLE_OF and (item.variable, item.value["name"]) not in wanted
    )
    return target.items + gone


def expected_reports(target: Target) -> dict[str, Any]:
    """Return who must report on a target: pairs of role and item id, and roles whose server level must have run."""
    reports = [
        [ROLE_OF[item.variable], str(item.value.get("id") or item.value["name"])]
        for item in items_to_send(target)
        if item.variable in ROLE_OF
    ]
    server = [role for item in target.items if item.variable == SERVER for role, wanted in item.value.items() if wanted]
    return {"reports": reports, "server": server}


def _is_own(target: Target, state: State, tenants: set[str]) -> bool:
    return not state.touched or target.ref in state.touched or target.tenant in tenants


def _touched_tenants(state: State) -> set[str]:
    found = (state.find(ref) for ref in state.touched)
    return {resource.tenant for resource in found if resource is not None and resource.tenant is not None}


class _Plan:
    """Works out which targets go into a batch, in which order, and which cannot because of what they depend on."""

    def __init__(self, state: State, node: str, chosen: list[Target]) -> None:
        self.skipped: dict[str, dict[str, Any]] = {}
        self._chosen = chosen
        self._known = {target.ref: target for target in chosen}
        self._judged: dict[Ref, str] = {}
        self._load_dependencies(state, node)

    def ordered(self) -> list[Target]:
        """Return the targets of the batch, each after what it depends on."""
        placed: dict[Ref, Target] = {}
        for target in self._chosen:
            self._place(target, placed, set())
        return list(placed.values())

    def _load_dependencies(self, state: State, node: str) -> None:
        asked: set[Ref] = set(self._known)
        level = list(self._chosen)
        while missing := {ref for target in level for ref in target.depends} - asked:
            asked |= missing
            level = state.targets([node], refs=sorted(missing))
            self._known |= {target.ref: target for target in level}

    def _place(self, target: Target, placed: dict[Ref, Target], above: set[Ref]) -> None:
        if target.ref in placed or target.ref in above or str(target.ref) in self.skipped:
            return
        reason = self._obstacle(target)
        if reason:
            self.skipped[str(target.ref)] = {"revision": target.wanted, "reason": reason}
            return
        for ref in target.depends:
            needed = self._known.get(ref)
            if needed is not None and needed.pending:
                self._place(needed, placed, above | {target.ref})
        placed.setdefault(target.ref, target)

    def _obstacle(self, target: Target) -> str:
        """Return why a target cannot be applied, or an empty string."""
        if target.ref not in self._judged:
            self._judged[target.ref] = ""  # a circle of dependencies goes into the batch together
            self._judged[target.ref] = self._judge(target)
        return self._judged[target.ref]

    def _judge(self, target: Target) -> str:
        try:
            build_request(items_to_send(target))
        except ValueError as error:
            return f"What it is compiled to cannot be sent to a node: {error}"
        if target.life is Life.ABSENT:
            return ""  # taking away needs nothing
        return next(filter(None, (self._unmet(ref) for ref in target.depends)), "")

    def _unmet(self, ref: Ref) -> str:
        needed = self._known.get(ref)
        if needed is None:
            return needs(ref, "does not exist on this node")
        if needed.pending:
            reason = self._obstacle(needed)
            return needs(ref, f"cannot be applied: {reason}") if reason else ""
        if needed.applied == 0:
            return needs(ref, f"failed: {needed.reason}")
        return ""
