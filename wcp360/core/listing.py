"""Lists: filters, order and pages, declared as ordinary input fields and carried out in one way everywhere.

A list operation's input is a ``ListInput``. A field that is marked with ``By`` is a filter, the values of ``sort`` are
the orders that it offers, and ``query_of`` makes of both a ``Query`` that storage (or ``page_of``, for what is not in
the database) carries out. A page is found by the place of its last row, not by a count of rows: what is added or
removed in the meantime neither repeats a row nor hides one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field

from wcp360.core.errors import FieldError, Invalid
from wcp360.core.fields import Cursor, Limit, Moment, NamePart, clean_text
from wcp360.core.operation import Input
from wcp360.core.views import Page

if TYPE_CHECKING:
    from wcp360.core.ports import State

Item = TypeVar("Item")
Place = tuple[str | int, ...]
"""Where a row stands in its order: its value in the column that sorts, then its key."""

StatusWord = Literal["applied", "pending", "removing", "failed"]
"""How a resource stands, as ``core.status`` says it."""
LifeWord = Literal["present", "suspended", "absent"]

DESCENDING = "-"


class Match(StrEnum):
    """How a filter compares. SINCE includes the value, BEFORE and AFTER do not."""

    IS = "is"
    SINCE = "since"
    AFTER = "after"
    BEFORE = "before"
    STARTS = "starts"
    CONTAINS = "contains"


@dataclass(frozen=True, slots=True)
class By:
    """Marks an input field as a filter on ``column`` of what is listed."""

    column: str
    how: Match = Match.IS


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter with its value."""

    column: str
    how: Match
    value: Any

    def holds(self, found: Any) -> bool:
        """Tell whether a row with ``found`` in the column is wanted."""
        match self.how:
            case Match.IS:
                return bool(found == self.value)
            case Match.SINCE:
                return bool(found >= self.value)
            case Match.AFTER:
                return bool(found > self.value)
            case Match.BEFORE:
                return bool(found < self.value)
            case Match.STARTS:
                return str(found).startswith(self.value)
        return self.value in str(found)


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows of a list, in which order, how many, after which place; ``mark`` binds cursors to the first two."""

    conditions: tuple[Condition, ...] = ()
    sort: str = "name"
    descending: bool = False
    limit: int = 100
    place: Place = ()
    mark: str = ""

    def cursor(self, place: Place) -> str:
        """Return the cursor of what follows ``place``."""
        text = json.dumps([self.mark, *place], ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def newest(limit: int) -> Query:
    """Return the query for the youngest records."""
    return Query(sort="created", descending=True, limit=limit)


class ListInput(Input):
    """What every list takes. A list declares its orders by the values that it allows for ``sort``."""

    sort: str
    limit: Limit = Field(default=100, description="How many to answer at most.")
    cursor: Cursor = Field(default="", description="The `next` of the page before, with the same filters and order.")


class Dated(ListInput):
    """A list of things with a time of creation."""

    created_since: Annotated[Moment | None, By("created", Match.SINCE)] = Field(
        default=None, description="Only what was created at this time or later, as in 2026-11-22T17:00:00Z."
    )
    created_before: Annotated[Moment | None, By("created", Match.BEFORE)] = Field(
        default=None, description="Only what was created before this time."
    )


class Named(Dated):
    """A list of things that are addressed by name."""

    name_prefix: Annotated[NamePart | None, By("name", Match.STARTS)] = Field(
        default=None, description="Only names that start with this."
    )
    name_contains: Annotated[NamePart | None, By("name", Match.CONTAINS)] = Field(
        default=None, description="Only names that contain this."
    )


def sorted_by(default: str) -> Any:
    """Declare the field ``sort``; what it allows is its type."""
    return Field(default=default, description="The order; a minus before the field turns it round.")


def query_of(given: ListInput) -> Query:
    """Return what ``given`` asks for. Raises Invalid for a cursor of another list, other filters or another order."""
    conditions = tuple(
        Condition(mark.column, mark.how, value)
        for name, field in type(given).model_fields.items()
        for mark in field.metadata
        if isinstance(mark, By) and (value := getattr(given, name)) is not None
    )
    asked = [type(given).__name__, given.sort, *([c.column, c.how, c.value] for c in conditions)]
    mark = hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()[:16]
    return Query(
        conditions=conditions,
        sort=given.sort.removeprefix(DESCENDING),
        descending=given.sort.startswith(DESCENDING),
        limit=given.limit,
        place=_place(given.cursor, mark),
        mark=mark,
    )


def page_of(query: Query, rows: Iterable[Item], key: Callable[[Item], Place]) -> Page[Item]:
    """Return the page of a list that is not in the database; ``key`` tells rows with the same value apart."""

    def place_of(row: Item) -> Place:
        return (getattr(row, query.sort), *key(row))

    wanted = [row for row in rows if all(c.holds(getattr(row, c.column)) for c in query.conditions)]
    wanted.sort(key=place_of, reverse=query.descending)
    if query.place:
        try:
            wanted = [row for row in wanted if is_after(query, place_of(row))]
        except TypeError:
            raise wrong_cursor() from None
    shown = wanted[: query.limit]
    following = query.cursor(place_of(shown[-1])) if len(wanted) > query.limit else None
    return Page[Any](items=shown, next=following)


def all_of(state: State, kind: str) -> Iterator[Any]:
    """Return all resources of a kind of which there are few (nodes, modules), page by page."""
    query = Query(limit=1000)
    while True:
        page = state.page(kind, query)
        yield from page.items
        if page.next is None:
            return
        query = replace(query, place=_place(page.next, query.mark))


def is_after(query: Query, place: Place) -> bool:
    """Tell whether ``place`` comes after the query's own."""
    return place < query.place if query.descending else place > query.place


def wrong_cursor() -> Invalid:
    """Return the refusal of a cursor that does not belong here."""
    message = (
        "This cursor belongs to another list, or to other filters or another order. Repeat those of the page that gave "
        "it, or leave the cursor out to begin again."
    )
    return Invalid(f"cursor: {message}", errors=(FieldError("cursor", message, "wrong_cursor"),))


def _place(cursor: str, mark: str) -> Place:
    if not cursor:
        return ()
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise wrong_cursor() from None
    if not isinstance(found, list) or len(found) < 2 or found[0] != mark:
        raise wrong_cursor()
    if not all(_is_plain(part) for part in found):
        raise wrong_cursor()
    return tuple(found[1:])


def _is_plain(part: object) -> bool:
    """Tell whether a part of a cursor is a number or text that a database takes."""
    if isinstance(part, str):
        try:
            return bool(clean_text(part) or True)
        except ValueError:
            return False
    return type(part) is int and 0 <= part < 2**63
