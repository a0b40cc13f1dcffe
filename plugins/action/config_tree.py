# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Render the templates of all items on the controller, then run the Ansible module once."""

from __future__ import annotations

import os
from collections import ChainMap
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

# A file that includes another is compiled once for all items: jinja keeps what it includes, and nothing else.
DRIVER = trust_as_template("{% include config_tree_template %}")
DIGESTS = {"config_tree_item": "@@WCP360_ITEM@@", "config_tree_generation": "@@WCP360_GENERATION@@"}


class ActionModule(ActionBase):
    """Render, then hand over."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns; an item whose template cannot be rendered fails alone."""
        super().run(tmp, task_vars)
        self._task_vars = task_vars or {}
        self._templars: dict[str, Any] = {}
        arguments = dict(self._task.args)
        for key in ("shared", "entries"):
            if arguments.get(key) is not None:
                arguments[key] = [self._rendered(entry) for entry in arguments[key]]
        arguments["items"] = [self._rendered_item(item) for item in arguments.get("items") or []]
        return self._execute_module(
            module_name="wcp360.hosting.config_tree", module_args=arguments, task_vars=self._task_vars
        )

    def _rendered_item(self, item: Any) -> Any:
        if not isinstance(item, dict) or item.get("refuse") or item.get("state") == "absent":
            return {key: value for key, value in item.items() if key != "files"} if isinstance(item, dict) else item
        try:
            return {**item, "files": [self._rendered(entry) for entry in item.get("files") or []]}
        except AnsibleActionFail:
            raise
        except AnsibleError as error:
            kept = {key: value for key, value in item.items() if key != "files"}
            return {**kept, "refuse": f"Its configuration cannot be rendered: {_reason(error)}"}

    def _rendered(self, entry: Any) -> Any:
        if not isinstance(entry, dict) or not entry.get("template"):
            return entry
        kept = {key: value for key, value in entry.items() if key not in ("template", "variables")}
        templar, name = self._templar_for(entry["template"])
        own = {"config_tree_template": name, **DIGESTS}
        templar.available_variables = ChainMap(own, entry.get("variables") or {}, self._task_vars)
        text = str(templar.template(DRIVER, escape_backslashes=False))
        return {**kept, "content": text if text.endswith("\n") else text + "\n"}

    def _templar_for(self, template: str) -> tuple[Any, str]:
        if template not in self._templars:
            try:
                path = self._find_needle("templates", template)
            except AnsibleError as error:
                raise AnsibleActionFail(f"The template {template} was not found: {error}") from error
            search = [os.path.dirname(path)]
            for place in self._task_vars.get("ansible_search_path", []):
                search += [os.path.join(place, "templates"), place]
            self._templars[template] = (self._templar.copy_with_new_env(searchpath=search), os.path.basename(path))
        return self._templars[template]


def _reason(error: BaseException) -> str:
    """Return the innermost message, which is what a filter said about a value."""
    seen = str(error)
    while error.__cause__ is not None:
        error = error.__cause__
        seen = getattr(error, "message", "") or str(error) or seen
    return seen
