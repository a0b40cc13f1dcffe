"""Times as storage keeps them: RFC 3339 in UTC with milliseconds, which sort as text the way they sort as time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def now_text(seconds_ahead: float = 0) -> str:
    """Return the present, or a moment so many seconds ahead of it, as in ``2026-11-22T17:00:00.000Z``."""
    return text_of(datetime.now(UTC) + timedelta(seconds=seconds_ahead))


def text_of(moment: datetime) -> str:
    """Return a moment in UTC as it is kept."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
