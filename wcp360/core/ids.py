"""Identifiers: ULIDs for changes, previews and runs (sortable by time, https://github.com/ulid/spec)."""

from __future__ import annotations

import re

from ulid import ULID

# Crockford's base 32 without I, L, O and U; the first character stays below 8 (128 bits in 26 characters).
ULID_PATTERN = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"


def new_id() -> str:
    """Return a fresh ULID as 26 characters."""
    return str(ULID())


def is_id(value: str) -> bool:
    """Tell whether ``value`` is a ULID in its canonical, upper-case form."""
    return re.fullmatch(ULID_PATTERN, value, re.ASCII) is not None
