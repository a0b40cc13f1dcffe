"""config_tree with a checker that takes one file: all changed files in one run, with the same results as one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.test_config_tree import Tree, failed, item, tree

__all__ = ["tree"]
COUNT = 60
PROGRAM = """#!/bin/sh
printf x >>{runs}
if grep -q bad "$1" $(sed -n 's/^take //p' "$1"); then
    echo bad directive
    exit 1
fi
"""


def with_program(tree: Tree, runs: Path) -> dict[str, Any]:
    program = tree.base / "one"
    program.write_text(PROGRAM.format(runs=runs))
    program.chmod(0o755)
    checker: dict[str, Any] = tree.params([])["checker"]
    return checker | {"argv": [str(program), "{file}"], "per_file": True}


@pytest.mark.parametrize("bad", [set(), {7}, {0, COUNT - 1}, set(range(3, 30)), set(range(COUNT))])
def test_checked_together_the_results_are_the_same_as_one_by_one(tree: Tree, bad: set[int]) -> None:
    runs = tree.base / "runs"
    checker = with_program(tree, runs)
    items = [item(f"n{number}", "bad" if number in bad else "good") for number in range(COUNT)]
    items.append(item("refused", "bad", refuse="No."))
    alone = tree.run(items, check=True, checker=checker)
    assert len(runs.read_text()) == COUNT
    runs.unlink()
    together = tree.run(items, checker=checker | {"together": "take {file}"})
    assert failed(together) == failed(alone) and len(failed(alone)) == len(bad) + 1
    assert len(tree.files()) == COUNT - len(bad)
    made = len(runs.read_text())
    assert made == 1 if not bad else made < 20 if len(bad) == 1 else made < 2 * COUNT
    assert not failed(tree.run([item("n1", "other")], checker=checker | {"together": "take {file}"}))
