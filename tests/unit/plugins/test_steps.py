"""Steps in one call: what failed is left out later, what was found out is handed on, and a moved node stops all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils import node_facts, steps


class Done(Exception):
    """Carries what a module ends with."""


class Call:
    """Stands for AnsibleModule: parameters in, one result out."""

    def __init__(
        self, given: list[dict[str, Any]], *, check: bool = False, facts: dict[str, Any] | None = None
    ) -> None:
        defaults = {"role": "", "after": [], "needs": [], "generations": "", "owners": ""}
        named = [{"name": step["key"], **defaults, **step} for step in given]
        self.params = {"steps": named, "facts": facts or {}, "verdicts": {}, "fault": "", "lock_timeout": 5}
        self.check_mode, self._diff = check, False
        self.result: dict[str, Any] = {}

    def exit_json(self, **result: Any) -> NoReturn:
        self.result = result
        raise Done

    def fail_json(self, **result: Any) -> NoReturn:
        self.result = result | {"failed": True}
        raise Done


def run(*given: dict[str, Any], **more: Any) -> dict[str, Any]:
    call = Call(list(given), **more)
    with pytest.raises(Done):
        steps.run(call)
    return call.result


def tree(key: str, base: Path, *names: str, **more: Any) -> dict[str, Any]:
    ids = {"owner_uid": os.getuid(), "owner_gid": os.getgid()}
    listed = [{"id": name, "base": str(base), **ids, "directories": [{"path": name}]} for name in names]
    return {"key": key, "use": "owned_tree", "args": {"items": listed}, **more}


def test_an_item_that_failed_is_left_out_of_the_steps_after(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    (tmp_path / "first/bad").write_text("in the way")
    result = run(
        tree("one", tmp_path / "first", "good", "bad"), tree("two", tmp_path / "second", "good", "bad", after=["one"])
    )
    assert list(result["failures"]) == ["bad"] and "is not a directory" in result["failures"]["bad"]
    assert [item["id"] for item in result["steps"][1]["items"]] == ["good"]
    assert (tmp_path / "second/good").is_dir() and not (tmp_path / "second/bad").exists()


def test_check_mode_says_the_same_and_does_nothing(tmp_path: Path) -> None:
    predicted = run(tree("one", tmp_path, "new"), check=True)
    assert not (tmp_path / "new").exists()
    done = run(tree("one", tmp_path, "new"))
    assert predicted["steps"] == done["steps"] and done["changed"]
    assert not run(tree("one", tmp_path, "new"))["changed"]


def test_a_step_whose_need_is_unmet_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("in the way")
    result = run(tree("one", tmp_path, "bad"), tree("two", tmp_path, "other", needs=["one"]))
    assert [step["skipped"] for step in result["steps"]] == [False, True]
    assert not (tmp_path / "other").exists()


def test_arguments_of_a_step_are_checked_before_anything_of_it_is_done(tmp_path: Path) -> None:
    result = run({"key": "one", "use": "owned_tree", "args": {"items": [{"id": "x", "colour": "red"}]}})
    assert result["failed"] and "'one'" in result["msg"] and "colour" in result["msg"]


def test_on_a_node_that_is_not_what_it_was_nothing_is_done(tmp_path: Path) -> None:
    here = node_facts.collect()
    known = {"distribution": here["distribution"], "distribution_version": "3.1"}
    result = run(tree("one", tmp_path, "new"), facts=known)
    assert result["moved"] == ["distribution_version"]
    assert result["facts"]["distribution_version"] == here["distribution_version"]
    assert not (tmp_path / "new").exists()
