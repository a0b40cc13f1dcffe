"""Start a program as a daemon: own session, own uid and groups, clean environment, sockets handed over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import traceback
from typing import Any, NoReturn

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DAEMON_SECONDS = 60


def environment(command: dict[str, Any], sockets: list[socket.socket]) -> dict[str, str]:
    """Return all that the program of ``command`` gets to see of an environment."""
    variables = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/", **command["environment"]}
    if command["sockets_variable"]:
        pairs = zip(command["sockets"], sockets, strict=True)
        variables[command["sockets_variable"]] = ",".join(f"{entry['path']}={bound.fileno()}" for entry, bound in pairs)
    return variables


def daemonized(command: dict[str, Any]) -> None:
    """Run a program that detaches itself, and wait for that. Raises OSError with what it said when it fails."""
    try:
        done = subprocess.run(
            command["argv"],
            env=environment(command, []),
            cwd="/",
            user=command["uid"],
            group=command["gid"],
            extra_groups=command["groups"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=0o022,
            timeout=DAEMON_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command['argv'][0]} did not detach itself within {DAEMON_SECONDS} s.") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-1000:]
        raise OSError(f"{command['argv'][0]} ended with {done.returncode}: {said}")


def spawn(command: dict[str, Any], sockets: list[socket.socket], record: str) -> None:
    """Start a program that stays in the foreground, detached from us; write ``record`` ("pid start-time") first.

    The child itself writes the record before it becomes the program, so that a kill between the two leaves no
    process that nobody knows. Call it while no other thread runs. Raises OSError.
    """
    output = _open_output(command)
    try:
        if os.fork() == 0:
            _become(command, sockets, record, output)
    finally:
        os.close(output)


def _open_output(command: dict[str, Any]) -> int:
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    if not command["output"]:
        return os.open(os.devnull, flags)
    descriptor = os.open(command["output"], flags | os.O_APPEND | os.O_CREAT, 0o640)
    os.fchown(descriptor, 0, command["gid"])
    return descriptor


def _become(command: dict[str, Any], sockets: list[socket.socket], record: str, output: int) -> NoReturn:
    try:
        os.setsid()
        _write_record(record)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, output), (2, output)):
            os.dup2(source, target)
        _keep_only([bound.fileno() for bound in sockets])
        _drop_signals()
        os.chdir("/")
        os.umask(0o022)  # Nginx serves what PHP writes; the modes of the directories above keep others out
        os.setgroups(command["groups"])
        os.setgid(command["gid"])
        os.setuid(command["uid"])
        os.execve(command["argv"][0], command["argv"], environment(command, sockets))  # noqa: S606
    except BaseException:
        os.write(2, traceback.format_exc().splitlines()[-1].encode() + b"\n")
    finally:
        # Nothing of the module may run twice, whatever happened above.
        os._exit(127)


def _keep_only(descriptors: list[int]) -> None:
    """Hand over ``descriptors`` and close what else the module was given: that is root's, the program a tenant's."""
    start = 3
    for descriptor in sorted(descriptors):
        os.closerange(start, descriptor)
        os.set_inheritable(descriptor, True)
        start = descriptor + 1
    os.closerange(start, max(os.sysconf("SC_OPEN_MAX"), 65536))


def _drop_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _write_record(record: str) -> None:
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        started = file.read().rpartition(")")[2].split()[19]
    descriptor = os.open(record + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.write(descriptor, f"{os.getpid()} {started}\n".encode())
    os.close(descriptor)
    os.rename(record + ".new", record)
