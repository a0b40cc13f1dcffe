"""The PHP settings that a tenant may set, with their grammar and bounds.

Everything else stays with the role: a setting that loads code, writes files, runs commands or opens the tenant's walls
is not on the list. The role ``php_fpm`` holds the same list for those who use it without the panel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import AfterValidator

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
MIB = 2**20
GIB = 2**30


def _size(low: int, high: int) -> Callable[[str], None]:
    def check(value: str) -> None:
        match = re.fullmatch(r"([1-9][0-9]{0,9})([KMG]?)", value, re.ASCII)
        if match is None or not low <= int(match[1]) * _UNITS[match[2]] <= high:
            raise ValueError(f"give a size from {low // MIB}M to {high // MIB}M, as in 64M")

    return check


def _number(low: int, high: int) -> Callable[[str], None]:
    def check(value: str) -> None:
        if re.fullmatch(r"0|[1-9][0-9]{0,9}", value, re.ASCII) is None or not low <= int(value) <= high:
            raise ValueError(f"give a whole number from {low} to {high}")

    return check


def _pattern(pattern: str, hint: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if re.fullmatch(pattern, value, re.ASCII) is None:
            raise ValueError(hint)

    return check


_flag = _pattern(r"(?i:on|off|0|1)", "give on or off")

SETTINGS: Mapping[str, Callable[[str], None]] = {
    "date.timezone": _pattern(r"[A-Za-z]+(?:[/_+-][A-Za-z0-9]+){0,4}", "give a time zone, as in Europe/Berlin"),
    "display_errors": _flag,
    "max_execution_time": _number(1, 3600),
    "max_file_uploads": _number(1, 1000),
    "max_input_time": _number(1, 3600),
    "max_input_vars": _number(1, 100_000),
    "memory_limit": _size(16 * MIB, 2 * GIB),
    "post_max_size": _size(1 * MIB, 2 * GIB),
    "session.gc_maxlifetime": _number(60, 2_592_000),
    "short_open_tag": _flag,
    "upload_max_filesize": _size(1 * MIB, 2 * GIB),
}


def check_settings(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Return ``settings``, or raise ValueError with a sentence that names the setting and what it takes."""
    for name, value in settings.items():
        if name not in SETTINGS:
            raise ValueError(f"{name!r} cannot be set here; the settings are {', '.join(sorted(SETTINGS))}.")
        try:
            SETTINGS[name](value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not valid for {name}: {error}.") from error
    return settings


PhpSettings = Annotated[dict[str, str], AfterValidator(check_settings)]
