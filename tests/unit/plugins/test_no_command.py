"""No task of a role runs `command` or `shell`: their check mode guesses, and their arguments are a door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
FORBIDDEN = {"command", "shell", "raw", "script", "expect"}
FILES = sorted(path for kind in ("tasks", "handlers") for path in ROLES.glob(f"*/{kind}/*.yml"))


def tasks_in(entries: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    """Yield every task, those inside blocks included."""
    for entry in entries or []:
        yield entry
        for part in ("block", "rescue", "always"):
            yield from tasks_in(entry.get(part))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROLES)))
def test_no_task_runs_a_command(path: Path) -> None:
    tasks = list(tasks_in(yaml.safe_load(path.read_text(encoding="utf-8"))))
    used = {key.rpartition(".")[2] for task in tasks for key in task} | {
        str(task.get("action", "")).split(" ")[0].rpartition(".")[2] for task in tasks
    }
    assert used & FORBIDDEN == set()


def test_the_roles_have_tasks() -> None:
    assert len(FILES) > 10
