# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Write what each task really did to a private file that a program can trust."""

from __future__ import annotations

DOCUMENTATION = """
name: outcomes
type: aggregate
short_description: Write one JSON line per finished task to a private file
description:
  - Does nothing unless E(WCP360_OUTCOMES_FILE) is set.
  - >-
    What a node or a tenant's value prints cannot forge a line, because only this plugin and the action plugin of
    M(wcp360.hosting.steps), which writes one line for each of its steps, write to the file.
  - >-
    One line per task and host: C(host), C(task), C(role), C(action), C(changed), C(failed), C(ignored), C(skipped),
    C(unreachable), C(check) (whether it was only predicted), C(msg), C(items) (a list, or null where the task's
    Ansible module does not return one) and C(diff) (what changed as a list, or null). The last line is
    C({"stats": {host: {ok, changed, failures, unreachable}}}).
  - >-
    For crash tests, E(WCP360_KILL_AT=task:NAME) ends the process with SIGKILL when the task NAME starts for real, and
    E(WCP360_KILL_AT=predicted:NAME) when it starts in check mode.
  - >-
    E(WCP360_GATE) names two pipes of a program that has a play predict first. Before the first task that is neither in
    check mode nor in a play with the variable C(wcp360_predicts) it is asked by a line to the pipe with C(.ask) behind
    its name. The play goes on only when the answer in the one with C(.answer), a JSON object, has an empty C(reason).
  - >-
    E(WCP360_PAYLOADS) names a directory in which Ansible finds and keeps the payloads of its modules, so that they are
    not built in every run, and to which the bytecode of the controller's Python is added. Whoever sets it gives another
    directory whenever the modules, Ansible or Python have changed.
requirements:
  - ansible-core 2.19
"""

EXAMPLES = """
- name: Read a run made with ANSIBLE_CALLBACKS_ENABLED=wcp360.hosting.outcomes WCP360_OUTCOMES_FILE=/run/mine/outcomes
  ansible.builtin.slurp:
    src: /run/mine/outcomes
"""

import contextlib
import json
import os
import signal
from typing import Any

from ansible import constants as C
from ansible.plugins.callback import CallbackBase
from ansible_collections.wcp360.hosting.plugins.plugin_utils.armed import taken
from ansible_collections.wcp360.hosting.plugins.plugin_utils.bytecode import add_bytecode
from ansible_collections.wcp360.hosting.plugins.plugin_utils.outcomes_file import OutcomesFile

STEPS = "wcp360.hosting.steps"
GATE_VARIABLE = "WCP360_GATE"
KILL_VARIABLE = "WCP360_KILL_AT"
PAYLOADS_VARIABLE = "WCP360_PAYLOADS"


class CallbackModule(CallbackBase):
    """Append outcomes, wait at the gate, and die on request."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "wcp360.hosting.outcomes"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kill_at = os.environ.get(KILL_VARIABLE, "")
        self._gate = os.environ.get(GATE_VARIABLE, "")
        self._predicts = False
        self._file = OutcomesFile()
        self._payloads = os.environ.get(PAYLOADS_VARIABLE, "")
        _keep_payloads(self._payloads)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Remember whether the play only predicts, though a task of it that only looks may be no check."""
        self._predicts = play.get_vars().get("wcp360_predicts") is True

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Ask before the first task that does something; end this process where a crash test asks for it."""
        if self._gate and not (task.check_mode or self._predicts):
            self._pass()
        name = f"{'predicted' if task.check_mode else 'task'}:{task.name}"
        if self._kill_at == name or taken(lambda point: point == name) == f"kill:{name}":
            os.kill(os.getpid(), signal.SIGKILL)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Treat a handler as any other task."""
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Record a task that ended well."""
        self._record(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Record a task that failed."""
        self._record(result, failed=True, ignored=ignore_errors)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Record a task that was left out."""
        self._record(result, skipped=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Record a node that could not be reached."""
        self._record(result, unreachable=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Record the totals; a file that ends without them belongs to a run that was cut off."""
        totals = {}
        for host in sorted(stats.processed):
            summary = stats.summarize(host)
            totals[host] = {key: summary[key] for key in ("ok", "changed", "failures", "unreachable")}
        self._file.write({"stats": totals})
        self._file.sync()
        if self._payloads:
            add_bytecode(self._payloads)

    def _pass(self) -> None:
        try:
            reason = _ask(self._gate)
        except Exception as error:  # Ansible would only warn of it, and go on
            reason = f"It could not be asked whether this may be done: {error}"
        if reason:
            self._display.error(reason)
            raise SystemExit(1)
        self._gate = ""

    def _record(self, result: Any, **state: bool) -> None:
        data = result.result
        if state.get("failed") and data.get("moved") and result.task.resolved_action == STEPS:
            return  # nothing was done, and the playbook asks again with what it learned
        flags = {"failed": False, "ignored": False, "skipped": False, "unreachable": False} | state
        role = result.task._role
        self._file.write(
            {
                "host": result.host.get_name(),
                "task": result.task.name or result.task.action,
                "role": role.get_name() if role else "",
                "action": result.task.resolved_action or result.task.action,
                "changed": bool(result.is_changed()),
                **flags,
                "check": bool(result.task.check_mode),
                "msg": str(data.get("msg", "")),
                "items": _gather(_parts(data), "items"),
                # A loop tells of every element as soon as one of them changes.
                "diff": _gather([part for part in _parts(data) if part.get("changed")], "diff"),
            }
        )


def _ask(gate: str) -> str:
    """Return why the run must not go on, or an empty string."""
    with open(f"{gate}.ask", "w", encoding="ascii") as question:
        question.write("May this be done?\n")
    with open(f"{gate}.answer", encoding="utf-8") as answer:
        return str(json.loads(answer.readline())["reason"])  # the other side keeps the pipe open: it has no end


def _keep_payloads(directory: str) -> None:
    """Have Ansible keep the payloads of its modules in a directory of the caller's, which answers for its contents."""
    if directory:
        with contextlib.suppress(FileExistsError):
            os.symlink(directory, os.path.join(C.DEFAULT_LOCAL_TMP, "ansiballz_cache"))


def _parts(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the results of a loop, or the one result of a task without one."""
    results = data.get("results")
    parts = results if isinstance(results, list) else [data]
    return [part for part in parts if isinstance(part, dict)]


def _gather(parts: list[dict[str, Any]], key: str) -> list[Any] | None:
    """Return the lists under ``key`` of results, joined; null where there is none."""
    found = [part[key] for part in parts if isinstance(part.get(key), (list, dict))]
    if not found:
        return None
    return [entry for value in found for entry in (value if isinstance(value, list) else [value])]
