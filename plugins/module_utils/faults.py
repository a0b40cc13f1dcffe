# SPDX-License-Identifier: MIT
"""Named points at which a test has a module die, fail, find the disk full, or lose the connection that it came by.

Nothing happens unless a fault is armed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal

KINDS = ("kill", "exception", "full", "cut")
#: What the roles' filters ask of the Ansible module steps; each has a point before and one after it.
STEPS = (
    "tenant.accounts",
    "tenant.owned_tree",
    "tenant.config_tree",
    "php_fpm.owned_tree",
    "php_fpm.config_tree",
    "php_fpm.instances",
    "nginx.owned_tree",
    "nginx.config_tree",
    "nginx.instances",
    "nginx.http_probe",
)
#: What is done to services.
ACTIONS = ("enable", "disable", "stop", "forget", "start", "reload")
#: All points of a node.
POINTS = (
    *(f"{when} {step}" for step in STEPS for when in ("before", "after")),
    "accounts.before_user",
    "accounts.after_user",
    "item.before_step",
    "tree.staged",
    "tree.before_swap",
    "tree.after_swap",
    *(f"instances.{when}_{action}" for action in ACTIONS for when in ("before", "after")),
)

_ARMED = {"fault": ""}


def arm(fault: str) -> None:
    """Ask for a fault, as ``kind:name`` with one of KINDS for the kind; empty asks for none."""
    _ARMED["fault"] = fault


def point(name: str) -> None:
    """Do what was asked for at the point ``name``, once. Raises RuntimeError and OSError."""
    kind, _dummy, wanted = _ARMED["fault"].partition(":")
    if wanted != name:
        return
    _ARMED["fault"] = ""
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exception":
        raise RuntimeError(f"A test asked for an exception at the point {name!r}.")
    if kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
    if kind == "cut":
        _cut()


def _cut() -> None:
    """End the sessions of sshd that this process is below; it lives on itself, as after a cut on the way."""
    pid, sessions = os.getpid(), []
    while pid > 1:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            name, _dummy, rest = file.read().partition("(")[2].rpartition(")")
        parent = int(rest.split()[1])
        if name.startswith("sshd"):
            sessions.append(pid)
        pid = parent
    for session in sessions[:-1]:  # the last one listens for all
        with contextlib.suppress(ProcessLookupError):
            os.kill(session, signal.SIGKILL)
