"""Carrying out one command: ask, send, follow, print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from wcp360.cli.client import Client, Refused, fill
from wcp360.cli.diffs import print_items, print_preview
from wcp360.cli.exits import Exit, Failure
from wcp360.cli.follow import Follower, live
from wcp360.cli.given import gather
from wcp360.cli.how import How
from wcp360.cli.place import find_place
from wcp360.cli.progress import describe_event, open_progress
from wcp360.cli.safe import complain, paint, safe, safe_line, say
from wcp360.cli.tables import colours, print_object, print_table

CHANGES = "/api/v1/changes/{id}"
PREVIEWS = "/api/v1/previews/{id}"
PAGE = 1000
"""The largest page that the server answers."""


def print_json(value: Any) -> None:
    """Print a value for programs; ASCII only, so that no character of it steers a terminal."""
    say(json.dumps(value, ensure_ascii=True, indent=2).replace("\x7f", "\\u007f"))


def print_event(event: dict[str, Any]) -> None:
    """Print one event on a line."""
    say(f"{event['id']:>8} {safe_line(event['time'])} {describe_event(event)}")


def query(entry: dict[str, Any], values: dict[str, Any]) -> None:
    """Carry out a query."""
    client = Client(find_place())
    given = gather(entry["parameters"], values)
    path = fill(entry["path"], str(given.pop(entry["key"], "")))
    if entry["verb"] != "list":
        _print_one(entry, client.call(entry["method"], path, given).body, bool(values["as_json"]))
        return
    pages = _pages(client, entry, path, given)
    items, following = _collected(pages)
    if values["as_json"]:
        print_json({"items": items, "next": following})
    elif entry["operation"] == "event.list":
        for event in items:
            print_event(event)
    elif items:
        print_table(items)
    if following is not None and not values["as_json"]:
        complain(f"There are more: repeat it with --cursor {safe_line(following)}")


def _pages(client: Client, entry: dict[str, Any], path: str, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Answer one page where the caller says which, else all; of records, which only grow, always one."""
    names = {parameter["name"] for parameter in entry["parameters"]}
    whole = "limit" in names and not {"limit", "cursor"} & set(given) and not entry["records"]
    asked = given | ({"limit": PAGE} if whole else {})
    while True:
        page: dict[str, Any] = client.call(entry["method"], path, asked).body
        yield page
        if not whole or page["next"] is None:
            return
        asked = asked | {"cursor": page["next"]}


def _collected(pages: Iterator[dict[str, Any]]) -> tuple[list[dict[str, Any]], Any]:
    items: list[dict[str, Any]] = []
    following = None
    for page in pages:
        items += page["items"]
        following = page.get("next")
    return items, following


def _print_one(entry: dict[str, Any], body: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(body)
    elif entry["operation"] == "preview.show":
        print_preview(body, colours())
    elif entry["operation"] == "run.show":
        print_object({name: one for name, one in body.items() if name != "items"})
        say()
        say(print_items(body["items"], colours()).sentence().replace(" to ", " "))
    else:
        print_object(body)
    if body.get("intact") is False:
        raise Failure("The audit log has been changed.", Exit.FAILED)


def change(entry: dict[str, Any], values: dict[str, Any], how: How) -> None:
    """Carry out a change, or its dry run."""
    client = Client(find_place())
    given = gather(entry["parameters"], values)
    key = str(given.get(entry["key"], ""))
    if entry["confirm"] and not how.dry_run and not how.yes:
        _confirm(entry, key)
    progress_wanted = how.wait and not how.as_json
    with live(client, progress_wanted or (how.wait and how.verbose)) as stream:
        accepted = _submit(client, entry, given, how)
        if not how.wait:
            _accepted(accepted, how)
            return
        path = fill(PREVIEWS if how.dry_run else CHANGES, accepted["id"])
        if progress_wanted and not how.dry_run:
            complain(f"Change {safe_line(accepted['id'])} accepted.")
        with open_progress(how.verbose, how.as_json) as progress:
            finished = Follower(client, stream, progress, how.timeout).to_end(path, accepted)
    finish(finished, how)


def _submit(client: Client, entry: dict[str, Any], given: dict[str, Any], how: How) -> dict[str, Any]:
    try:
        return _send(client, entry, given, how)
    except Refused as refused:
        if refused.problem.get("code") != "host_key_unconfirmed" or not sys.stdin.isatty():
            raise
        complain(safe(refused.problem.get("detail", "")))
        say(f"Host key: {safe_line(refused.problem.get('fingerprint', ''))}")
        if _answer("Is this the server's key? Type yes to pin it: ") != "yes":
            raise Failure("The host key was not confirmed; nothing was changed.", Exit.INTERRUPTED) from refused
        return _send(client, entry, given | {"host_key": refused.problem["host_key"]}, how)


def _send(client: Client, entry: dict[str, Any], given: dict[str, Any], how: How) -> dict[str, Any]:
    fields, path = dict(given), entry["path"]
    if "{" in path:
        path = fill(path, str(fields.pop(entry["key"], "")))
    query = {"dry_run": True} if how.dry_run else {}
    if entry["method"] == "DELETE":
        answer = client.call("DELETE", path, fields | query, once=os.urandom(16).hex())
    else:
        answer = client.call(entry["method"], path, query, fields, once=os.urandom(16).hex())
    body: dict[str, Any] = answer.body
    return body


def _accepted(record: dict[str, Any], how: How) -> None:
    if how.as_json:
        print_json(record)
        return
    noun, verb = ("preview", "show") if how.dry_run else ("change", "watch")
    say(f"{noun.capitalize()} {safe_line(record['id'])} accepted; `wcp360 {noun} {verb} {safe_line(record['id'])}`")


def finish(record: dict[str, Any], how: How) -> None:
    """Print a finished change or preview; raise Failure where it failed."""
    if how.as_json:
        print_json(record)
    elif "items" in record:
        print_preview(record, colours())
    else:
        good = record["status"] == "succeeded"
        word = paint(safe_line(record["status"]), "green" if good else "red", colours())
        say(f"{safe_line(record['operation'])} {word} (change {safe_line(record['id'])})")
    if record["status"] != "succeeded" or any(item["failed"] for item in record.get("items", [])):
        raise Failure(_why(record), Exit.FAILED)


def _why(record: dict[str, Any]) -> str:
    if record["reason"]:
        return safe(record["reason"])
    return "Some of it would be refused; see above." if "items" in record else "It failed; see above."


def _confirm(entry: dict[str, Any], key: str) -> None:
    if not sys.stdin.isatty():
        raise Failure(f"`{entry['group']} {entry['verb']}` asks first; give --yes where nobody can answer.", Exit.USAGE)
    say(f"{entry['summary']} This cannot be taken back.")
    if _answer(f"Type {safe_line(key)} to go on: ") != key:
        raise Failure("Not confirmed; nothing was changed.", Exit.INTERRUPTED)


def _answer(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        return ""
