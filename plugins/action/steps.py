# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Render the templates of all steps on the controller, then do all steps in one call to the node."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.wcp360.hosting.plugins.module_utils.faults import POINTS
from ansible_collections.wcp360.hosting.plugins.plugin_utils.armed import taken
from ansible_collections.wcp360.hosting.plugins.plugin_utils.outcomes_file import OutcomesFile
from ansible_collections.wcp360.hosting.plugins.plugin_utils.predicted import keep, kept
from ansible_collections.wcp360.hosting.plugins.plugin_utils.rendering import Renderer


class ActionModule(ActionBase):
    """Render, hand over, and write what came of each step where a program wants to read it."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns; to a program that reads outcomes goes all but a summary."""
        super().run(tmp, task_vars)
        self._task_vars = task_vars or {}
        arguments = kept() if self._task.args.get("predicted") else self._arguments()
        fault = "" if self._task.check_mode else taken(POINTS.__contains__)
        result = self._execute_module(
            module_name="wcp360.hosting.steps", module_args={**arguments, "fault": fault}, task_vars=self._task_vars
        )
        if self._task.check_mode and not result.get("failed"):
            keep({**arguments, "verdicts": result["verdicts"]})
        file = OutcomesFile()
        return self._summary(result, file) if file.wanted else result

    def _arguments(self) -> dict[str, Any]:
        return {**self._task.args, "steps": [self._rendered(step) for step in self._task.args.get("steps") or []]}

    def _rendered(self, step: Any) -> Any:
        if not isinstance(step, dict) or step.get("use") != "config_tree":
            return step
        return {**step, "args": Renderer(self, self._task_vars, step.get("role", "")).arguments(step["args"])}

    def _summary(self, result: dict[str, Any], file: OutcomesFile) -> dict[str, Any]:
        for step in result.get("steps") or []:
            file.write(self._line(step))
        # What was asked for and what changed would go through ansible-runner's events once more.
        kept = {key: value for key, value in result.items() if key not in ("steps", "diff", "invocation")}
        return kept if result.get("failed") else {**kept, "items": []}  # the task itself does nothing beside them

    def _line(self, step: dict[str, Any]) -> dict[str, Any]:
        flags = {"failed": False, "ignored": False, "unreachable": False, "skipped": step["skipped"]}
        return {
            "host": self._task_vars.get("inventory_hostname", ""),
            "task": step["name"],
            "role": step["role"],
            "action": f"wcp360.hosting.{step['use']}",
            "changed": step["changed"],
            **flags,
            "check": bool(self._task.check_mode),
            "msg": "",
            "items": step["items"],
            "diff": None,
        }
