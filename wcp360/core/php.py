"""The PHP settings that a tenant may set, with their grammar and bounds.

Everything else stays with the role: a setting that loads code, writes files, runs commands or opens the tenant's walls
is not on the list. The role ``php_fpm`` holds the same list for those who use it without the panel (the collection
cannot import the panel, nor the panel a node's code); a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import AfterValidator

MOST_SETTINGS = 64
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
# https://www.php.net/manual/en/errorfunc.constants.php
ERROR_CONSTANTS = frozenset(
    f"E_{name}"
    for name in [
        "ERROR",
        "WARNING",
        "PARSE",
        "NOTICE",
        "CORE_ERROR",
        "CORE_WARNING",
        "COMPILE_ERROR",
        "COMPILE_WARNING",
        "USER_ERROR",
        "USER_WARNING",
        "USER_NOTICE",
        "STRICT",
        "RECOVERABLE_ERROR",
        "DEPRECATED",
        "USER_DEPRECATED",
        "ALL",
    ]
)
Check = Callable[[str], None]


def _bytes(size: str) -> int:
    return int(size.rstrip("KMG")) * _UNITS[size[-1:] if size[-1:] in _UNITS else ""]


def _size(low: str, high: str) -> Check:
    def check(value: str) -> None:
        fits = re.fullmatch(r"[1-9][0-9]{0,9}[KMG]?", value, re.ASCII) and _bytes(low) <= _bytes(value) <= _bytes(high)
        if not fits:
            raise ValueError(f"give a size from {low} to {high}, as in 64M")

    return check


def _number(low: int, high: int) -> Check:
    def check(value: str) -> None:
        if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) is None or not low <= int(value) <= high:
            raise ValueError(f"give a whole number from {low} to {high}")

    return check


def _pattern(pattern: str, hint: str) -> Check:
    def check(value: str) -> None:
        if re.fullmatch(pattern, value, re.ASCII) is None or len(value) > 64:
            raise ValueError(hint)

    return check


def _errors(value: str) -> None:
    if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) and int(value) <= 32767:
        return
    grammar = r"~?E_[A-Z_]{3,20}(?: ?[&|^] ?~?E_[A-Z_]{3,20}){0,15}"
    known = set(re.findall(r"E_[A-Z_]+", value)) <= ERROR_CONSTANTS
    if re.fullmatch(grammar, value, re.ASCII) is None or not known:
        raise ValueError("give a number up to 32767 or constants, as in E_ALL & ~E_NOTICE")


_flag = _pattern(r"(?i:on|off|true|false|yes|no|0|1)", "give on or off")

SETTINGS: Mapping[str, Check] = {
    "memory_limit": _size("16M", "2G"),
    "upload_max_filesize": _size("1K", "2G"),
    "post_max_size": _size("1K", "2G"),
    "max_execution_time": _number(1, 3600),
    "max_input_time": _number(1, 3600),
    "max_input_vars": _number(1, 100_000),
    "max_input_nesting_level": _number(1, 1000),
    "max_file_uploads": _number(0, 1000),
    "output_buffering": _number(0, 2**20),
    "realpath_cache_ttl": _number(0, 86_400),
    "session.gc_maxlifetime": _number(60, 2_592_000),
    "session.cookie_lifetime": _number(0, 31_536_000),
    "session.cookie_secure": _flag,
    "session.cookie_httponly": _flag,
    "session.use_strict_mode": _flag,
    "session.cookie_samesite": _pattern("Lax|Strict|None", "give Lax, Strict or None"),
    "display_errors": _flag,
    "display_startup_errors": _flag,
    "html_errors": _flag,
    "short_open_tag": _flag,
    "allow_url_fopen": _flag,
    "zlib.output_compression": _flag,
    "error_reporting": _errors,
    "date.timezone": _pattern(
        r"UTC|[A-Z][A-Za-z]{1,31}(?:/[A-Za-z0-9_+-]{1,32}){1,2}", "give a time zone, as in Europe/Berlin"
    ),
    "default_charset": _pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", "give a character set, as in UTF-8"),
}


def check_settings(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Return ``settings``, or raise ValueError with a sentence that names the setting and what it takes."""
    if len(settings) > MOST_SETTINGS:
        raise ValueError(f"Give at most {MOST_SETTINGS} settings.")
    for name, value in settings.items():
        if name not in SETTINGS:
            raise ValueError(f"{name[:60]!r} cannot be set here; the settings are {', '.join(sorted(SETTINGS))}.")
        try:
            SETTINGS[name](value)
        except ValueError as error:
            raise ValueError(f"{value[:60]!r} is not valid for {name}: {error}.") from error
    return settings


PhpSettings = Annotated[dict[str, str], AfterValidator(check_settings)]
