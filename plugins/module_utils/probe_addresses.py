# SPDX-License-Identifier: MIT
"""Which addresses of this machine a probe can use."""

from __future__ import annotations

import os
from collections.abc import Iterable

IPV6_PROOF = "/proc/net/if_inet6"


def usable(addresses: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the addresses that this machine can have, and those that are left out because it has no IPv6."""
    ipv6 = os.path.exists(IPV6_PROOF) and _has_lines(IPV6_PROOF)
    kept = [address for address in addresses if ipv6 or ":" not in address]
    return kept, [address for address in addresses if address not in kept]


def _has_lines(path: str) -> bool:
    with open(path, encoding="ascii", errors="replace") as stream:
        return bool(stream.readline())
