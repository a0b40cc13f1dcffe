"""The one loader of request bodies: it takes less than ``json.loads`` does, so that nothing odd gets further.

Refused with 400: other encodings than UTF-8, byte order marks, duplicate keys, NaN and infinities, more than 32 levels,
numbers of absurd length, anything but an object. Refused with 422 and the field: control characters, lone surrogates
and bidirectional controls.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from wcp360.core.errors import FieldError, Invalid, Malformed
from wcp360.core.fields import BIDI_CONTROLS, clean_text

MAX_DEPTH = 32
# Longer than any number we store (2**63 has 19 digits), far below the length at which int() itself refuses.
MAX_DIGITS = 40
_BOM = b"\xef\xbb\xbf"
# A string, or what is left when it is not closed: since one of the two always matches, no text is scanned twice.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
# Finds quickly whether a text needs a closer look at all: the categories Cc and Cs, and what ``clean_text`` adds.
_SUSPECT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029" + "".join(sorted(BIDI_CONTROLS)) + "]")
_BRACKET = re.compile(r"[\[\]{}]")


def load_json(data: bytes) -> dict[str, Any]:
    """Return the object that ``data`` holds. Raises Malformed or Invalid."""
    if data.startswith(_BOM):
        raise Malformed("The body starts with a byte order mark. Send plain UTF-8.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8 (byte {error.start}). Send UTF-8.") from None
    _check_depth(text)
    value = _parse(text)
    if not isinstance(value, dict):
        raise Malformed("The body must be a JSON object, as in {}.")
    check_text(value)
    return value


def check_text(value: object) -> None:
    """Raise Invalid where a string in ``value`` holds characters that no field takes."""
    errors = tuple(_unclean(value, ""))
    if errors:
        raise Invalid(f"{errors[0].field or 'The input'}: {errors[0].message}", errors=errors[:100])


def _parse(text: str) -> object:
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_int=_whole_number,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise _too_deep() from None


def _check_depth(text: str) -> None:
    """Count brackets outside strings before parsing: a parser that recurses is not let near a deep document."""
    depth = 0
    for match in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if match[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise _too_deep()


def _too_deep() -> Malformed:
    return Malformed(f"The body is nested more than {MAX_DEPTH} levels deep. Send it flatter.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed(f"The key {shorten(key)} occurs twice in one object. Send it once.")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not a JSON number.")


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise Malformed(f"A number has more than {MAX_DIGITS} digits.")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Malformed("A number is too large to be represented.")
    return number


def _unclean(value: object, path: str) -> Iterator[FieldError]:
    if isinstance(value, str):
        yield from _unclean_text(value, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            bad_key = next(_unclean_text(key, path), None)
            if bad_key is not None:
                yield bad_key
                continue
            yield from _unclean(item, _join(path, key[:100]))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unclean(item, _join(path, str(index)))


def _unclean_text(value: str, path: str) -> Iterator[FieldError]:
    if _SUSPECT.search(value) is None:
        return
    try:
        clean_text(value)
    except ValueError as error:
        yield FieldError(path, str(error), "forbidden_character")


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def shorten(text: str) -> str:
    """Return a caller's text as a sentence may quote it: ASCII, at most 60 characters."""
    return ascii(text[:60])
