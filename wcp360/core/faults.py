"""Named points at which a test has a part of the panel die, fail, find the disk full, or lose its connections.

``WCP360_FAULT`` holds ``KIND:POINT``, or ``@FILE`` with that in the file, which is taken away when the fault happens:
it happens once. ``WCP360_KILL_AT`` holds a point alone and asks for SIGKILL: what a power cut or the kernel's
out-of-memory killer does. Without these variables a point costs two dictionary look-ups.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket

VARIABLE = "WCP360_FAULT"
KILL_VARIABLE = "WCP360_KILL_AT"

KINDS = ("kill", "exception", "full", "cut")
#: All points of the panel, in the order in which a change comes to them. The node's are in plugins/module_utils.
POINTS = (
    "submit.before_transaction",
    "submit.before_commit",
    "submit.after_commit",
    "enqueue.before_ring",
    "enqueue.after_ring",
    "engine.before_lease",
    "engine.after_lease",
    "engine.after_compile",
    "engine.before_run",
    "engine.at_gate",
    "engine.after_run",
    "engine.before_record",
    "engine.after_record",
    "preview.before_finish",
)


def point(name: str) -> None:
    """Do what a test asked for at the point ``name``. Raises RuntimeError and OSError where that is it."""
    if os.environ.get(KILL_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
    armed = os.environ.get(VARIABLE)
    if armed:
        kind, _, wanted = _taken(armed, name).partition(":")
        if wanted == name:
            _do(kind, name)


def _taken(armed: str, name: str) -> str:
    """Return the fault that is armed; one from a file only to the first who comes to its point."""
    if not armed.startswith("@"):
        return armed
    path = armed[1:]
    try:
        with open(path, encoding="ascii") as file:
            fault = file.read().strip()
        if fault.partition(":")[2] == name:
            os.rename(path, f"{path}.done")
            return fault
    except FileNotFoundError:
        pass
    return ""


def _do(kind: str, name: str) -> None:
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exception":
        raise RuntimeError(f"A test asked for an exception at the point {name!r}.")
    if kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
    if kind == "cut":
        _cut_own_connections()
        _cut_nodes(f"{os.environ.get('WCP360_STATE_DIR', '?')}/cp/".encode())


def _cut_own_connections() -> None:
    """Shut down every TCP connection of this process, be it a client's or the database's."""
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{entry}").startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry))) as link:
                    if link.family in (socket.AF_INET, socket.AF_INET6) and link.getpeername():
                        link.shutdown(socket.SHUT_RDWR)


def _cut_nodes(control: bytes) -> None:
    """End the SSH processes whose control sockets lie in this state directory."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
            command = file.read()
            if command.startswith((b"ssh", b"/usr/bin/ssh")) and control in command:
                os.kill(int(entry), signal.SIGKILL)
