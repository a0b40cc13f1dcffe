# SPDX-License-Identifier: MIT
"""The Ansible module instances: its arguments, and one call of it."""

from __future__ import annotations

from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils import instances

SOCKETS = {
    "path": {"type": "path", "required": True},
    "gid": {"type": "int", "default": 0},
    "mode": {"type": "str", "default": "0660"},
}
COMMAND = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "uid": {"type": "int", "default": 0},
    "gid": {"type": "int", "default": 0},
    "groups": {"type": "list", "elements": "int", "default": []},
    "environment": {"type": "dict", "default": {}},
    "daemonizes": {"type": "bool", "default": False},
    "pidfile": {"type": "path", "default": ""},
    "output": {"type": "path", "default": ""},
    "reload_signal": {"type": "str", "default": "HUP", "choices": ["HUP", "USR1", "USR2"]},
    "stop_signal": {"type": "str", "default": "TERM", "choices": ["TERM", "QUIT", "INT"]},
    "sockets": {"type": "list", "elements": "dict", "default": [], "options": SOCKETS},
    "sockets_variable": {"type": "str", "default": ""},
}
HTTP = {
    "port": {"type": "int", "default": 80},
    "address": {"type": "str", "default": "127.0.0.1"},
    "host": {"type": "str", "default": "localhost"},
    "header": {"type": "str", "default": "X-Wcp360-Generation"},
    "path": {"type": "str", "default": "/"},
}
FASTCGI = {"socket": {"type": "path", "required": True}, "path": {"type": "str", "default": "/ping"}}
ASK = {
    "http": {"type": "dict", "options": HTTP},
    "fastcgi": {"type": "dict", "options": FASTCGI},
    "stamp": {"type": "dict", "options": {"path": {"type": "path", "required": True}}},
}
ITEM = {
    "id": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "enabled": {"type": "bool"},
    "generation": {"type": "str", "default": ""},
    "unit": {"type": "str", "default": ""},
    "socket_unit": {"type": "str", "default": ""},
    "on_demand": {"type": "bool", "default": False},
    "boot_file": {"type": "path", "default": ""},
    "unit_reload_signal": {"type": "str", "choices": ["HUP", "USR1", "USR2"]},
    "executable": {"type": "path"},
    "wait": {"type": "float"},
    "error_log": {"type": "path", "default": ""},
    "ask": {"type": "dict", "options": ASK, "mutually_exclusive": [["http", "fastcgi", "stamp"]]},
    "command": {"type": "dict", "options": COMMAND, "required_if": [["daemonizes", True, ["pidfile"]]]},
}
ARGUMENTS: dict[str, Any] = {
    "items": {"type": "list", "elements": "dict", "required": True, "options": ITEM},
    "generations": {"type": "dict"},
    "failed_ids": {"type": "list", "elements": "str"},
    "manager": {"type": "str", "choices": ["auto", "systemd", "none"], "default": "auto"},
    "wait": {"type": "float", "default": 20},
    "lock_timeout": {"type": "float", "default": 60},
}


def run(module: Any) -> None:
    """Run the module."""
    instances.converge(module)
