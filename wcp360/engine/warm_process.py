"""What a forked child needs to be the process that ansible-runner meant to start."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
# A variable of the parent's that only takes room; its children write their own environment over it.
SPACE_VARIABLE = "WCP360_WARM_SPACE"
SPACE_BYTES = 16_384

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Start:
    """How the process would have been started."""

    cwd: str
    umask: int
    ignores_hangup: bool
    argv: list[str]
    environment: dict[str, str]


def read_start(body: bytes) -> Start:
    """Read what the client sends. Raises ValueError."""
    cwd, umask, deaf, count, *rest = body.decode("utf-8", "surrogateescape").split("\0")
    argv, variables = rest[: int(count)], rest[int(count) :]
    environment = dict(variable.split("=", 1) for variable in variables)
    return Start(cwd, int(umask), deaf == "1", argv, environment)


def become(start: Start, descriptors: list[int], keep: list[int]) -> list[int]:
    """Take over everything but Python's own state; returns the new numbers of the descriptors in ``keep``.

    The process gets its own session, ends when its parent ends, and shows its environment in /proc, by which the
    engine finds what is left of a run. Raises OSError.
    """
    os.setsid()
    if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl refused PR_SET_PDEATHSIG")
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if start.ignores_hangup else signal.SIG_DFL)
    _take_descriptors(descriptors, keep)
    os.umask(start.umask)
    os.chdir(start.cwd)
    os.environ.clear()
    os.environ.update(start.environment)
    _show_environment(start.environment)
    _libc.prctl(PR_SET_NAME, os.path.basename(start.argv[0]).encode()[:15], 0, 0, 0)
    return list(range(len(descriptors), len(descriptors) + len(keep)))


def _take_descriptors(descriptors: list[int], keep: list[int]) -> None:
    wanted = [*descriptors, *keep]
    # First out of the way of the numbers that are given out now.
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 2 * len(wanted)) for number in wanted]
    for number, source in enumerate(high):
        os.dup2(source, number, inheritable=number < len(descriptors))
    os.closerange(len(wanted), os.sysconf("SC_OPEN_MAX"))


def _show_environment(environment: Mapping[str, str]) -> None:
    """Write over what /proc/PID/environ shows; getenv(3) has its own copies since os.environ was filled anew."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end of proc(5), counted after the name
    shown = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items())
    if end - start < len(shown):
        raise OSError(f"The environment of {len(shown)} bytes does not fit into {end - start}.")
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, shown, len(shown))
