# SPDX-License-Identifier: MIT
"""Named points at which a test has a module die, fail or find the disk full. Nothing happens unless one is armed."""

from __future__ import annotations

import errno
import os
import signal

_ARMED = {"fault": ""}


def arm(fault: str) -> None:
    """Ask for a fault, as ``kind:name`` with kill, exception or full for the kind; empty asks for none."""
    _ARMED["fault"] = fault


def point(name: str) -> None:
    """Do what was asked for at the point ``name``. Raises RuntimeError and OSError."""
    kind, _dummy, wanted = _ARMED["fault"].partition(":")
    if wanted != name:
        return
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exception":
        raise RuntimeError(f"A test asked for an exception at the point {name!r}.")
    if kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
