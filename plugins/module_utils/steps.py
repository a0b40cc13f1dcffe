# SPDX-License-Identifier: MIT
"""Several of our Ansible modules one after the other in one call, each with what came of those before it.

A call to a node costs about a third of a second over SSH, whatever it does; a role with four modules would spend most
of its time on that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NoReturn

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.wcp360.hosting.plugins.module_utils import node_facts
from ansible_collections.wcp360.hosting.plugins.module_utils.faults import arm, point
from ansible_collections.wcp360.hosting.plugins.module_utils.items import lock_or_fail

Run = Callable[[Any], None]
Values = dict[str, Any]


# Only what a call comes to is imported: each of them takes 10 to 20 ms.
def _accounts() -> tuple[Values, Run]:
    from ansible_collections.wcp360.hosting.plugins.module_utils import call_accounts

    return call_accounts.ARGUMENTS, call_accounts.run


def _config_tree() -> tuple[Values, Run]:
    from ansible_collections.wcp360.hosting.plugins.module_utils import call_config_tree, config_tree_spec

    return config_tree_spec.ARGUMENTS, call_config_tree.run


def _http_probe() -> tuple[Values, Run]:
    from ansible_collections.wcp360.hosting.plugins.module_utils import call_http_probe

    return call_http_probe.ARGUMENTS, call_http_probe.run


def _instances() -> tuple[Values, Run]:
    from ansible_collections.wcp360.hosting.plugins.module_utils import call_instances

    return call_instances.ARGUMENTS, call_instances.run


def _owned_tree() -> tuple[Values, Run]:
    from ansible_collections.wcp360.hosting.plugins.module_utils import call_owned_tree

    return call_owned_tree.ARGUMENTS, call_owned_tree.run


MODULES: dict[str, Callable[[], tuple[Values, Run]]] = {
    "accounts": _accounts,
    "config_tree": _config_tree,
    "http_probe": _http_probe,
    "instances": _instances,
    "owned_tree": _owned_tree,
}
STEP: Values = {
    "key": {"type": "str", "required": True, "no_log": False},
    "name": {"type": "str", "required": True},
    "role": {"type": "str", "default": ""},
    "use": {"type": "str", "required": True, "choices": sorted(MODULES)},
    "args": {"type": "dict", "required": True},
    "after": {"type": "list", "elements": "str", "default": []},
    "needs": {"type": "list", "elements": "str", "default": []},
    "generations": {"type": "str", "default": ""},
    "owners": {"type": "str", "default": ""},
}
ARGUMENTS: Values = {
    "steps": {"type": "list", "elements": "dict", "options": STEP, "required": True},
    "predicted": {"type": "bool", "default": False},
    "facts": {"type": "dict", "default": {}},
    "verdicts": {"type": "dict", "default": {}},
    "fault": {"type": "str", "default": ""},
    "lock_timeout": {"type": "int", "default": 60},
}


#: How owned_tree begins to say where it puts a directory that is not to be purged.
TRASHED = "moved to "


class StepError(Exception):
    """A step as a whole cannot be done; the message is a sentence."""


class _Ended(BaseException):
    """Carries the result out of a module's code, which ends by telling it and expects not to come back."""

    def __init__(self, result: Values) -> None:
        super().__init__()
        self.result = result


class _Call:
    """What the code of an Ansible module sees of one, inside of a step."""

    has_lock = True
    _diff = False  # the items have their diffs; a second copy would only be longer

    def __init__(self, params: Values, check_mode: bool) -> None:
        self.params, self.check_mode = params, check_mode

    def exit_json(self, **result: Any) -> NoReturn:
        """End the step."""
        raise _Ended(result)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """End all steps."""
        raise StepError(msg)


def run(module: Any) -> None:
    """Do all steps, or in check mode say what they would do, and exit with the result of each."""
    arm("" if module.check_mode else module.params["fault"])
    moved = _moved(module.params["facts"])
    if moved:
        message = f"The node is not what the values were made for: {', '.join(moved)} moved. Nothing was done."
        module.fail_json(msg=message, moved=moved, facts=node_facts.collect())
    done: dict[str, Values] = {}
    try:
        with nullcontext() if module.check_mode else lock_or_fail(module):
            for step in module.params["steps"]:
                point(f"before {step['role']}.{step['use']}")
                done[step["key"]] = _step(_judged(step, module.params["verdicts"]), done, module.check_mode)
                point(f"after {step['role']}.{step['use']}")
    except StepError as error:
        module.fail_json(msg=str(error))
    results = list(done.values())
    module.exit_json(
        changed=any(result["changed"] for result in results),
        steps=results,
        failures=_failures(results),
        verdicts={key: result["verdict"] for key, result in done.items() if result.get("verdict")},
        trashed=sorted(_trashed(results)),
        diff=[entry for result in results for item in result["items"] for entry in item["diff"]]
        if module._diff
        else [],
    )


