# SPDX-License-Identifier: MIT
"""Render the templates of config_tree's files on the controller, before one call takes them all to the node."""

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
ROLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "roles")


class Renderer:
    """Renders for one task. ``role`` is the collection's role that a template belongs to where the task has none."""

    def __init__(self, action: ActionBase, task_vars: dict[str, Any], role: str = "") -> None:
        self._action, self._task_vars, self._role = action, task_vars, role
        self._templars: dict[str, tuple[Any, str]] = {}

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return config_tree's arguments with contents for templates; an item that cannot be rendered is refused."""
        arguments = dict(given)
        for key in ("shared", "entries"):
            if arguments.get(key) is not None:
                arguments[key] = [self._rendered(entry) for entry in arguments[key]]
        return {**arguments, "items": [self._rendered_item(item) for item in arguments.get("items") or []]}

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
            path = self._found(template)
            search = [os.path.dirname(path)]
            for place in self._task_vars.get("ansible_search_path", []):
                search += [os.path.join(place, "templates"), place]
            self._templars[template] = (
                self._action._templar.copy_with_new_env(searchpath=search),
                os.path.basename(path),
            )
        return self._templars[template]

    def _found(self, template: str) -> str:
        try:
            return str(self._action._find_needle("templates", template))
        except AnsibleError as error:
            path = os.path.join(ROLES, self._role, "templates", template)
            if self._role and os.path.isfile(path):
                return path
            raise AnsibleActionFail(f"The template {template} was not found: {error}") from error


def _reason(error: BaseException) -> str:
    """Return the innermost message, which is what a filter said about a value."""
    seen = str(error)
    while error.__cause__ is not None:
        error = error.__cause__
        seen = getattr(error, "message", "") or str(error) or seen
    return seen
