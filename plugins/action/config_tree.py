# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Render the templates of all items on the controller, then run the Ansible module once."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.wcp360.hosting.plugins.plugin_utils.rendering import Renderer


class ActionModule(ActionBase):
    """Render, then hand over."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns; an item whose template cannot be rendered fails alone."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = Renderer(self, variables).arguments(self._task.args)
        return self._execute_module(
            module_name="wcp360.hosting.config_tree", module_args=arguments, task_vars=variables
        )
