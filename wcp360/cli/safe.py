"""Text from the server and from nodes on its way to a terminal: what could steer the terminal is shown, not sent."""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import Any

# C0 and C1 controls, UAX 9 direction controls, line and paragraph separators, lone surrogates.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_CODES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1", "dim": "2"}


def safe(value: Any) -> str:
    """Return ``value`` as text of several lines that no terminal acts upon; tabs and line feeds stay."""
    return _STEERING.sub(_escape, str(value))


def safe_line(value: Any) -> str:
    """Return ``value`` as text of one line that no terminal acts upon."""
    return safe(value).replace("\t", "\\t").replace("\n", "\\n")


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def width(text: str) -> int:
    """Return how many columns ``text`` takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def paint(text: str, colour: str, wanted: bool) -> str:
    """Wrap ``text`` in a colour where colours are wanted."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if wanted else text


def say(text: str = "") -> None:
    """Print a line to standard output."""
    print(_encodable(text, sys.stdout.encoding))


def complain(text: str) -> None:
    """Print a line to standard error."""
    print(_encodable(text, sys.stderr.encoding), file=sys.stderr)


def _encodable(text: str, encoding: str | None) -> str:
    name = encoding or "utf-8"
    return text.encode(name, "backslashreplace").decode(name)
