# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Ask the program that started the run whether it may go on, now that it is known what it would do."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Ask, wait, and stop the play where the answer is a reason."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return whether the play may go on. The task has to have been given to by a program that answers."""
        super().run(tmp, task_vars)
        _dummy, arguments = self.validate_argument_spec({"path": {"type": "path", "required": True}})
        path = str(arguments["path"])
        with open(f"{path}.ask", "w", encoding="ascii") as ask:
            ask.write("May this be done?\n")
        with open(f"{path}.answer", encoding="utf-8") as answer:
            reason = str(json.loads(answer.readline())["reason"])  # the other side keeps the pipe open: it has no end
        return {"changed": False, "failed": bool(reason), "reason": reason, "msg": reason}
