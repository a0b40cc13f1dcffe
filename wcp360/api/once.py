"""``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header): a changing request that may be sent again.

The answer is kept in the transaction of the change, so that a caller who never saw it gets the same one for the same
request, and nothing is done twice. Only digests of key and request are kept: a request may hold a password, and without
the key nobody can try out which.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import request

from wcp360.core.errors import Conflict, Malformed
from wcp360.core.submit import Once

HEADER = "Idempotency-Key"
# A string as RFC 8941 writes it, which is what the draft asks for, or the bare token that many clients send.
_KEY = re.compile(r'"([ !#-\[\]-~]{1,255})"|([!#-+\--\[\]-~]{1,255})', re.ASCII)


def wanted_once(body: bytes) -> Once | None:
    """Return the request's key with a digest of the request, or None without a key. Raises Malformed."""
    given = request.headers.get(HEADER)
    if given is None:
        return None
    match = _KEY.fullmatch(given.strip())
    if match is None:
        raise Malformed(
            f"The {HEADER} is no quoted string of 1 to 255 plain characters. Send one such as "
            '"8e03978e-40d5-43dd-bc93-6894a57f9324", a new one for each request.',
            code="idempotency_key_malformed",
        )
    key = (match[1] or match[2]).encode()
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for part in (request.method.encode(), request.path.encode(), request.query_string, body):
        digest.update(b"%d:%s" % (len(part), part))
    return Once(hashlib.sha256(key).hexdigest(), digest.hexdigest())


class Ongoing:
    """The keys of requests that are being worked on in this process; other processes meet at the database's lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[tuple[str, str]] = set()

    @contextmanager
    def claimed(self, actor: str, once: Once | None) -> Iterator[None]:
        """Hold the key while the block runs. Raises Conflict where another request under it has not been answered."""
        if once is None:
            yield
            return
        mine = (actor, once.key)
        with self._lock:
            if mine in self._keys:
                raise Conflict(
                    f"A request with this {HEADER} is still being worked on. Send it again in a moment.",
                    code="request_in_progress",
                )
            self._keys.add(mine)
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard(mine)
