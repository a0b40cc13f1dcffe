"""Services on a node without a service manager: started, signalled and stopped by process.

A pid is believed only when root alone can have written it down, and only while the process with that number is
the one that was meant: same start time (our own record) or same program (the service's own pid file), same uid.
Signals go through a pidfd, so that they cannot hit a process that took the number meanwhile.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from contextlib import suppress
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.instances_spawn import daemonized, spawn
from ansible_collections.wcp360.hosting.plugins.module_utils.instances_words import printable, tail
from ansible_collections.wcp360.hosting.plugins.module_utils.items import RUN_DIR

RECORDS = RUN_DIR + "/instances"
STOP_SECONDS = 15.0
STEP_SECONDS = 0.02


class Processes:
    """What stands in for a service manager. All methods take lists of item specs."""

    has_enablement = False

    def __init__(self) -> None:
        """Start with no log seen."""
        self.sizes: dict[str, int] = {}

    def observe(self, specs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return per item id whether it is running, and whether something of it must still be stopped."""
        return {spec["id"]: self._state(spec) for spec in specs}

    def prepare(self, specs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Observe; nothing has to be read again."""
        return self.observe(specs)

    def mark(self, specs: list[dict[str, Any]]) -> None:
        """Remember the ends of the log files, so that only newer lines count as last words."""
        for spec in specs:
            self.sizes[spec["id"]] = tail(_log(spec))[1]

    def enable(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        """Nothing starts at boot here."""
        return {}

    disable = enable

    def start(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        """Start each service, after what an earlier start of it left behind has ended."""
        return _each(specs, _start)

    def reload(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        """Send each service its reload signal."""
        return _each(specs, _reload)

    def stop(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        """Ask all to end, wait, and end by force what is left of them."""
        pids = {spec["id"]: find(spec) for spec in specs}
        for spec in specs:
            _signal(spec, spec["command"]["stop_signal"])
        deadline = time.monotonic() + STOP_SECONDS
        while (
            any(pids[spec["id"]] is not None and find(spec) == pids[spec["id"]] for spec in specs)
            and time.monotonic() < deadline
        ):
            time.sleep(STEP_SECONDS)
        return _each(specs, _end)

    def forget(self, specs: list[dict[str, Any]]) -> None:
        """Remove records and sockets of services that were stopped."""
        for spec in specs:
            for path in (_record_path(spec), *[entry["path"] for entry in spec["command"]["sockets"]]):
                _unlink(path)
        with suppress(OSError):  # others' records are in it, or it was never made
            os.rmdir(RECORDS)

    def words(self, spec: dict[str, Any]) -> str:
        """Return the last lines that the service of ``spec`` wrote since the work began."""
        return printable(tail(_log(spec), self.sizes.get(spec["id"], 0))[0])

    def _state(self, spec: dict[str, Any]) -> dict[str, Any]:
        running = bool(spec["command"]) and find(spec) is not None
        up = {"running": running, "awake": running, "lingering": running}
        return {**up, "enabled": True, "partly_enabled": False, "missing": False}


def find(spec: dict[str, Any]) -> int | None:
    """Return the pid of the main process of ``spec`` if it runs. Raises nothing: an untrusted pid is no pid."""
    if spec["command"]["daemonizes"]:
        return _from_pid_file(spec)
    pid, started = _read_record(spec)
    about = _about(pid)
    return pid if about and about["started"] == started and about["uid"] == spec["command"]["uid"] else None


def _from_pid_file(spec: dict[str, Any]) -> int | None:
    path = spec["command"]["pidfile"]
    if not _only_root_writes(os.path.dirname(path)):
        return None
    try:
        pid = int(tail(path)[0].strip() or 0)
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except (OSError, ValueError):
        return None
    about = _about(pid)
    same = os.path.realpath(spec["command"]["argv"][0]) == program
    return pid if same and about and about["uid"] == spec["command"]["uid"] else None


def _only_root_writes(directory: str) -> bool:
    try:
        status = os.stat(directory, follow_symlinks=True)
    except OSError:
        return False
    return status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _record_path(spec: dict[str, Any]) -> str:
    return f"{RECORDS}/{spec['name']}.pid"


def _read_record(spec: dict[str, Any]) -> tuple[int, int]:
    words = tail(_record_path(spec))[0].split()
    return (int(words[0]), int(words[1])) if len(words) == 2 and all(word.isdigit() for word in words) else (0, 0)


def _about(pid: int) -> dict[str, int] | None:
    """Return uid, session and start time (clock ticks since boot) of a live process."""
    if pid <= 1:
        return None
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    # Nobody may reap the dead on such a node: a zombie is gone.
    return None if words[0] in "ZX" else {"uid": uid, "session": int(words[3]), "started": int(words[19])}


def _signal(spec: dict[str, Any], name: str) -> bool:
    pid = find(spec)
    if pid is None:
        return False
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # Looked at once more: from here on the descriptor is the process that was found.
        if find(spec) != pid:
            return False
        signal.pidfd_send_signal(descriptor, signal.Signals[f"SIG{name}"])
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _start(spec: dict[str, Any]) -> None:
    if find(spec) is not None:
        return
    _end(spec)
    if spec["command"]["daemonizes"]:
        daemonized(spec["command"])
        return
    os.makedirs(RECORDS, mode=0o755, exist_ok=True)
    sockets = [_bind(entry) for entry in spec["command"]["sockets"]]
    try:
        spawn(spec["command"], sockets, _record_path(spec))
    finally:
        for bound in sockets:
            bound.close()


def _reload(spec: dict[str, Any]) -> None:
    if not _signal(spec, spec["command"]["reload_signal"]):
        raise OSError(f"{spec['name']} ended before it could be told to reload.")


def _end(spec: dict[str, Any]) -> None:
    """End by force what is left of the last start: its main process, or workers whose main process was killed."""
    _signal(spec, "KILL")
    leader, started = _read_record(spec)
    uid = spec["command"]["uid"]
    if not leader or uid == 0:
        return
    for entry in os.listdir("/proc"):
        about = _about(int(entry)) if entry.isdigit() else None
        if about and about["session"] == leader and about["uid"] == uid and about["started"] >= started:
            try:
                os.kill(int(entry), signal.SIGKILL)
            except ProcessLookupError:
                continue


def _bind(entry: dict[str, Any]) -> socket.socket:
    directory = os.path.dirname(entry["path"])
    if not _only_root_writes(directory):
        raise OSError(f"{directory} is missing or others than root can write to it, so no socket is made there.")
    _unlink(entry["path"])
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        bound.bind(entry["path"])
    finally:
        os.umask(before)
    os.chown(entry["path"], 0, entry["gid"], follow_symlinks=False)
    os.chmod(entry["path"], int(entry["mode"], 8))
    bound.listen(511)
    return bound


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _log(spec: dict[str, Any]) -> str:
    return spec["error_log"] or (spec["command"] or {}).get("output") or ""


def _each(specs: list[dict[str, Any]], action: Any) -> dict[str, str]:
    errors = {}
    for spec in specs:
        try:
            action(spec)
        except OSError as error:
            errors[spec["id"]] = str(error)
    return errors
