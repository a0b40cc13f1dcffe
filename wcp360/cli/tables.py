"""Lists as tables and objects as name-value lines; for 500 rows rich would take 0.2 s, this a few milliseconds."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from wcp360.cli.safe import paint, safe, safe_line, say, width

# Of use to programs, which read --json, and too wide for people.
_NOT_IN_TABLES = frozenset(
    [
        "correlation",
        "previous",
        "hash",
        "identity_file",
        "interpreter",
        "host_key",
        "updated",
        "authorized_keys",
        "runs",
    ]
)
_COLOURS = {
    "applied": "green",
    "succeeded": "green",
    "enabled": "green",
    "failed": "red",
    "pending": "yellow",
    "running": "yellow",
    "queued": "yellow",
    "removing": "yellow",
    "suspended": "yellow",
}


def colours(stream: Any = None) -> bool:
    """Tell whether standard output takes colours (https://no-color.org is respected)."""
    stream = sys.stdout if stream is None else stream
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print objects of one kind, a column for each simple field that holds anything."""
    columns = _columns(rows)
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    heads = [column.replace("_", " ").upper() for column in columns]
    widths = [max(width(line[index]) for line in [heads, *cells]) for index in range(len(columns))]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    shown = colours()
    print_line(heads, widths, limit, shown, head=True)
    for line in cells:
        print_line(line, widths, limit, shown)


def print_line(cells: Sequence[str], widths: Sequence[int], limit: int, shown: bool, head: bool = False) -> None:
    """Print one row; where ``limit`` is not 0 it is cut to so many columns."""
    used, parts = 0, []
    for index, (cell, space) in enumerate(zip(cells, widths, strict=True)):
        gap = "" if index == len(cells) - 1 else " " * (space - width(cell) + 2)
        text = _cut(cell + gap, limit - used) if limit else cell + gap
        used += width(text)
        parts.append(paint(text, "bold" if head else _COLOURS[cell], shown) if head or cell in _COLOURS else text)
        if limit and used >= limit:
            break
    say("".join(parts).rstrip())


def _cut(text: str, room: int) -> str:
    if width(text) <= room:
        return text
    kept = ""
    for char in text:
        if width(kept + char) > room - 1:
            break
        kept += char
    return kept + "…"


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row if name not in _NOT_IN_TABLES)
    simple = [name for name in names if all(_simple(row.get(name)) for row in rows)]
    return [name for name in simple if any(_cell(row.get(name)) for row in rows)] or simple


def _simple(value: Any) -> bool:
    return not isinstance(value, dict) and not (isinstance(value, list) and any(isinstance(v, dict) for v in value))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(safe_line(one) for one in value)
    return safe_line(value)


def print_object(value: dict[str, Any]) -> None:
    """Print one object: simple fields first, lists of objects as tables below."""
    simple = {name: one for name, one in value.items() if _simple(one) or isinstance(one, dict)}
    space = max((len(name) for name in simple), default=0) + 2
    shown = colours()
    for name, one in simple.items():
        for index, line in enumerate(_lines(one)):
            label = name.replace("_", " ") if index == 0 else ""
            text = paint(line, _COLOURS.get(line, ""), shown and line in _COLOURS)
            say(f"{label:<{space}}{text}".rstrip())
    for name, one in value.items():
        if name not in simple and one:
            say(f"\n{name.replace('_', ' ')}")
            print_table(one)


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{safe_line(name)} = {_inline(one)}" for name, one in value.items()] or [""]
    if isinstance(value, list):
        return [safe_line(one) for one in value] or [""]
    return safe(_cell(value)).splitlines() or [""]


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{safe_line(name)}: {_inline(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(one) for one in value) + "]"
    return _cell(value)
