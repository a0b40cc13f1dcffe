"""Exit codes, and the one exception that carries a sentence and a code to the end of the program.

docs/cli.md documents them; a test holds the two together.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the shell sees; scripts may rely on these numbers."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    CONFLICT = 5
    NOT_ALLOWED = 6
    NO_SERVER = 7
    SERVER_FAULT = 8
    NOT_FINISHED = 9
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "accepted, but the change, the preview or the check failed",
    Exit.USAGE: "the command line is wrong",
    Exit.REFUSED: "the server refused the input",
    Exit.NOT_FOUND: "there is no such object",
    Exit.CONFLICT: "the present state does not admit it",
    Exit.NOT_ALLOWED: "no valid token, or not allowed",
    Exit.NO_SERVER: "no server answers",
    Exit.SERVER_FAULT: "the server failed or is too busy",
    Exit.NOT_FINISHED: "not finished within --timeout; it goes on",
    Exit.INTERRUPTED: "interrupted, or a question was not answered with yes",
}

_BY_STATUS = {400: Exit.REFUSED, 413: Exit.REFUSED, 415: Exit.REFUSED, 422: Exit.REFUSED} | {
    401: Exit.NOT_ALLOWED,
    403: Exit.NOT_ALLOWED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
}


def of_status(status: int) -> Exit:
    """Return the exit code for the HTTP status of a refusal."""
    return _BY_STATUS.get(status, Exit.SERVER_FAULT)


class Failure(Exception):
    """Ends the command: ``message`` goes to standard error, ``code`` to the shell."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message, self.code = message, code
