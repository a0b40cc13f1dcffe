"""What fails for want of room on the node says that it may go well later."""

from __future__ import annotations

import errno
from typing import Any, NoReturn

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils import items


class _Ended(Exception):
    pass


class _Module:
    check_mode, _diff = False, False
    has_lock = True

    def __init__(self, *names: str) -> None:
        self.params: dict[str, Any] = {"items": [{"id": name} for name in names]}
        self.told: dict[str, Any] = {}

    def fail_json(self, msg: str) -> NoReturn:
        self.told = {"msg": msg}
        raise _Ended

    def exit_json(self, **told: Any) -> NoReturn:
        self.told = {item["id"]: item for item in told["items"]}
        raise _Ended


def converged(errors: dict[str, Exception]) -> dict[str, Any]:
    def plan(spec: dict[str, Any]) -> list[items.Step]:
        if spec["id"] in errors:
            raise errors[spec["id"]]
        return []

    module = _Module("a", "b", "c")
    with pytest.raises(_Ended):
        items.converge_items(module, plan)
    return module.told


def test_a_full_disk_is_the_nodes_trouble_and_a_refusal_the_items() -> None:
    told = converged({"a": OSError(errno.ENOSPC, "No space left on device"), "b": items.ItemError("It is not ours.")})
    assert [(told[name]["failed"], told[name]["retry"]) for name in "abc"] == [
        (True, True),
        (True, False),
        (False, False),
    ]


def test_what_a_program_refuses_on_a_full_disk_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "ROOM_BYTES", 2**70)
    told = converged({"b": items.ItemError("useradd: cannot lock /etc/passwd")})
    assert told["b"]["retry"] and told["b"]["msg"].startswith("The file system of /etc is full. useradd")
    assert not told["a"]["retry"]


@pytest.mark.parametrize("error", [None, items.ItemError("It is in the way.")])
def test_what_is_one_item_fails_as_a_task(error: Exception | None) -> None:
    def plan(spec: dict[str, Any]) -> list[items.Step]:
        if error:
            raise error
        return [items.Step("/x", "", "y", lambda: None)]

    module = _Module()
    module.params["id"] = "server:mine"
    with pytest.raises(_Ended):
        items.converge_as_one(module, plan)
    assert module.told == {"msg": "It is in the way."} if error else module.told["server:mine"]["changed"]
