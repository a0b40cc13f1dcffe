# SPDX-License-Identifier: MIT
"""How filters read yes or no and numbers from people's variables, which may be text: one strict rule for all roles."""

from __future__ import annotations

import re
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean


def truth(value: Any, what: str) -> bool:
    """Return what Ansible itself takes ``value`` for; nothing given is no.

    The text "false" is no, which matters where yes deletes files. Raises ValueError with a sentence that names
    ``what`` for anything that is neither yes nor no.
    """
    if value is None:
        return False
    try:
        return bool(boolean(value, strict=True))
    except TypeError as error:
        raise ValueError(f"The value of {what} is {str(value)[:60]!r}: give true or false.") from error


def whole(value: Any) -> int | None:
    """Return the whole number from 0 on that ``value`` is or spells in at most 10 ASCII digits, None for all else."""
    text = "" if isinstance(value, bool) else str(value)
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) else None
