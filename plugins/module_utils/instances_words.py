"""A service's last words: the end of its log, made safe to show."""

from __future__ import annotations

import os
import stat

LONGEST_TAIL = 4096
MOST_LINES = 8


def tail(path: str, start: int = 0) -> tuple[str, int]:
    """Return the last lines of the file ``path`` after byte ``start``, and its size; nothing if it is unreadable."""
    if not path:
        return "", 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return "", 0
    with os.fdopen(descriptor, "rb") as log:
        status = os.fstat(log.fileno())
        if not stat.S_ISREG(status.st_mode):
            return "", 0
        size = status.st_size
        log.seek(max(start if start <= size else 0, size - LONGEST_TAIL))
        return "\n".join(log.read(LONGEST_TAIL).decode("utf-8", "replace").splitlines()[-MOST_LINES:]), size


def printable(text: str) -> str:
    """Return ``text`` on one line without control characters: a tenant's process may have written it."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    joined = " / ".join(line for line in lines if line)
    return "".join(letter if letter.isprintable() else "?" for letter in joined)
