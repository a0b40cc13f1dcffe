"""What every benchmark says of itself: subject, machine, date, versions and what else ran meanwhile."""

from __future__ import annotations

import os
import platform
import sys
import timeit
from datetime import UTC, datetime
from importlib.metadata import version

LIBRARIES = ("ansible-core", "ansible-runner", "peewee", "huey", "flask")


def about(subject: str, words: str) -> None:
    """Print the head of a section."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n## {subject}\n\n{words}\n")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {_processor()}, {os.cpu_count()} cores ·")
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    print(f"Linux {platform.release()}, Python {platform.python_version()}, {versions} ·")
    print(f"load at the start {load}; five million additions in Python take {pace():.2f} s", flush=True)


def pace() -> float:
    """Return the seconds of five million additions, the best of five: a shared machine is not always as fast."""
    return min(timeit.repeat("for number in range(5_000_000): total += number", "total = 0", number=1, repeat=5))


def note(text: str) -> None:
    """Say on standard error how far a benchmark is."""
    print(text, file=sys.stderr, flush=True)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()
