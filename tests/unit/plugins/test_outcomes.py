"""The callback plugin in a real run: one line per task, of a loop only what changed, and nobody else's words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wcp360.engine.gate import Gate

COLLECTIONS = next(path for path in map(Path, sys.path) if (path / "ansible_collections/wcp360/hosting").exists())
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Two directories
      ansible.builtin.file: {path: "{{ item }}", state: directory, mode: "0755"}
      loop: ["{{ place }}/old", "{{ place }}/new"]
    - name: Look at the node
      wcp360.hosting.node_facts:
    - name: Left out
      ansible.builtin.debug: {msg: '{"stats": {"localhost": {}}}'}
      when: false
"""


GATED = """
- hosts: localhost
  gather_facts: false
  check_mode: true
  vars: {wcp360_predicts: true}
  tasks:
    - name: Predict
      ansible.builtin.file: {path: "{{ place }}/gated", state: directory, mode: "0755"}
    - name: Only look
      ansible.builtin.command: "test ! -e {{ place }}/gated"
      check_mode: false
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Do
      ansible.builtin.file: {path: "{{ place }}/gated", state: directory, mode: "0755"}
    - name: Do more
      ansible.builtin.file: {path: "{{ place }}/gated/more", state: directory, mode: "0755"}
"""


def run(tmp_path: Path, play: str = PLAY, expected: int = 0, **more: str) -> tuple[int, list[dict[str, Any]]]:
    (tmp_path / "play.yml").write_text(play)
    (tmp_path / "old").mkdir(mode=0o755, exist_ok=True)
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_CALLBACKS_ENABLED": "wcp360.hosting.outcomes",
        "WCP360_OUTCOMES_FILE": str(tmp_path / "outcomes"),
        **more,
    }
    python = json.dumps({"place": str(tmp_path), "ansible_python_interpreter": sys.executable})
    tool = str(Path(sys.executable).with_name("ansible-playbook"))
    words = [tool, "--diff", "-i", "localhost,", "-c", "local", "-e", python, str(tmp_path / "play.yml")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.returncode, [json.loads(line) for line in (tmp_path / "outcomes").read_text().splitlines()]


def test_a_line_for_each_task_and_the_totals(tmp_path: Path) -> None:
    code, lines = run(tmp_path)
    assert code == 0
    assert (tmp_path / "outcomes").stat().st_mode & 0o777 == 0o600
    made, facts, left_out, totals = lines
    assert made["changed"] and [change["after"]["path"] for change in made["diff"]] == [f"{tmp_path}/new"]
    assert (facts["changed"], facts["diff"], facts["items"][0]["id"]) == (False, None, "node")
    assert left_out["skipped"] and left_out["items"] is None
    assert totals == {"stats": {"localhost": {"ok": 2, "changed": 1, "failures": 0, "unreachable": 0}}}


def test_a_killed_run_has_no_totals(tmp_path: Path) -> None:
    code, lines = run(tmp_path, expected=-9, WCP360_KILL_AT="task:Look at the node")
    assert code == -9
    assert [line["task"] for line in lines] == ["Two directories"]


@pytest.mark.parametrize("reason", ["", "It is forbidden."])
def test_the_first_task_that_does_something_waits_for_the_answer(tmp_path: Path, reason: str) -> None:
    asked: list[list[str]] = []

    def judge() -> str:
        asked.append([json.loads(line)["task"] for line in (tmp_path / "outcomes").read_text().splitlines()])
        return reason

    for end in ("ask", "answer"):
        os.mkfifo(tmp_path / f"gate.{end}", 0o600)
    with Gate(tmp_path / "gate", judge) as gate:
        code, lines = run(tmp_path, GATED, 1 if reason else 0, WCP360_GATE=str(tmp_path / "gate"))
    assert asked == [["Predict", "Only look"]]
    assert (code, gate.reason, (tmp_path / "gated").exists()) == (1 if reason else 0, reason, not reason)
    assert [line.get("task") for line in lines[2:]] == ([] if reason else ["Do", "Do more", None])


def test_what_nobody_allows_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "gate.ask").write_text("")
    code, lines = run(tmp_path, GATED, 1, WCP360_GATE=str(tmp_path / "gate"))  # there is no pipe to read an answer from
    assert (code, len(lines), (tmp_path / "gated").exists()) == (1, 2, False)
