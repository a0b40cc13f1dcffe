"""Find and end the processes of one user."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator

#: Asks for the user namespace that owns another one (ioctl_ns(2); the number is in linux/nsfs.h).
NS_GET_USERNS = 0xB701
#: Where our ``instances`` module keeps the pid of a master that it started without a service manager.
INSTANCE_PIDS = "/run/wcp360/instances"
#: Where systemd keeps a tenant's instance, below its own root. The whole path counts: a tenant with a service manager
#: of its own may give units any name, but has them below user.slice.
UNIT_GROUP = "/wcp360.slice/wcp360-{name}.slice/wcp360-php@{name}.service"


def user_processes(uid: int, spare: str = "") -> list[int]:
    """Return the pids with ``uid`` as any of their user ids, without zombies and without PHP instance ``spare``.

    What belongs to a PHP-FPM instance is stopped by the role that started it, which knows how. What runs in a container
    of the machine's root has the uid of somebody there.
    """
    return _ours(_all_of(uid), spare)


def end_processes(uid: int, spare: str = "", patience: float = 10.0) -> list[int]:
    """Kill the processes of ``uid`` and return those that are still there after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while pids := _ours(every := _all_of(uid), spare):
        if time.monotonic() > deadline:
            return pids
        if spare or len(pids) < len(every):
            _kill_each(pids)
        else:
            _kill_all_of(uid)
        time.sleep(0.02)
    return []


def _all_of(uid: int) -> list[int]:
    return [pid for pid in _pids() if _belongs(pid, uid)]


def _ours(pids: list[int], spare: str) -> list[int]:
    session = _instance_session(spare) if spare else 0
    mine = [pid for pid in pids if not (spare and _in_instance(pid, spare, session))]
    return [pid for pid in mine if not _in_container(pid)]


def _kill_each(pids: list[int]) -> None:
    # Stopped first, so that none of them starts another while the rest is being killed.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def _kill_all_of(uid: int) -> None:
    """Kill everything of ``uid`` in one system call, which even a fork bomb does not outrun."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _belongs(pid: int, uid: int) -> bool:
    status = _read(f"/proc/{pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return str(uid) in fields.get("Uid", "").split() and not fields.get("State", "").startswith(("Z", "X"))


def _in_container(pid: int) -> bool:
    """Tell whether root put ``pid`` into a PID namespace, as container engines do.

    One that a tenant made for itself is owned by a user namespace of the tenant's (pid_namespaces(7)).
    """
    try:
        if _same("/proc/self/ns/pid", f"/proc/{pid}/ns/pid"):
            return False
        namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            owner = fcntl.ioctl(namespace, NS_GET_USERNS)
        finally:
            os.close(namespace)
        try:
            return _same("/proc/self/ns/user", owner)
        finally:
            os.close(owner)
    except OSError:  # it has ended, or the owner is none that root here may see
        return False


def _same(path: str, other: str | int) -> bool:
    here, there = os.stat(path), os.stat(other)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _in_instance(pid: int, name: str, session: int) -> bool:
    if _control_group(pid) == _control_group(1).removesuffix("/init.scope") + UNIT_GROUP.format(name=name):
        return True
    return bool(session) and _session(pid) == session


def _control_group(pid: int) -> str:
    """Return the whole path at which systemd keeps ``pid``; on a node in a container the container's comes first."""
    groups = {}
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        _dummy, controllers, path = line.split(":", 2)
        groups[controllers] = path
    # Where there are version 1 hierarchies, systemd's own is among them; else all are in the unnamed one.
    return groups.get("name=systemd", groups.get("", ""))


def _instance_session(name: str) -> int:
    text = _read(f"{INSTANCE_PIDS}/php-{name}.pid").strip()
    return _session(int(text)) if text.isdecimal() else 0


def _session(pid: int) -> int:
    # The command name in parentheses may hold spaces: count from behind it.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[3]) if len(fields) > 3 else 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
