"""The arguments of the Ansible module config_tree, as its documentation describes them."""

from __future__ import annotations

from typing import Any

_FILE: dict[str, Any] = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str"},
    "template": {"type": "str"},
    "variables": {"type": "dict"},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
_ITEM: dict[str, Any] = {
    "id": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "refuse": {"type": "str", "default": ""},
    "claims": {"type": "list", "elements": "str", "default": []},
    "files": {"type": "list", "elements": "dict", "default": [], "options": _FILE},
}
_SCAN: dict[str, Any] = {
    "start": {"type": "path", "required": True},
    "include": {"type": "str", "required": True},
    "claims": {"type": "list", "elements": "str", "required": True},
}
_OVERLAY: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "absent": {"type": "bool", "default": False},
    "unless": {"type": "str"},
}
_CHECKER: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "argv": {"type": "list", "elements": "str", "required": True},
    "trees": {"type": "list", "elements": "path", "default": []},
    "redirect": {"type": "list", "elements": "path", "default": ["/var/log", "/run", "/var/run"]},
    "keep": {"type": "list", "elements": "path", "default": []},
    "overlay": {"type": "list", "elements": "dict", "default": [], "options": _OVERLAY},
    "per_file": {"type": "bool", "default": False},
    "together": {"type": "str", "default": ""},
}
ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "items": {"type": "list", "elements": "dict", "default": [], "options": _ITEM},
    "shared": {"type": "list", "elements": "dict", "options": _FILE},
    "entries": {"type": "list", "elements": "dict", "default": [], "options": _FILE},
    "shared_id": {"type": "str", "default": "shared"},
    "shared_claims": {"type": "list", "elements": "str", "default": []},
    "directory_mode": {"type": "str", "default": "0755"},
    "scan": {"type": "dict", "options": _SCAN},
    "checker": {"type": "dict", "options": _CHECKER},
    "verdict": {"type": "str", "default": ""},
    "keep_generations": {"type": "int", "default": 3},
    "lock_timeout": {"type": "int", "default": 60},
}
