"""Following a change, or all events, until the end or an interrupt."""

from __future__ import annotations

import json
import time
from typing import Any

from wcp360.cli import invoke
from wcp360.cli.client import Client, fill
from wcp360.cli.exits import Exit, Failure
from wcp360.cli.follow import Follower, live
from wcp360.cli.how import How
from wcp360.cli.place import find_place
from wcp360.cli.progress import open_progress
from wcp360.cli.safe import complain, say
from wcp360.cli.stream import Closed, Stream

_AGAIN = 2.0
"""Seconds before a broken stream is opened again."""


def change(change_id: str, values: dict[str, Any]) -> None:
    """Follow a change to its end, then print it."""
    client, how = Client(find_place()), How.of(values)
    path = fill(invoke.CHANGES, change_id)
    with live(client, wanted=not how.as_json) as stream:
        record = client.call("GET", path).body
        with open_progress(how.verbose, how.as_json) as progress:
            record = Follower(client, stream, progress, how.timeout).to_end(path, record)
    invoke.finish(record, how)


def events(after: int | None, as_json: bool | None) -> None:
    """Print events; a stream that breaks is taken up where it broke."""
    client, last = Client(find_place()), after
    stream = Stream(client, last)
    while True:
        try:
            event = stream.next(3600)
        except Closed as closed:
            stream.close()
            complain(f"{closed.message} Trying again.")
            stream = _reopened(client, last)
            continue
        if event is not None:
            last = int(event["id"])
            _print(event, bool(as_json))


def _reopened(client: Client, last: int | None) -> Stream:
    while True:
        time.sleep(_AGAIN)
        try:
            return Stream(client, last)
        except Failure as failure:
            if failure.code in (Exit.NOT_ALLOWED, Exit.REFUSED):
                raise


def _print(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say(json.dumps(event, ensure_ascii=True).replace("\x7f", "\\u007f"))
    else:
        invoke.print_event(event)
