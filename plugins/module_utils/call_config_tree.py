# SPDX-License-Identifier: MIT
"""One call of the Ansible module config_tree."""

from __future__ import annotations

import contextlib
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree import (
    ConfigTree,
    refused_as_a_whole,
    removal,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_entries import Entries
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_store import Store
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError, finish, lock_or_fail


def remove(module: Any) -> None:
    """Take the tree away."""
    results = removal(module.params)
    if not module.check_mode:
        Entries(module.params["entries"]).remove()
        Store(module.params["path"]).remove()
    finish(module, results)


def converge(module: Any) -> None:
    """Bring the tree to what is listed."""
    try:
        tree = ConfigTree(module.params)
        tree.plan()
    except ItemError as error:
        results = refused_as_a_whole(module.params, str(error))
        if not results:
            raise
        failed = [result.id for result in results]
        finish(module, results, generation="", item_generations={}, failed_ids=failed, path=module.params["path"])
    if not module.check_mode:
        tree.apply()
    finish(module, list(tree.results.values()), **tree.answer())


def run(module: Any) -> None:
    """Run the module."""
    with contextlib.nullcontext() if module.check_mode else lock_or_fail(module):
        try:
            remove(module) if module.params["state"] == "absent" else converge(module)
        except (ItemError, OSError) as error:
            module.fail_json(msg=str(error), items=[])
