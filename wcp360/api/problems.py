"""Every refusal leaves as application/problem+json, also those of Flask and Werkzeug."""

from __future__ import annotations

import json

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from wcp360.core.errors import (
    Internal,
    Malformed,
    MethodNotAllowed,
    NotFound,
    Problem,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)

CONTENT_TYPE = "application/problem+json"


def install(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(Problem, answer)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(Exception, _from_fault)


def answer(problem: Problem) -> Response:
    """Return the answer that a problem makes."""
    body = problem.body() | {"correlation": g.get("correlation", "")}
    response = Response(json.dumps(body, ensure_ascii=False), status=problem.status, content_type=CONTENT_TYPE)
    if isinstance(problem, Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Bearer realm="wcp360"'
    g.problem = problem.code
    return response


def _from_http(error: HTTPException) -> Response:
    """Translate what Werkzeug raises. Redirects (it makes some for odd slashes) are answered as unknown paths."""
    if error.code == 405:
        response = answer(MethodNotAllowed(f"{request.method} is not offered here. See /api/v1/openapi.json."))
        response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return response
    kinds: dict[int, type[Problem]] = {400: Malformed, 413: TooLarge, 415: UnsupportedMedia, 404: NotFound}
    if error.code in kinds and error.code != 404:
        return answer(kinds[error.code](str(error.description)))
    if error.code == 404 or (error.code or 500) < 400:
        return answer(NotFound("There is nothing at this path. /api/v1/openapi.json lists all paths."))
    structlog.get_logger().error("An unexpected HTTP error.", error=repr(error))
    return answer(_fault())


def _from_fault(error: Exception) -> Response:
    structlog.get_logger().exception("A request failed by a fault of WCP360.", exc_info=error)
    return answer(_fault())


def _fault() -> Internal:
    return Internal(f"This is a fault of WCP360. Its log has the details under {g.get('correlation', '')}.")
