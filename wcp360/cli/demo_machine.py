"""The demo's own traces on this machine: its record, its server process, and what stands in its way."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from wcp360.cli.client import Client
from wcp360.cli.exits import Exit, Failure
from wcp360.cli.place import HOST, PORT, TOKEN_FILE, Place

BASE = Path("/var/lib/wcp360-demo")
HTTP_PORT = 80
START_SECONDS = 60.0
"""A slow machine imports Ansible and the registry for several seconds."""
STOP_SECONDS = 10.0


@dataclass(slots=True)
class Record:
    """What the demo made, written down before it is made; ``--clean`` removes this and nothing else."""

    port: int = PORT
    pid: int = 0
    born: str = ""
    applied: bool = False

    @classmethod
    def load(cls) -> Self | None:
        """Return the record of an earlier demo, or None."""
        try:
            return cls(**json.loads((BASE / "demo.json").read_text(encoding="ascii")))
        except FileNotFoundError:
            return None

    def save(self) -> None:
        """Write it, whole or not at all."""
        fresh = BASE / "demo.json.new"
        fresh.write_text(json.dumps(asdict(self)), encoding="ascii")
        fresh.replace(BASE / "demo.json")

    @property
    def config(self) -> Path:
        """The configuration file by which `wcp360` finds the demo's server."""
        return BASE / "wcp360.toml"

    @property
    def place(self) -> Place:
        """Where the demo's server is."""
        state = BASE / "state"
        return Place(HOST, self.port, False, "", state, state / TOKEN_FILE)

    def running(self) -> bool:
        """Tell whether the recorded process is still that one: process ids are used again."""
        return self.pid > 0 and self.born != "" and _born(self.pid) == self.born

    def start(self) -> None:
        """Start the server in the background, unless it runs. Raises Failure with its last words."""
        if self.running():
            return
        with (BASE / "serve.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "wcp360.cli.main", "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                start_new_session=True,
            )
        self.pid, self.born = process.pid, _born(process.pid)
        self.save()
        self._wait_until_ready(process)

    def environment(self) -> dict[str, str]:
        """Return the environment of the demo's server: settings of other servers must not reach it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WCP360_")}
        return kept | {"WCP360_CONFIG": str(self.config)}

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(Failure):
                Client(self.place).call("GET", "/readyz")
                return
            time.sleep(0.2)
        last = (BASE / "serve.log").read_text(errors="replace").strip().splitlines()[-3:]
        raise Failure("The server did not start:\n" + "\n".join(last), Exit.SERVER_FAULT)

    def stop(self) -> None:
        """Stop the server, if it runs, and wait for its end."""
        if not self.running():
            return
        os.kill(self.pid, signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        while self.running():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
            if time.monotonic() > end:
                raise Failure(f"The server (pid {self.pid}) does not stop; nothing more was removed.")
            time.sleep(0.1)


def prepare() -> Record:
    """Make the demo's directory and its record."""
    BASE.mkdir(mode=0o700)
    record = Record(port=_free_port())
    record.save()
    record.config.write_text(f'state_dir = "{BASE}/state"\n\n[api]\nport = {record.port}\n', encoding="ascii")
    return record


def forget() -> None:
    """Remove the demo's directory."""
    shutil.rmtree(BASE)


def in_the_way(user: str) -> str:
    """Return why the demo cannot be made here, as a sentence; empty where it can."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - only tried, not kept
        if _is_taken(family, address):
            owner = _listener(HTTP_PORT)
            return f"Port {HTTP_PORT} is taken{owner}. The demo needs it for its web site; stop that program first."
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(user)
        return (
            f"There is a user {user!r} (uid {found.pw_uid}) that the demo did not make. The demo would need this name; "
            "try another machine, or remove the user if nobody needs it."
        )
    if shutil.which("apt-get") is None:
        return "This is no Debian (there is no apt-get); the roles install Debian's packages."
    return ""


def _is_taken(family: socket.AddressFamily, address: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, HTTP_PORT))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _free_port() -> int:
    for port in range(PORT, PORT + 20):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise Failure(f"No port from {PORT} to {PORT + 19} is free on {HOST}.")


def _listener(port: int) -> str:
    """Return `` by NAME (pid N)`` for the process that listens on a port; empty where it cannot be found."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                # State 0A is LISTEN; addresses are hexadecimal with the port behind the colon (proc_net_tcp).
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) in inodes:
                pid = link.parts[2]
                return f" by {Path('/proc', pid, 'comm').read_text().strip()} (pid {pid})"
    return ""


def _born(pid: int) -> str:
    """Return when a process started, in ticks since boot (field 22 of proc(5)'s stat); empty where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
