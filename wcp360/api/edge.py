"""From an HTTP request to an operation's input: path, query string and body, each read strictly."""

from __future__ import annotations

import re
from typing import Any

from flask import g, request

from wcp360.api.body import check_text, load_json, shorten
from wcp360.api.reading import read_body
from wcp360.core.errors import FieldError, Invalid, Malformed, UnsupportedMedia
from wcp360.core.operation import Input, Operation
from wcp360.core.routes import Carrier, Route
from wcp360.core.validate import validate

DRY_RUN = "dry_run"
JSON = "application/json"


def read_input(operation: Operation, route: Route, address: dict[str, str], own: frozenset[str] = frozenset()) -> Input:
    """Return the validated input. Raises Malformed, UnsupportedMedia, TooLarge or Invalid.

    ``own`` are the query parameters that the API itself takes and that are no fields of the operation.
    """
    check_text(address)
    if route.carrier is Carrier.QUERY:
        _refuse_body()
        fields = _query_fields(own)
    else:
        _refuse_fields(_query_fields(own))
        fields = _body_fields(operation.input.most_bytes)
    if route.key in fields:
        _refuse(route.key, f"{route.key} is part of the path; leave it out here.", "given_in_path")
    return validate(operation.input, {**fields, **address}, lenient=route.carrier is Carrier.QUERY)


def wants_dry_run() -> bool:
    """Read the parameter ``dry_run``. Raises Invalid for anything but true and false."""
    values = request.args.getlist(DRY_RUN)
    if not values or values == ["false"]:
        return False
    if values == ["true"]:
        return True
    _refuse(DRY_RUN, "Give true or false, once.", "invalid")
    return False


def wanted_wait(longest: float) -> float:
    """Return the seconds of ``Prefer: wait=N`` (RFC 7240 section 4.3), 0 where there is none; at most ``longest``."""
    for preference in request.headers.get("Prefer", "").split(","):
        match = re.fullmatch(r'\s*wait\s*=\s*"?([0-9]{1,6})"?\s*(?:;.*)?', preference, re.ASCII | re.IGNORECASE)
        if match is not None:
            return min(float(match[1]), longest)
    return 0.0


def _query_fields(own: frozenset[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, values in request.args.lists():
        if name in own:
            continue
        check_text({name: values})
        if len(values) > 1:
            _refuse(shorten(name)[1:-1], "This parameter is given more than once.", "repeated")
        fields[name] = values[0]
    return fields


def _refuse_fields(fields: dict[str, Any]) -> None:
    if fields:
        name = shorten(next(iter(fields)))[1:-1]
        _refuse(name, "This is no parameter here; fields travel in the body.", "unknown_field")


def _body_fields(most: int) -> dict[str, Any]:
    declared = request.headers.get("Content-Type")
    g.body = data = read_body(most)
    if not data and declared is None:
        return {}
    if request.mimetype != JSON or request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise UnsupportedMedia(f"The body is declared as {shorten(declared or 'nothing')}. Send {JSON}.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("Compressed bodies are not taken. Send the JSON as it is.")
    return load_json(data)


def _refuse_body() -> None:
    if request.content_length or "Transfer-Encoding" in request.headers:
        raise Malformed(f"{request.method} takes no body here. Give the fields as query parameters.")


def _refuse(field: str, message: str, code: str) -> None:
    raise Invalid(f"{field}: {message}", errors=(FieldError(field, message, code),))
