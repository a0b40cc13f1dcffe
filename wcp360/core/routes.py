"""Where an operation is found over HTTP: the one place that derives method and path from its declaration.

The API serves these routes; the OpenAPI document, the CLI's manifest and the operations page print them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from wcp360.core.operation import Kind, Operation

PREFIX = "/api/v1"
# Nouns that have no plural, and those that do not form it by an s.
_COLLECTIONS = {"audit": "audit"}


class Carrier(StrEnum):
    """Where an operation's fields travel, besides the key, which is part of the path."""

    QUERY = "query"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Route:
    """Method and path of an operation.

    ``path`` is a template as OpenAPI has it; ``key`` names the field in braces, empty where the path has none.
    """

    method: str
    path: str
    key: str
    carrier: Carrier

    @property
    def rule(self) -> str:
        """Return the path as Werkzeug writes it."""
        return re.sub(r"\{(\w+)\}", r"<\1>", self.path)


def collection(noun: str) -> str:
    """Return the path segment under which all objects of a kind live."""
    return _COLLECTIONS.get(noun, noun + "s")


def route_of(operation: Operation) -> Route:
    """Derive the route.

    list, show, create, update and delete are what REST makes of them; any other verb is a last segment: GET asks,
    POST changes. A creation carries its key in the body, since the object has no address yet.
    """
    base = f"{PREFIX}/{collection(operation.object)}"
    one = f"{base}/{{{operation.key}}}" if operation.key else base
    verb = operation.verb.replace("_", "-")
    if operation.kind is Kind.QUERY:
        path = {"list": base, "show": one}.get(verb, f"{one}/{verb}")
        return _route("GET", path, operation.key, Carrier.QUERY)
    if verb == "create":
        return _route("POST", base, "", Carrier.BODY)
    if verb == "update":
        return _route("PATCH", one, operation.key, Carrier.BODY)
    if verb == "delete":
        return _route("DELETE", one, operation.key, Carrier.QUERY)
    return _route("POST", f"{one}/{verb}", operation.key, Carrier.BODY)


def _route(method: str, path: str, key: str, carrier: Carrier) -> Route:
    return Route(method, path, key if f"{{{key}}}" in path else "", carrier)


def changes_state(operation: Operation) -> bool:
    """Tell whether the operation changes something, so that it is audited and can be tried out by a dry run."""
    return operation.kind is not Kind.QUERY
