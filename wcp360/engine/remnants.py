"""What a killed run leaves behind: processes on this machine that still work on a node.

Ansible's workers have sessions of their own and survive both ansible-playbook and the engine. They are known by their
environment, which names the run. On the node itself our Ansible modules take a file lock, so that what is left there
excludes the next run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wcp360.core.ids import is_id

# What Ansible is made of on this side. Anything else that carries the mark was started by a module: a service that a
# node without systemd has here must live on, and a package manager is better waited for than killed.
_OURS = ("python", "ansible", "sh", "dash", "bash", "sudo", "ssh", "sftp", "scp")
WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process that carries the mark of a run."""

    pid: int
    run: str


def end_run(state_dir: Path, run_id: str) -> int:
    """End what is left of one run, and wait for it; returns how many processes that were."""
    return _end(state_dir, lambda run: run == run_id)


def end_remnants(state_dir: Path) -> int:
    """End what is left of all runs of this state directory; returns how many processes that were."""
    return _end(state_dir, lambda run: True)


def _end(state_dir: Path, meant: Callable[[str], bool]) -> int:
    ended: set[int] = set()
    deadline = time.monotonic() + WAIT_SECONDS
    while found := {process.pid for process in marked(state_dir) if meant(process.run)}:
        for pid in found - ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended |= found
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return len(ended)


def marked(state_dir: Path) -> Iterator[Process]:
    """Yield the processes of runs of this state directory that may be ended."""
    prefix = f"WCP360_OUTCOMES_FILE={state_dir}/runs/".encode()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            run = _run_of(entry.path, prefix)
            if run and _is_ours(Path(entry.path)):
                yield Process(int(entry.name), run)


def _run_of(proc: str, prefix: bytes) -> str:
    try:
        with open(f"{proc}/environ", "rb") as file:
            environ = file.read()
    except OSError:
        return ""
    start = environ.find(prefix)
    if start < 0 or (start > 0 and environ[start - 1] != 0):
        return ""
    run = environ[start + len(prefix) :].split(b"/", 1)[0].decode("ascii", "replace")
    return run if is_id(run) else ""


def _is_ours(proc: Path) -> bool:
    """Tell Ansible's processes from services that it started and from kept SSH connections."""
    try:
        name, _, rest = (proc / "stat").read_text(encoding="utf-8", errors="replace").partition("(")[2].rpartition(")")
        state, _, _, session = rest.split()[:4]
        command = (proc / "cmdline").read_bytes()
    except OSError:
        return False
    if state in "ZX" or command.rstrip(b"\0").endswith(b"[mux]"):
        return False
    return name.startswith(_OURS) and not _is_service(int(session))


def _is_service(session: int) -> bool:
    """Tell whether a session is led by a daemon that a module started here."""
    leader = Path(f"/proc/{session}")
    try:
        if b"\0WCP360_RUN=" not in b"\0" + (leader / "environ").read_bytes():
            return False
        name, command = (leader / "comm").read_text(errors="replace"), (leader / "cmdline").read_bytes()
    except OSError:
        return False
    return not name.startswith(_OURS) or (name.startswith("python") and b"ansible" not in command)
