"""``change watch`` and ``event watch``: written by hand, because they follow streams that no operation declares."""

from __future__ import annotations

import time
from typing import Any

from wcp360.cli import invoke
from wcp360.cli.client import Client, fill
from wcp360.cli.commands import change_options, how_of, json_option
from wcp360.cli.exits import Exit, Failure
from wcp360.cli.follow import Follower, live
from wcp360.cli.params import Argument, Command, Group, Option
from wcp360.cli.place import find_place
from wcp360.cli.progress import describe_event, open_progress
from wcp360.cli.safe import complain, safe_line, say
from wcp360.cli.stream import Closed, Stream

_AGAIN = 2.0
"""Seconds before a broken stream is opened again."""
HAND_WRITTEN = frozenset({("change", "watch"), ("event", "watch")})
"""Commands without an operation; a test counts them."""


def add_to(groups: dict[str, Group]) -> None:
    """Add the commands to their groups."""
    if "change" in groups:
        groups["change"].add_command(_change_watch())
    if "event" in groups:
        groups["event"].add_command(_event_watch())


def _change_watch() -> Command:
    wanted = [option for option in change_options(confirm=False) if option.name in ("as_json", "verbose", "timeout")]
    return Command(
        "watch",
        watch_change,
        params=[Argument("change", shown="ID", help="The change's ULID.", required=True), *wanted],
        help="Follow a change until it is finished.",
        epilog="Examples:\n  wcp360 change watch 01JD0000000000000000000000 -v",
    )


def watch_change(change: str, **values: Any) -> None:
    """Follow a change to its end, then print it."""
    client, how = Client(find_place()), how_of(values)
    path = fill(invoke.CHANGES, change)
    with live(client, wanted=not how.as_json) as stream:
        record = client.call("GET", path).body
        with open_progress(how.verbose, how.as_json) as progress:
            record = Follower(client, stream, progress, how.timeout).to_end(path, record)
    invoke.finish(record, how)


def _event_watch() -> Command:
    after = Option("after", "--after", kind="number", help="Begin after this event; default: with what comes now.")
    return Command(
        "watch",
        watch_events,
        params=[after, json_option()],
        help="Print events as they happen, until interrupted.",
        epilog="Examples:\n  wcp360 event watch\n  wcp360 event watch --after 0 --json",
    )


def watch_events(after: int | None, as_json: bool | None) -> None:
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
    import json

    if as_json:
        say(json.dumps(event, ensure_ascii=True).replace("\x7f", "\\u007f"))
    else:
        say(f"{event['id']:>8} {safe_line(event['time'])} {describe_event(event)}")
