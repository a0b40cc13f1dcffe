# SPDX-License-Identifier: MIT
"""What a run predicted last, kept beside its outcomes: doing it needs no template rendered a second time."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.wcp360.hosting.plugins.plugin_utils.outcomes_file import VARIABLE


def keep(arguments: dict[str, Any]) -> None:
    """Keep the arguments of a call that predicted; does nothing where no program reads outcomes."""
    path = _path()
    if path:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            json.dump(arguments, file)


def kept() -> dict[str, Any]:
    """Return the arguments that were kept. Raises AnsibleActionFail."""
    try:
        with open(_path(), encoding="ascii") as file:
            arguments: dict[str, Any] = json.load(file)
    except FileNotFoundError as error:
        raise AnsibleActionFail("Nothing was predicted in this run that could be done.") from error
    return arguments


def _path() -> str:
    outcomes = os.environ.get(VARIABLE, "")
    return f"{outcomes}.predicted" if outcomes else ""
