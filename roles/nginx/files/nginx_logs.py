# MIT License (see LICENSE)
"""Bring each line of Nginx's logs into the directory of the site that it belongs to.

``nginx_logs.py LOGS SOCKET GID``: Nginx writes one access log for all sites, ``LOGS/.node/access.log``, each line with
its site's name in front, and sends errors to a datagram socket. So the number of its open files does not grow with the
number of sites. This program appends to ``LOGS/<site>/access.log`` and ``error.log`` where that directory exists. What
it cannot attribute without doubt stays in the node's own logs. How far it has read is kept in ``LOGS/.node/read.json``.

It needs no capability: directories and files are root's. HUP makes it start anew with the same socket.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import sys
from collections import defaultdict
from contextlib import suppress

NODE = ".node"
ACCESS = ("access.log.1", "access.log")
STATE = "read.json"
SITE = re.compile(rb"[a-z0-9][a-z0-9.-]{0,252}")
CHUNK = 1 << 20
# The most datagrams that are taken before the access log has its turn.
BURST = 1024
PAUSE_SECONDS = 0.3
# Nginx cuts a line at 2,048 bytes (NGX_MAX_ERROR_STR), and with it perhaps the true name of the server.
LONGEST_ERROR = 2040
# Written by Nginx behind the message. A client can put the same words into the message, the request or the referrer.
SERVER = re.compile(rb', server: ([^,"\s]*)(?=, request: "|, upstream: "|, host: "|$)')
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
WRITE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Sites:
    """The directories of the sites."""

    def __init__(self, path: str) -> None:
        self.top = os.open(path, DIRECTORY)
        self.complaints: set[str] = set()

    def append(self, site: bytes, name: str, data: bytes) -> None:
        """Append to a site's file. A site that is gone keeps no log; what cannot be written is told once."""
        if not SITE.fullmatch(site):
            return
        try:
            directory = os.open(site, DIRECTORY, dir_fd=self.top)
        except OSError:
            return
        try:
            file = os.open(name, WRITE, 0o640, dir_fd=directory)
            try:
                _write(file, data)
            finally:
                os.close(file)
        except OSError as error:
            self._complain(f"{site.decode()}/{name}: {error}. The lines are in the node's own log.")
        finally:
            os.close(directory)

    def _complain(self, message: str) -> None:
        if message not in self.complaints and len(self.complaints) < 1000:
            self.complaints.add(message)
            print(message, file=sys.stderr, flush=True)


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


class AccessLog:
    """The node's access log and its last predecessor, to which a worker may still write after a rotation."""

    def __init__(self, top: int) -> None:
        self.directory = os.open(NODE, DIRECTORY, dir_fd=top)
        self.files: dict[int, int] = {}
        self.offsets = self._recorded()
        self.saved = dict(self.offsets)

    def _recorded(self) -> dict[int, int]:
        try:
            with open(STATE, encoding="ascii", opener=self._open_here) as stream:
                return {int(inode): int(offset) for inode, offset in json.load(stream).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _open_here(self, name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.directory)

    def follow(self) -> None:
        """Take up the files that are there; let go of what a rotation removed."""
        present = set()
        for name in ACCESS:
            with suppress(OSError):
                file = self._open_here(name, os.O_RDONLY | os.O_NONBLOCK)
                inode = os.fstat(file).st_ino
                present.add(inode)
                if inode in self.files or (name != ACCESS[-1] and inode not in self.offsets):
                    os.close(file)
                else:
                    self.files[inode] = file
                    self.offsets.setdefault(inode, 0)
        for inode in self.offsets.keys() - present:
            del self.offsets[inode]
            if inode in self.files:
                os.close(self.files.pop(inode))

    def deliver(self, sites: Sites) -> bool:
        """Bring one chunk of each file to the sites; say whether there was any."""
        found = False
        for inode, file in self.files.items():
            if os.fstat(file).st_size < self.offsets[inode]:
                self.offsets[inode] = 0
            data = os.pread(file, CHUNK, self.offsets[inode])
            end = data.rfind(b"\n") + 1 or (len(data) if len(data) == CHUNK else 0)
            if end:
                _split(data[:end], sites)
                self.offsets[inode] += end
                found = True
        return found

    def save(self) -> None:
        """Keep how far it was read. A kill before this delivers the last chunk once more."""
        if self.offsets == self.saved:
            return
        with open(STATE + ".new", "w", encoding="ascii", opener=self._open_here) as stream:
            json.dump(self.offsets, stream)
        os.rename(STATE + ".new", STATE, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        self.saved = dict(self.offsets)


def _split(data: bytes, sites: Sites) -> None:
    lines: dict[bytes, list[bytes]] = defaultdict(list)
    for line in data.split(b"\n")[:-1]:
        site, _dummy, rest = line.partition(b" ")
        lines[site].append(rest)
    for site, own in lines.items():
        sites.append(site, "access.log", b"\n".join(own) + b"\n")


def owner(text: bytes) -> bytes:
    """Return the site that an error belongs to, empty where a client or tenant may have put a name into it."""
    # What a program says on its standard error may hold a NUL, at which Nginx ends the message.
    if len(text) >= LONGEST_ERROR or b"sent in stderr" in text:
        return b""
    named = set(SERVER.findall(text))
    return named.pop() if len(named) == 1 else b""


def take_errors(errors: socket.socket, sites: Sites) -> bool:
    """Bring waiting errors to their sites; say whether there may be more."""
    lines: dict[bytes, list[bytes]] = defaultdict(list)
    count = 0
    with suppress(BlockingIOError):
        for count in range(1, BURST + 1):  # noqa: B007  looked at below
            # "<187>Nov 22 21:06:50 wcp360: 2026/11/22 21:06:50 [error] …"
            text = errors.recv(65536, socket.MSG_DONTWAIT).partition(b" wcp360: ")[2]
            lines[owner(text)].append(CONTROL.sub(lambda match: b"\\x%02x" % match[0][0], text))
    for site, own in lines.items():
        sites.append(site, "error.log", b"\n".join(own) + b"\n")
    return count == BURST


def bound(path: str, gid: int) -> socket.socket:
    """Return the socket that systemd or our predecessor holds, or a new one that only the group may send to."""
    if os.environ.get("LISTEN_FDS") == "1":
        return socket.socket(fileno=3)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with suppress(FileNotFoundError):
        os.unlink(path)
    errors = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    os.umask(0o177)
    errors.bind(path)
    os.chown(path, 0, gid)
    os.chmod(path, 0o620)
    os.umask(0o022)
    return errors


def serve(sites: Sites, access: AccessLog, errors: socket.socket, asked: list[int]) -> None:
    """Work until a signal comes; then deliver what is there and return."""
    while True:
        ending = bool(asked)
        access.follow()
        more = take_errors(errors, sites)
        more = access.deliver(sites) or more
        access.save()
        if ending and not more:
            return
        if not more:
            with suppress(InterruptedError):
                select.select([errors], [], [], PAUSE_SECONDS)


def main(logs: str, path: str, gid: str) -> None:
    """Run until TERM or INT; start anew on HUP."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, _frame: asked.append(signum))
    os.umask(0o022)
    errors = bound(path, int(gid))
    sites = Sites(logs)
    serve(sites, AccessLog(sites.top), errors, asked)
    if signal.SIGHUP in asked:
        if errors.fileno() != 3:
            os.dup2(errors.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ["LISTEN_FDS"] = "1"
        os.execv(sys.executable, [sys.executable, "-I", *sys.argv])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
