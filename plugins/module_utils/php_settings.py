"""The PHP settings that a tenant may choose: an allow-list with a grammar and bounds for each.

What is not in it is refused by name: among what PHP knows are settings that switch the isolation off
(``open_basedir``, ``disable_functions``), run commands (``sendmail_path``), load code (``extension``,
``auto_prepend_file``) or write files (``error_log``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_SETTINGS = 64
SIZE = re.compile(r"([1-9][0-9]{0,9})([KMG]?)", re.ASCII)
INTEGER = re.compile(r"[0-9]{1,9}", re.ASCII)
TIMEZONE = re.compile(r"UTC|[A-Z][A-Za-z]{1,31}(?:/[A-Za-z0-9_+-]{1,32}){1,2}", re.ASCII)
CHARSET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", re.ASCII)
ERRORS = re.compile(r"~?E_[A-Z_]{3,20}(?: ?[&|^] ?~?E_[A-Z_]{3,20}){0,15}", re.ASCII)
FLAGS = {"on": "on", "true": "on", "yes": "on", "1": "on", "off": "off", "false": "off", "no": "off", "0": "off"}
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
#: https://www.php.net/manual/en/errorfunc.constants.php
ERROR_BITS = {
    f"E_{name}": 1 << bit
    for bit, name in enumerate(
        (
            *("ERROR", "WARNING", "PARSE", "NOTICE", "CORE_ERROR", "CORE_WARNING", "COMPILE_ERROR", "COMPILE_WARNING"),
            *("USER_ERROR", "USER_WARNING", "USER_NOTICE", "STRICT", "RECOVERABLE_ERROR", "DEPRECATED"),
            "USER_DEPRECATED",
        )
    )
} | {"E_ALL": 32767}


class SettingError(ValueError):
    """A setting is not allowed or its value is none; the message is a sentence for people."""


@dataclass(frozen=True)
class Setting:
    """How one setting is read and with which directive of a pool it is written."""

    directive: str
    read: Callable[[str], str]
    expected: str


def _size(low: str, high: str) -> Setting:
    def read(value: str) -> str:
        match = SIZE.fullmatch(value)
        if not match or not _bytes(low) <= _bytes(value) <= _bytes(high):
            raise ValueError(value)
        return value

    return Setting("php_admin_value", read, f"a size from {low} to {high}, such as 64M")


def _bytes(size: str) -> int:
    digits = size.rstrip("KMG")
    return int(digits) * UNITS[size[len(digits) :]]


def _integer(low: int, high: int, directive: str = "php_value") -> Setting:
    def read(value: str) -> str:
        if not INTEGER.fullmatch(value) or not low <= int(value) <= high:
            raise ValueError(value)
        return str(int(value))

    return Setting(directive, read, f"a whole number from {low} to {high}")


def _flag(directive: str = "php_flag") -> Setting:
    def read(value: str) -> str:
        if value.lower() not in FLAGS or not value.isascii():
            raise ValueError(value)
        return FLAGS[value.lower()]

    return Setting(directive, read, "on or off")


def _pattern(pattern: re.Pattern[str], expected: str) -> Setting:
    def read(value: str) -> str:
        if not pattern.fullmatch(value) or len(value) > 64:
            raise ValueError(value)
        return value

    return Setting("php_value", read, expected)


def _read_errors(value: str) -> str:
    if INTEGER.fullmatch(value) and int(value) <= ERROR_BITS["E_ALL"]:
        return str(int(value))
    if not ERRORS.fullmatch(value):
        raise ValueError(value)
    result, operator = 0, "|"
    for word in re.findall(r"[&|^]|~?E_[A-Z_]+", value):
        if word in "&|^":
            operator = word
            continue
        bits = ERROR_BITS.get(word.lstrip("~"))
        if bits is None:
            raise ValueError(value)
        result = _combine(result, operator, bits ^ ERROR_BITS["E_ALL"] if word.startswith("~") else bits)
    return str(result)


def _combine(left: int, operator: str, right: int) -> int:
    return {"&": left & right, "|": left | right, "^": left ^ right}[operator]


SETTINGS: dict[str, Setting] = {
    "memory_limit": _size("16M", "2G"),
    "upload_max_filesize": _size("1K", "2G"),
    "post_max_size": _size("1K", "2G"),
    "max_execution_time": _integer(1, 3600),
    "max_input_time": _integer(1, 3600, "php_admin_value"),
    "max_input_vars": _integer(1, 100_000, "php_admin_value"),
    "max_input_nesting_level": _integer(1, 1000, "php_admin_value"),
    "max_file_uploads": _integer(0, 1000, "php_admin_value"),
    "output_buffering": _integer(0, 1 << 20),
    "realpath_cache_ttl": _integer(0, 86_400, "php_admin_value"),
    "session.gc_maxlifetime": _integer(60, 2_592_000),
    "session.cookie_lifetime": _integer(0, 31_536_000),
    "session.cookie_secure": _flag(),
    "session.cookie_httponly": _flag(),
    "session.use_strict_mode": _flag(),
    "session.cookie_samesite": _pattern(re.compile("Lax|Strict|None", re.ASCII), "Lax, Strict or None"),
    "display_errors": _flag(),
    "display_startup_errors": _flag(),
    "html_errors": _flag(),
    "short_open_tag": _flag(),
    "allow_url_fopen": _flag("php_admin_flag"),
    "zlib.output_compression": _flag(),
    "error_reporting": Setting(
        "php_value", _read_errors, "a number up to 32767 or constants such as E_ALL & ~E_NOTICE"
    ),
    "date.timezone": _pattern(TIMEZONE, "a time zone such as Europe/Berlin"),
    "default_charset": _pattern(CHARSET, "a character set such as UTF-8"),
}


def directives(settings: dict[str, Any]) -> list[dict[str, str]]:
    """Return ``settings`` as directives of a pool, sorted by name: [{directive, name, value}].

    Raises SettingError, with the setting named, for the first that is not allowed.
    """
    if len(settings) > MOST_SETTINGS:
        raise SettingError(f"{len(settings)} PHP settings are too many: give at most {MOST_SETTINGS}.")
    return [_directive(str(name), settings[name]) for name in sorted(settings, key=str)]


def _directive(name: str, value: Any) -> dict[str, str]:
    setting = SETTINGS.get(name)
    if setting is None:
        raise SettingError(f"The PHP setting {name[:60]!r} cannot be set. Allowed are: {', '.join(SETTINGS)}.")
    text = ("on" if value else "off") if isinstance(value, bool) else str(value)
    try:
        return {"directive": setting.directive, "name": name, "value": setting.read(text)}
    except ValueError as error:
        raise SettingError(f"The PHP setting {name} is {text[:60]!r}: give {setting.expected}.") from error
