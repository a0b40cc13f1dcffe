"""Waiting for a change or a preview: events as they come, the record itself as the truth."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from wcp360.cli.client import Client
from wcp360.cli.exits import Exit, Failure
from wcp360.cli.progress import Progress
from wcp360.cli.stream import Closed, Stream

ENDED = frozenset({"succeeded", "failed"})
_LOOK_WITH_STREAM = 1.0
"""Seconds between looks at the record while events come; a finishing event makes it look at once."""
_LOOK = 0.2
"""Seconds between looks where there is no stream."""


@contextlib.contextmanager
def live(client: Client, wanted: bool) -> Iterator[Stream | None]:
    """Open the stream before a change is sent, so that none of its events is missed; None where it cannot be had."""
    stream = None
    if wanted:
        # Without a stream (all taken, cut by a proxy) the record is looked at instead.
        with contextlib.suppress(Failure):
            stream = Stream(client)
    try:
        yield stream
    finally:
        if stream is not None:
            stream.close()


class Follower:
    """Follows one record, a change or a preview, to its end."""

    def __init__(self, client: Client, stream: Stream | None, progress: Progress, timeout: float) -> None:
        self._client, self._stream, self._progress = client, stream, progress
        self._end = time.monotonic() + timeout
        self._runs: set[str] = set()

    def to_end(self, path: str, record: dict[str, Any]) -> dict[str, Any]:
        """Return the finished record. Raises Failure with NOT_FINISHED when the time is over."""
        self._show(record)
        while record["status"] not in ENDED:
            if time.monotonic() > self._end:
                raise Failure(_unfinished(record), Exit.NOT_FINISHED)
            self._pause(record)
            record = self._client.call("GET", path).body
            self._show(record)
        return record

    def _show(self, record: dict[str, Any]) -> None:
        self._runs |= set(record.get("runs") or [])
        if "resources" in record:
            self._progress.resources(record)

    def _pause(self, record: dict[str, Any]) -> None:
        """Show events until it is time to look again."""
        if self._stream is None:
            time.sleep(_LOOK)
            return
        until = time.monotonic() + _LOOK_WITH_STREAM
        try:
            while (left := until - time.monotonic()) > 0:
                event = self._stream.next(left)
                if event is not None and self._take(event, record):
                    return
        except Closed:
            self._stream = None

    def _take(self, event: dict[str, Any], record: dict[str, Any]) -> bool:
        """Show an event that belongs to the record; tell whether the record should be looked at now."""
        data = event.get("data") or {}
        if record["id"] in (data.get("change"), data.get("preview")):
            return str(event["type"]).endswith(".finished")
        if record["id"] in (data.get("changes") or []) or event.get("correlation") == record["correlation"]:
            self._runs.add(str(data.get("run")))
        if str(event["type"]).startswith("run.") and data.get("run") in self._runs:
            self._progress.event(event)
            return str(event["type"]) == "run.finished"
        return False


def _unfinished(record: dict[str, Any]) -> str:
    noun = "preview" if "items" in record else "change"
    after = "show" if noun == "preview" else "watch"
    return f"Not finished in time; it goes on. `wcp360 {noun} {after} {record['id']}` shows how it stands."
