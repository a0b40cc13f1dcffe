"""From the words of a command line to the input of an operation. The server checks the values; here only shapes are."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from wcp360.cli.exits import Exit, Failure

PREFIX = "in_"
"""Starts the names of options that are fields of an input, so that none collides with an option of our own."""
EMPTY = "none_"
"""Starts the names of flags that empty a list or map."""
MAX_FILE = 4 * 2**20
"""The server takes change sets up to 4 MiB, and less of everything else."""


def gather(parameters: list[dict[str, Any]], values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that were given, and only those: the server knows the defaults."""
    given = {}
    for parameter in parameters:
        value = _field(parameter, values)
        if value is not None:
            given[parameter["name"]] = value
    return given


def _field(parameter: dict[str, Any], values: dict[str, Any]) -> Any:
    name, kind = parameter["name"], parameter["type"]
    value = values.get(PREFIX + name)
    if parameter["secret"]:
        return _secret(parameter, value)
    if values.get(EMPTY + name):
        if value:
            raise Failure(f"Give either {parameter['flag']} or {empty_flag(parameter)}.", Exit.USAGE)
        return {} if kind == "map" else []
    if value is None or (kind in ("list", "map") and not value):
        return None
    return _shaped(parameter, value)


def _shaped(parameter: dict[str, Any], value: Any) -> Any:
    match parameter["type"]:
        case "list":
            return list(value)
        case "map":
            return dict(_pair(parameter["flag"], one) for one in value)
        case "object" | "objects":
            return _from_file(value, parameter)
        case "decimal":
            return _decimal(parameter["flag"], value)
    return value


def _decimal(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Failure(f"{flag} takes a number, not {text!r}.", Exit.USAGE) from None


def empty_flag(parameter: dict[str, Any]) -> str:
    """Return the flag that empties a list or map."""
    return str(parameter["flag"]).replace("--", "--no-", 1)


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Failure(f"{flag} takes NAME=VALUE, not {text!r}.", Exit.USAGE)
    return name, value


def _from_file(source: str, parameter: dict[str, Any]) -> Any:
    text = read_source(source)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Failure(f"{'Standard input' if source == '-' else source} is not JSON: {error}.", Exit.USAGE) from error
    # A file that holds the whole input, as the API takes it, is as good as one that holds the list.
    if isinstance(value, dict) and set(value) == {parameter["name"]}:
        return value[parameter["name"]]
    return value


def read_source(source: str) -> str:
    """Return what a file or, for ``-``, standard input holds. Raises Failure where it cannot be read."""
    try:
        data = sys.stdin.buffer.read(MAX_FILE + 1) if source == "-" else _read_file(Path(source))
        text = data.decode("utf-8")
    except OSError as error:
        raise Failure(f"{source} cannot be read: {error.strerror}.", Exit.USAGE) from error
    except UnicodeDecodeError as error:
        raise Failure(f"{source} is not UTF-8 text.", Exit.USAGE) from error
    if len(data) > MAX_FILE:
        raise Failure(f"{source} is larger than the {MAX_FILE} bytes that the server takes.", Exit.USAGE)
    return text


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE + 1)


def _secret(parameter: dict[str, Any], source: str | None) -> str | None:
    """Return a secret from a file, standard input or a prompt; it never is an argument, which every user could see."""
    if source is not None:
        if source != "-":
            _refuse_open_file(Path(source))
        return read_source(source).removesuffix("\n")
    if not parameter["required"]:
        return None
    if not sys.stdin.isatty():
        raise Failure(f"Give {parameter['flag']}-file FILE, or - for standard input.", Exit.USAGE)
    import getpass

    label = parameter["name"].replace("_", " ")
    first = getpass.getpass(f"{label.capitalize()}: ")
    if getpass.getpass(f"{label.capitalize()} again: ") != first:
        raise Failure("The two are not the same; nothing was sent.", Exit.USAGE)
    return first


def _refuse_open_file(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if stat.S_ISREG(mode) and mode & 0o077:
        raise Failure(f"{path} holds a secret and can be read by others; run `chmod 600 {path}`.", Exit.USAGE)
