"""Ask a running service which generation of its configuration it has loaded."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils import fastcgi
from ansible_collections.wcp360.hosting.plugins.module_utils.exchange import exchange

ANSWER_SECONDS = 2.0
LONGEST_GENERATION = 128


def ask(spec: dict[str, Any], timeout: float = ANSWER_SECONDS) -> str:
    """Return the generation that the service of ``spec`` has; empty where it does not say one.

    ``timeout`` is in seconds. A service that answers nothing or nonsense is no error: its generation is unknown.
    """
    how = spec.get("ask") or {}
    try:
        if how.get("http"):
            answer = _ask_http(how["http"], timeout)
        elif how.get("fastcgi"):
            answer = fastcgi.ping(how["fastcgi"]["socket"], how["fastcgi"]["path"], timeout)
        elif how.get("stamp"):
            answer = _read_stamp(how["stamp"]["path"])
        else:
            return ""
    except OSError:
        return ""
    return answer if answer.isascii() and answer.isalnum() and len(answer) <= LONGEST_GENERATION else ""


def is_stamped(spec: dict[str, Any]) -> bool:
    """Tell whether the generation of ``spec`` is kept in a file, because the service cannot be asked."""
    return bool((spec.get("ask") or {}).get("stamp"))


def write_stamp(spec: dict[str, Any], generation: str) -> None:
    """Record that the service of ``spec`` has loaded ``generation``. Raises OSError."""
    path = spec["ask"]["stamp"]["path"]
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    new = path + ".new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stamp:
        stamp.write(generation + "\n")
        stamp.flush()
        os.fsync(stamp.fileno())
    os.rename(new, path)


def remove_stamp(spec: dict[str, Any]) -> None:
    """Forget what the service of ``spec`` had loaded."""
    with suppress(FileNotFoundError):
        os.unlink(spec["ask"]["stamp"]["path"])


def _read_stamp(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as stamp:
        return stamp.read(LONGEST_GENERATION + 1).strip()


def _ask_http(how: dict[str, Any], timeout: float) -> str:
    # Not http.client: its timeout holds for each receive, so a peer that drips its header would hold the node's lock.
    question = f"GET {how['path']} HTTP/1.1\r\nHost: {how['host']}\r\nConnection: close\r\n\r\n"
    family = socket.AF_INET6 if ":" in how["address"] else socket.AF_INET
    answer = exchange(family, (how["address"], how["port"]), question.encode(), timeout, end=b"\r\n\r\n")
    status, _dummy, header = answer.partition(b"\r\n")
    if not status.startswith(b"HTTP/1."):
        return ""
    fields = (line.partition(b":") for line in header.split(b"\r\n"))
    values = (value for name, _colon, value in fields if name.lower() == how["header"].lower().encode())
    return next(values, b"").decode("latin-1").strip()
