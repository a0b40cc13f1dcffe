"""How much one run takes up, so that what is asked for meanwhile does not wait long for the next."""

from __future__ import annotations

import threading

# A change that arrives just after a run has begun waits for that run and for its own: within 15 s, with some to spare.
RUN_SECONDS = 6.0
# What a run costs whatever is in it: Ansible's start, the connection, the first call.
FIXED_SECONDS = 1.5
FIRST, LEAST, MOST = 50, 10, 500


class Pace:
    """The number of targets in one run of each node, learned from how long its last ones took. Thread-safe."""

    def __init__(self) -> None:
        self._limits: dict[str, float] = {}
        self._lock = threading.Lock()

    def limit(self, node: str) -> int:
        """Return how many targets the next run of a node shall have at most."""
        with self._lock:
            return round(self._limits.get(node, FIRST))

    def learn(self, node: str, targets: int, seconds: float) -> None:
        """Note how long a run of so many targets took; one that was far from full says nothing about a full one."""
        with self._lock:
            limit = self._limits.get(node, FIRST)
            if targets < limit / 2:
                return
            fitting = targets * (RUN_SECONDS - FIXED_SECONDS) / max(seconds - FIXED_SECONDS, 0.1)
            # At most half or twice as many: one run may have met a busy moment.
            self._limits[node] = min(max(fitting, limit / 2, LEAST), limit * 2, MOST)
