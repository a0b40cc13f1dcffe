# SPDX-License-Identifier: MIT
"""The Ansible module http_probe: its arguments, and one call of it."""

from __future__ import annotations

from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemResult, finish
from ansible_collections.wcp360.hosting.plugins.module_utils.probe_addresses import usable

ITEM = {
    "id": {"type": "str", "required": True},
    "host": {"type": "str", "required": True},
    "expect_site": {"type": "str", "default": ""},
    "expect_status": {"type": "list", "elements": "int", "default": []},
    "path": {"type": "str", "default": "/.wcp360-probe"},
}
ARGUMENTS = {
    "items": {"type": "list", "elements": "dict", "required": True, "options": ITEM},
    "addresses": {"type": "list", "elements": "str", "default": ["127.0.0.1", "::1"]},
    "port": {"type": "int", "default": 80},
    "timeout": {"type": "int", "default": 10},
}


def run(module: Any) -> None:
    """Run the module."""
    addresses, left_out = usable(module.params["addresses"])
    if module.check_mode:
        finish(module, [ItemResult(item["id"]) for item in module.params["items"]], left_out=left_out)
    # What it imports for HTTP takes 20 ms, which a prediction need not pay for.
    from ansible_collections.wcp360.hosting.plugins.module_utils.probe import Prober

    prober = Prober(addresses, module.params["port"], module.params["timeout"])
    try:
        results = [prober.probe(item) for item in module.params["items"]]
    finally:
        prober.close()
    finish(module, results, left_out=left_out)
