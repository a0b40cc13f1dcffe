"""Every refusal that WCP360 makes, as one tree of problems (RFC 9457).

A problem carries a stable ``code`` for programs, a ``detail`` that is a sentence for people (what, which value,
what to do now) and, for bad input, one entry per field. The API prints it as ``application/problem+json``;
the CLI turns ``status`` into an exit code.

Problem
├── Malformed            400  the request cannot be read at all
├── Unauthenticated      401
├── Forbidden            403
├── NotFound             404
├── MethodNotAllowed     405
├── Conflict             409  with a code of its own for every reason
├── TooLarge             413
├── UnsupportedMedia     415
├── Invalid              422  fields are wrong
├── TooManyRequests      429
├── Internal             500
└── Unavailable          503
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: ``field`` is its dotted path in the input, ``message`` a sentence, ``code`` stable."""

    field: str
    message: str
    code: str = "invalid"


class Problem(Exception):
    """The base of all refusals; raise a subclass."""

    status = 500
    code = "internal"
    title = "Something went wrong inside WCP360"

    def __init__(self, detail: str, *, code: str = "", errors: tuple[FieldError, ...] = (), **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.errors = errors
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """Return the problem document as RFC 9457 section 3.1 names its members, with ours beside them."""
        document: dict[str, Any] = {
            "type": f"urn:wcp360:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [{"field": e.field, "message": e.message, "code": e.code} for e in self.errors]
        return document | self.extra


class Malformed(Problem):
    """The request cannot be read: not JSON, not UTF-8, a duplicate key, too deep."""

    status, code, title = 400, "malformed", "The request cannot be read"


class Unauthenticated(Problem):
    """No token, or one that is unknown, revoked or malformed: all answered alike."""

    status, code, title = 401, "unauthenticated", "A valid token is needed"


class Forbidden(Problem):
    """The actor may not do this."""

    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(Problem):
    """The object does not exist, or belongs to a tenant that the actor may not see."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(Problem):
    """The path exists, the method does not."""

    status, code, title = 405, "method_not_allowed", "This method is not offered here"


class Conflict(Problem):
    """The request is fine, the present state does not admit it; ``code`` says why."""

    status, code, title = 409, "conflict", "The present state does not admit this"


class TooLarge(Problem):
    """The body is over the limit."""

    status, code, title = 413, "too_large", "The request is too large"


class UnsupportedMedia(Problem):
    """The body is not declared as JSON."""

    status, code, title = 415, "unsupported_media_type", "Send JSON"


class Invalid(Problem):
    """One or more fields are wrong; ``errors`` names each."""

    status, code, title = 422, "invalid", "Some fields are not valid"


class TooManyRequests(Problem):
    """A rate limit or a cap on open streams is reached."""

    status, code, title = 429, "too_many_requests", "Too many requests"


class Internal(Problem):
    """A fault of WCP360 itself; the log has it under the correlation id."""


class Unavailable(Problem):
    """A part that is needed does not answer now; try again later."""

    status, code, title = 503, "unavailable", "Not available at the moment"
