"""The audit log's hash chain.

Every entry's hash covers all of its columns and the hash before it, so that an entry that is changed, removed from
the middle or put in is found. A counter beside the log finds a log that was cut short.

What a chain cannot show: it has no secret, so somebody who can write the database and knows this file can compute a
whole new chain, counter included. That is found only by comparing with a hash noted elsewhere: ``verify`` names the
last one for this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from wcp360.core.views import AuditVerdict
from wcp360.storage.encode import to_text

FIRST = "0" * 64
"""What stands as the previous hash of the first entry."""

HASHED = ("id", "time", "actor", "operation", "tenant", "outcome", "input", "correlation", "previous")


def chain_hash(values: Iterable[Any]) -> str:
    """Return the hash over the values of ``HASHED`` as stored. Raises TypeError for a value that is not JSON."""
    return hashlib.sha256(to_text(list(values)).encode()).hexdigest()


def verify(rows: Iterable[tuple[Any, ...]], counted: int) -> AuditVerdict:
    """Check the entries (``HASHED`` and ``hash``, by number) against each other and their number."""
    entries, previous = 0, FIRST
    for *values, stored in rows:
        entries += 1
        problem = _problem(entries, values, stored, previous)
        if problem:
            return AuditVerdict(intact=False, entries=entries, detail=problem)
        previous = stored
    if entries != counted:
        detail = f"{counted} entries were written and {entries} are left: the log's end is missing or was added to."
        return AuditVerdict(intact=False, entries=entries, detail=detail)
    detail = f"All {entries} entries hold; the last hash is {previous}. Note it elsewhere to be able to compare."
    return AuditVerdict(intact=True, entries=entries, detail=detail)


def _problem(number: int, values: list[Any], stored: Any, previous: str) -> str:
    if values[0] != number:
        return f"Entry {number} is missing or was put in the wrong place; restore the log from a backup."
    try:
        expected = chain_hash(values)
    except (TypeError, ValueError):
        expected = ""
    if values[-1] != previous or stored != expected:
        return f"Entry {number} is not what was written; compare it with a backup."
    return ""
