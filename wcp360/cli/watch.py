"""``change watch`` and ``event watch``: written by hand, because they follow streams that no operation declares."""

from __future__ import annotations

from typing import Any

from wcp360.cli.commands import change_options, json_option
from wcp360.cli.params import Argument, Command, Group, Option

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
        _change,
        params=[Argument("change", shown="ID", help="The change's ULID.", required=True), *wanted],
        help="Follow a change until it is finished.",
        epilog="Examples:\n  wcp360 change watch 01JD0000000000000000000000 -v",
    )


def _change(change: str, **values: Any) -> None:
    from wcp360.cli import watching

    watching.change(change, values)


def _event_watch() -> Command:
    after = Option("after", "--after", kind="number", help="Begin after this event; default: with what comes now.")
    return Command(
        "watch",
        _events,
        params=[after, json_option()],
        help="Print events as they happen, until interrupted.",
        epilog="Examples:\n  wcp360 event watch\n  wcp360 event watch --after 0 --json",
    )


def _events(after: int | None, as_json: bool | None) -> None:
    from wcp360.cli import watching

    watching.events(after, as_json)
