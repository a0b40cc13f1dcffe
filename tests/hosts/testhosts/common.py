"""Running commands, and where things are kept."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
IMAGE_FILES = Path(__file__).resolve().parents[1] / "image"


class HostsError(Exception):
    """A sentence for the person at the terminal: what, which value, what to do now."""


def say(text: str) -> None:
    """Progress goes to stderr: stdout is for the answer."""
    print(text, file=sys.stderr, flush=True)


def run(argv: list[str], *, stdin: str | None = None, check: bool = True, timeout: float = 900) -> str:
    """Run a command and return its output; raises HostsError with what it printed when it fails."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        printed = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise HostsError(f"`{' '.join(argv)}` ended with {done.returncode}: {printed}")
    return done.stdout


def succeeds(argv: list[str], timeout: float = 60) -> bool:
    """Whether a command can be run and ends with 0."""
    try:
        return subprocess.run(argv, capture_output=True, timeout=timeout, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def cache_dir() -> Path:
    """Images, keys and locks are kept outside the checkout, so that a clean checkout does not build again."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(base) / "wcp360-tests"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep two test runs from building the same thing at once."""
    with (cache_dir() / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def checkout_id() -> str:
    """Eight hex digits that tell this checkout's key and hosts from another's."""
    return hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
