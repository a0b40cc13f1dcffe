"""Rate limits: kept in this process, since there is one API process in the embedded default."""

from __future__ import annotations

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from wcp360.core.errors import TooManyRequests


class Rates:
    """Moving windows over named actions."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def hit(self, rate: str, action: str, key: str) -> None:
        """Count one ``action`` by ``key``. Raises TooManyRequests when ``rate`` (as in 60/minute) is used up."""
        if not self._limiter.hit(parse(rate), action, key):
            raise TooManyRequests(f"More than {rate.replace('/', ' per ')} of this kind ({action}). Wait a moment.")
