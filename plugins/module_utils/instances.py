"""Converge running services: ask first, then start, reload or stop, and wait until the wanted generation answers."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils import instances_ask
from ansible_collections.wcp360.hosting.plugins.module_utils.faults import point
from ansible_collections.wcp360.hosting.plugins.module_utils.instances_process import Processes
from ansible_collections.wcp360.hosting.plugins.module_utils.instances_systemd import Systemd
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemResult, finish, lock_or_fail

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", re.ASCII)
UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,199}", re.ASCII)
WORKERS = 16
POLL_SECONDS = 0.02
LOOK_SECONDS = 0.5
# A new service on demand is started once, so that it is known to run. Of many new ones only the first: the others wait.
MOST_TRIED = 8

Spec = dict[str, Any]


@dataclass
class Plan:
    """What one item needs. ``actions`` is a subset of enable, disable, start, reload, stop, forget."""

    spec: Spec
    result: ItemResult
    wanted: str = ""
    actions: set[str] = field(default_factory=set)


def converge(module: Any) -> None:
    """Converge ``module.params['items']`` and exit; in check mode say what would be done."""
    manager = Systemd() if _has_systemd(module.params["manager"]) else Processes()
    if module.check_mode:
        plans = _plan_all(module, manager)
    else:
        with lock_or_fail(module):
            plans = _plan_all(module, manager)
            _apply(manager, [plan for plan in plans if plan.actions], module.params["wait"])
    finish(module, [plan.result for plan in plans])


def _has_systemd(choice: str) -> bool:
    return choice == "systemd" or (choice == "auto" and os.path.isdir("/run/systemd/system"))


def _plan_all(module: Any, manager: Any) -> list[Plan]:
    params = module.params
    plans = [Plan(spec, ItemResult(spec["id"])) for spec in params["items"]]
    for plan in plans:
        _complete(plan, manager, params)
    sound = [plan for plan in plans if not plan.result.failed]
    # New limits in a unit file count from here on, also where nothing is started.
    look = manager.observe if module.check_mode else manager.prepare
    seen = look([plan.spec for plan in sound]) if sound else {}
    # Asking one that waits would start it; it reads what is on disk when it is needed.
    asked = [plan for plan in sound if plan.wanted and seen[plan.spec["id"]]["awake"]]
    answers = dict(zip([plan.spec["id"] for plan in asked], _in_parallel(_ask, asked), strict=True))
    for plan in sound:
        _decide(plan, seen[plan.spec["id"]], answers.get(plan.spec["id"], ""), manager, module.check_mode)
    return plans


def _ask(plan: Plan) -> str:
    return instances_ask.ask(plan.spec)


def _complete(plan: Plan, manager: Any, params: dict[str, Any]) -> None:
    """Fill in what the item left open, and fail it where it makes no sense."""
    spec = plan.spec
    started = spec["state"] == "started"
    if spec["enabled"] is None:
        spec["enabled"] = started
    plan.wanted = (spec["generation"] or (params["generations"] or {}).get(spec["id"], "")) if started else ""
    if not NAME.fullmatch(spec["name"]):
        plan.result.fail(f"The name {spec['name']!r} cannot be used: use letters, digits and . _ @ - only.")
    elif started and spec["id"] in (params["failed_ids"] or []) and not plan.wanted:
        plan.result.fail(f"The configuration of {spec['name']} was refused, so the service was not started.")
    elif manager.has_enablement and not (UNIT.fullmatch(spec["unit"]) and UNIT.fullmatch(spec["socket_unit"] or "x")):
        plan.result.fail(f"{spec['name']} has no usable systemd unit: set `unit` (it is {spec['unit']!r}).")
    elif not manager.has_enablement and not spec["command"]:
        plan.result.fail(f"This node has no systemd, and {spec['name']} has no `command` to be started with.")


def _decide(plan: Plan, seen: dict[str, Any], answer: str, manager: Any, check: bool) -> None:
    spec = plan.spec
    if spec["state"] == "started" and not os.access(spec["executable"] or "/", os.X_OK):
        if not check:
            plan.result.fail(f"{spec['executable']} is not installed, so {spec['name']} cannot be started.")
            return
        plan.result.not_checked = f"{spec['executable']} is not installed yet, so {spec['name']} could not be asked."
    plan.actions = _actions(spec, seen, answer == plan.wanted or not seen["awake"])
    waits = spec.get("on_demand") and manager.has_enablement
    # That a service which comes and goes reads its file again is no change of what is on the node.
    if not plan.actions - ({"reload"} if waits else set()):
        return
    plan.result.changed = True
    was_up = seen["running"] or (seen["lingering"] and not _up(spec))
    before = _describe(manager, was_up, answer, seen["enabled"], waits)
    after = "" if spec["state"] == "absent" else _describe(manager, _up(spec), plan.wanted, spec["enabled"], waits)
    header = f"service {spec['name']}"
    plan.result.diff = [{"before_header": header, "after_header": header, "before": before, "after": after}]


def _up(spec: Spec) -> bool:
    return spec["state"] == "started"


def _actions(spec: Spec, seen: dict[str, Any], same: bool) -> set[str]:
    actions = set()
    if spec["enabled"] and not seen["enabled"]:
        actions.add("enable")
    if not spec["enabled"] and seen["partly_enabled"]:
        actions.add("disable")
    if not _up(spec):
        return actions | ({"stop", "forget"} if seen["lingering"] else set())
    if not seen["running"]:
        actions.add("start")
    elif not same:
        actions.add("reload")
    return actions


def _describe(manager: Any, running: bool, generation: str, enabled: bool, waits: bool) -> str:
    words = [("starts on demand" if waits else "running") if running else "stopped"]
    if running and generation and not waits:
        words.append(f"generation {generation}")
    if manager.has_enablement:
        words.append("enabled" if enabled else "disabled")
    return ", ".join(words) + "\n"


def _apply(manager: Any, plans: list[Plan], wait: float) -> None:
    """Do the actions of all plans kind by kind, many services at once, and see what became of each."""
    if not plans:
        return
    manager.mark([plan.spec for plan in plans])
    starting = [
        plan for plan in plans if "start" in plan.actions and plan.spec.get("on_demand") and manager.has_enablement
    ]
    for plan in starting[MOST_TRIED:]:
        plan.spec["only_socket"] = True
    for action in ("enable", "disable", "stop", "forget", "start", "reload"):
        _perform(manager, [plan for plan in plans if action in plan.actions], action)
    going = [
        plan
        for plan in plans
        if _up(plan.spec) and plan.actions & {"start", "reload"} and not plan.spec.get("only_socket")
    ]
    lost = _settle(manager, going, wait)
    if lost:
        # A reload onto something that the service does not take may have killed it: it gets one fresh start.
        _perform(manager, [plan for plan in lost if not _runs(manager, plan)], "start")
        lost = _settle(manager, lost, wait)
    states = manager.observe([plan.spec for plan in plans])
    for plan in plans:
        state = states[plan.spec["id"]]
        silent = bool(plan.spec.get("only_socket")) and not state["running"]
        _conclude(manager, plan, state, plan in lost or silent)


def _perform(manager: Any, plans: list[Plan], action: str) -> None:
    if not plans:
        return
    if action in ("start", "reload"):
        for plan in plans:
            if instances_ask.is_stamped(plan.spec):
                instances_ask.remove_stamp(plan.spec)
    point(f"instances.before_{action}")
    errors = getattr(manager, action)([plan.spec for plan in plans]) or {}
    point(f"instances.after_{action}")
    for plan in plans:
        plan.result.msg = errors.get(plan.spec["id"], plan.result.msg)


def _settle(manager: Any, plans: list[Plan], wait: float) -> list[Plan]:
    """Wait for all at once; return those that do not run or do not answer with the wanted generation in time."""
    begun = time.monotonic()
    work: list[Callable[[], bool]] = [_waiter(manager, plan, begun, wait) for plan in plans]
    return [plan for plan, well in zip(plans, _in_parallel(lambda step: step(), work), strict=True) if not well]


def _waiter(manager: Any, plan: Plan, begun: float, wait: float) -> Callable[[], bool]:
    return lambda: _wait_for(manager, plan, begun + (plan.spec["wait"] or wait))


def _wait_for(manager: Any, plan: Plan, deadline: float) -> bool:
    if not plan.wanted or instances_ask.is_stamped(plan.spec):
        return _stays_up(manager, plan)
    look = time.monotonic() + LOOK_SECONDS
    while True:
        left = deadline - time.monotonic()
        if instances_ask.ask(plan.spec, max(0.1, left)) == plan.wanted:
            return True
        if left <= 0:
            return False
        if time.monotonic() > look:
            if not _runs(manager, plan):
                return False
            look = time.monotonic() + LOOK_SECONDS
        time.sleep(POLL_SECONDS)


def _stays_up(manager: Any, plan: Plan) -> bool:
    """A service that cannot be asked must still run a moment after: PHP-FPM dies after a reload that says 0."""
    time.sleep(LOOK_SECONDS)
    return _runs(manager, plan)


def _runs(manager: Any, plan: Plan) -> bool:
    return bool(manager.observe([plan.spec])[plan.spec["id"]]["running"])


def _conclude(manager: Any, plan: Plan, state: dict[str, Any], lost: bool) -> None:
    spec, result = plan.spec, plan.result
    said = " ".join(part for part in (result.msg, manager.words(spec) if lost else "") if part)
    result.msg = ""
    if lost:
        _fail(result, _complaint(plan, bool(state["running"]), said))
    elif plan.actions & {"stop"} and state["lingering"]:
        _fail(result, f"{spec['name']} does not stop. Look at its processes, end them, then retry.")
    elif manager.has_enablement and spec["enabled"] != state["enabled"] and plan.actions & {"enable", "disable"}:
        verb = "enabled" if spec["enabled"] else "disabled"
        _fail(result, f"{spec['unit']} could not be {verb}; see `systemctl status`. {said}".rstrip())
    elif instances_ask.is_stamped(spec):
        _stamp(plan)


def _stamp(plan: Plan) -> None:
    if not _up(plan.spec):
        instances_ask.remove_stamp(plan.spec)
    elif plan.wanted:
        instances_ask.write_stamp(plan.spec, plan.wanted)


def _complaint(plan: Plan, running: bool, said: str) -> str:
    name = plan.spec["name"]
    what = (
        f"{name} runs, but does not answer with generation {plan.wanted}"
        if running
        else f"{name} does not stay running"
    )
    return f"{what}. Its last words: {said}" if said else f"{what}, and it left no word in its log."


def _fail(result: ItemResult, message: str) -> None:
    result.changed = False
    result.fail(message)


def _in_parallel(work: Callable[[Any], Any], things: list[Any]) -> list[Any]:
    if len(things) < 2:
        return [work(thing) for thing in things]
    # Most calls concern one service, and the import takes as long as asking it.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(WORKERS, len(things))) as pool:
        return list(pool.map(work, things))
