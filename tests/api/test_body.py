"""The loader by itself: that its quick look misses no character, and that hostile text costs linear time."""

from __future__ import annotations

import sys
import time

import pytest

from wcp360.api.body import check_text, load_json
from wcp360.core.errors import Invalid, Malformed
from wcp360.core.fields import clean_text


def test_the_quick_look_misses_no_character() -> None:
    for start in range(0, sys.maxunicode + 1, 4096):
        block = "".join(map(chr, range(start, min(start + 4096, sys.maxunicode + 1))))
        try:
            clean_text(block)
        except ValueError:
            with pytest.raises(Invalid):
                check_text({"a": block})
            for char in block:
                assert _refuses(char) == _is_unclean(char), f"U+{ord(char):04X}"


def _refuses(char: str) -> bool:
    try:
        check_text({"a": char})
    except Invalid as refused:
        return refused.errors[0].field == "a"
    return False


def _is_unclean(char: str) -> bool:
    try:
        clean_text(char)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(
    "body", [b'"' * 2**20, b'"\\' * 2**19, b'{"a":"' + b"\\" * (2**20 - 6), b'{"":' * 2**18, b"[" * 2**20, b"1" * 2**20]
)
def test_hostile_text_costs_linear_time(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(Malformed):
        load_json(body)
    assert time.process_time() - began < 2


def test_wrong_strings_are_named_by_their_path() -> None:
    with pytest.raises(Invalid) as caught:
        load_json(b'{"a": {"b": ["fine", "bad\\u0000"]}, "c\\u202e": 1}')
    assert [error.field for error in caught.value.errors] == ["a.b.1", ""]
