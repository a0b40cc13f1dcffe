"""Who calls: bearer tokens, origins and correlation ids."""

from __future__ import annotations

import re

from flask import request

from wcp360.api.services import Services
from wcp360.core.actor import Actor
from wcp360.core.errors import Forbidden, Unauthenticated
from wcp360.core.ids import is_id, new_id

_BEARER = re.compile(r"Bearer ([!-~]{1,200})", re.ASCII | re.IGNORECASE)
ANONYMOUS = "anonymous"


def authenticate(services: Services) -> Actor:
    """Return the actor of the request's token.

    Raises Unauthenticated, the same for every kind of wrong token, or TooManyRequests after many of them.
    """
    match = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    actor = services.verify_token(match[1]) if match else None
    if actor is None:
        services.rates.hit(services.limits.failed_logins, "failed authentication", request.remote_addr or "local")
        raise Unauthenticated("Send a valid token as `Authorization: Bearer wcp_…`; `wcp360 init` makes the first one.")
    return actor


def bearer() -> str:
    """Return the token of an authenticated request."""
    return request.headers["Authorization"].partition(" ")[2]


def check_origin(services: Services) -> None:
    """Raise Forbidden when a browser sends the request from a page whose origin is not on the list.

    Origins are compared whole: a prefix or suffix of an allowed one is another site.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin not in services.settings.api.allowed_origins:
        raise Forbidden(
            "Requests from this origin are not taken. Add it to api.allowed_origins in the configuration.",
            code="origin_not_allowed",
        )


def correlation_id() -> str:
    """Return the caller's X-Request-Id when it is a ULID, else a new one: free text would end up in every log."""
    given = request.headers.get("X-Request-Id", "")
    return given if is_id(given) else new_id()