def _moved(expected: Values) -> list[str]:
    """Return the names of the facts that are not what the caller's values were made from."""
    if not expected:
        return []
    facts = node_facts.collect()
    return sorted(name for name, value in expected.items() if facts.get(name) != value)


def _judged(step: Values, verdicts: Values) -> Values:
    verdict = verdicts.get(step["key"])
    return {**step, "args": {**step["args"], "verdict": verdict}} if verdict else step


def _step(step: Values, done: dict[str, Values], check_mode: bool) -> Values:
    common = {"name": step["name"], "role": step["role"], "use": step["use"]}
    items = _due(step, done)
    source = done.get(step["generations"], {})
    unmet = any(_is_unmet(done[key]) for key in step["needs"])
    if unmet or (step["generations"] and not source.get("generation")) or _is_idle(step, items):
        return {**common, "skipped": True, "changed": False, "items": []}
    arguments = _linked(step, {**step["args"], "items": items}, source)
    return {**common, "skipped": False, **_called(step, arguments, check_mode)}


def _due(step: Values, done: dict[str, Values]) -> list[Any]:
    """Return the items of a step without those that failed before, with the owners that were found out before."""
    failed = _failures([done[key] for key in step["after"]])
    items = [item for item in step["args"].get("items") or [] if item.get("id") not in failed]
    if not step["owners"]:
        return items
    known = done[step["owners"]].get("accounts", {})
    return [_owned(dict(item), known) for item in items]


def _is_idle(step: Values, items: list[Any]) -> bool:
    """Tell whether nothing is left to do; a tree has shared files beside its items."""
    return not items and not (step["args"].get("shared") or step["args"].get("entries"))


def _is_unmet(result: Values) -> bool:
    return bool(result["skipped"] or any(item["failed"] for item in result["items"]))


def _owned(item: Values, known: dict[str, Values]) -> Values:
    """Give an item its account's ids; -1 is nobody's, and what an unknown owner has is left alone with a sentence."""
    ids = known.get(item.pop("account", ""), {})
    uid, gid = (-1 if ids.get(key) is None else ids[key] for key in ("uid", "gid"))
    if "files" in item:
        item["files"] = [{**file, "group": str(gid)} for file in item["files"]]
    elif "base" in item:
        item |= {"owner_uid": uid, "owner_gid": gid}
        if item.get("trash_name"):
            item["trash_name"] = item["trash_name"].replace("{uid}", str(uid))
    return item


def _linked(step: Values, arguments: Values, source: Values) -> Values:
    """Tell a step which generations the tree before it has: of the whole, and of each item."""
    if not step["generations"]:
        return arguments
    digests = {**source["item_generations"], **source["shared_generation"]}
    if step["use"] == "instances":
        return {**arguments, "generations": digests, "failed_ids": source["failed_ids"]}
    items = [
        {**item, "expect_site": str(item.get("expect_site", "")).replace("{generation}", digests.get(item["id"], ""))}
        for item in arguments["items"]
    ]
    return {**arguments, "items": items}


def _called(step: Values, arguments: Values, check_mode: bool) -> Values:
    specification, function = MODULES[step["use"]]()
    validated = ArgumentSpecValidator(specification).validate(arguments)
    if validated.error_messages:
        raise StepError(f"The step '{step['name']}' cannot be done: {'; '.join(validated.error_messages)}.")
    try:
        function(_Call(validated.validated_parameters, check_mode))
    except _Ended as ended:
        shared = {arguments["shared_id"]: ended.result.get("generation", "")} if arguments.get("shared_id") else {}
        return {**ended.result, "shared_generation": shared}
    raise StepError(f"The step '{step['name']}' ended without a result.")


def _trashed(results: list[Values]) -> set[str]:
    """Return the ids of the items of which something went, or will go, into the trash."""
    items = [item for result in results if result["use"] == "owned_tree" for item in result["items"]]
    return {item["id"] for item in items if any(entry["after"].startswith(TRASHED) for entry in item["diff"])}


def _diff(results: list[Values]) -> list[Values]:
    return [entry for result in results for item in result["items"] for entry in item["diff"]]


def _failures(results: list[Values]) -> dict[str, str]:
    failures: dict[str, str] = {}
    for result in results:
        for item in result["items"]:
            if item["failed"]:
                failures.setdefault(item["id"], item["msg"])
    return failures
