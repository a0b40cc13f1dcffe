"""The warm parent: Ansible is imported once, and every run is a fork of it.

``python -P -m wcp360.engine.warm_server SOCKET DIRECTORY`` with the environment of a run that is never made; DIRECTORY
is where ansible-playbook lies. One thread serves a Unix socket. It ends with the engine, which holds the other end of
its standard input, and it knows nothing of the engine: no database, no lock, no request.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from wcp360.engine import warm_ansible, warm_process
from wcp360.engine.warm_client import EXITED, GO, READY, SIGNALED

# A client sends its request at once.
REQUEST_SECONDS = 2.0
REQUEST_BYTES = 1 << 20
LIFELINE = 0


@dataclass(slots=True)
class _Run:
    pid: int
    pidfd: int
    client: socket.socket
    child: socket.socket


class _Server:
    """Accepts clients, forks a child for each, and passes on signals and how it ended."""

    def __init__(self, listener: socket.socket, preloaded: warm_ansible.Preloaded) -> None:
        self._listener, self._preloaded = listener, preloaded
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._runs: set[int] = set()
        self._ending = False

    def serve(self) -> None:
        """Serve until the engine is gone, or asks for the end and the last run has ended."""
        self._watch(LIFELINE, select.POLLIN, lambda events: os._exit(0))
        self._watch(self._listener.fileno(), select.POLLIN, lambda events: self._accept())
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        self._watch(reader, select.POLLIN, lambda events: self._retire())
        while not self._ending or self._runs:
            for number, events in self._poll.poll():
                if handler := self._handlers.get(number):
                    handler(events)

    def _retire(self) -> None:
        """Take no new run."""
        if not self._ending:
            self._ending = True
            self._forget(self._listener.fileno())
            self._listener.close()

    def _watch(self, number: int, events: int, handler: Callable[[int], None]) -> None:
        self._poll.register(number, events)
        self._handlers[number] = handler

    def _forget(self, number: int) -> None:
        self._poll.unregister(number)
        del self._handlers[number]

    def _accept(self) -> None:
        """Fork at once: what the client sends is for the child alone, so that nothing of a run gets in here."""
        connection, _ = self._listener.accept()
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(parent, connection, theirs, self._preloaded)
        theirs.close()
        run = _Run(pid, os.pidfd_open(pid), connection, ours)
        self._runs.add(pid)
        self._watch(run.pidfd, select.POLLIN, lambda events: self._ended(run))
        self._watch(ours.fileno(), select.POLLIN, lambda events: self._born(run))

    def _born(self, run: _Run) -> None:
        """Listen to the client as soon as the child has read its request."""
        self._forget(run.child.fileno())
        if run.child.recv(1) == READY:
            self._watch(run.client.fileno(), select.POLLIN | select.POLLRDHUP, lambda events: self._heard(run))

    def _heard(self, run: _Run) -> None:
        """Pass on what the client says; its death ends the run."""
        try:
            said = run.client.recv(16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._forget(run.client.fileno())
            signal.pidfd_send_signal(run.pidfd, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
        for byte in said:
            with contextlib.suppress(OSError):
                if bytes([byte]) == GO:
                    run.child.sendall(GO)
                else:
                    signal.pidfd_send_signal(run.pidfd, byte)

    def _ended(self, run: _Run) -> None:
        _, status = os.waitpid(run.pid, 0)
        self._runs.discard(run.pid)
        self._forget(run.pidfd)
        os.close(run.pidfd)
        code = os.waitstatus_to_exitcode(status)
        if run.child.fileno() in self._handlers:
            self._forget(run.child.fileno())
        if run.client.fileno() in self._handlers:
            self._forget(run.client.fileno())
            with contextlib.suppress(OSError):
                run.client.sendall((EXITED if code >= 0 else SIGNALED) + bytes([abs(code)]))
        run.client.close()
        run.child.close()


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Read a request and its three descriptors. Raises OSError, ValueError."""
    uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    data, descriptors, _, _ = socket.recv_fds(connection, 65_536, 3)
    try:
        if uid != os.geteuid() or len(descriptors) != 3 or len(data) < 4:
            raise ValueError("the request is none of our engine's")
        length = int.from_bytes(data[:4], "big")
        body = data[4:]
        while len(body) < length <= REQUEST_BYTES:
            more = connection.recv(65_536)
            if not more:
                break
            body += more
        if len(body) != length:
            raise ValueError("the request is not whole")
    except BaseException:
        for number in descriptors:
            os.close(number)
        raise
    return body, descriptors


def _child(parent: int, connection: socket.socket, ours: socket.socket, preloaded: warm_ansible.Preloaded) -> NoReturn:
    """Be the run's process, from the fork to its end. Nothing begins before the client is known to be alive."""
    signal.set_wakeup_fd(-1)
    answer, heard = connection.fileno(), ours.fileno()
    try:
        connection.settimeout(REQUEST_SECONDS)
        body, descriptors = _receive(connection)
        connection.settimeout(None)
        start = warm_process.read_start(body)
        answer, heard = warm_process.become(start, descriptors, [answer, heard])
        warm_ansible.adopt(preloaded, warm_ansible.Inputs.read(start.environment))
        if os.getppid() != parent:
            raise warm_ansible.Unfit("the warm parent is gone")
    except Exception as error:  # whatever it is, the client can still run plainly
        with contextlib.suppress(OSError):
            os.write(answer, f"{error}".encode() or b"unknown")
        os._exit(1)
    os.write(heard, READY)
    os.write(answer, READY)
    os.close(answer)
    if os.read(heard, 1) != GO:
        os._exit(1)
    os.close(heard)
    os._exit(warm_ansible.run_playbook(start.argv))


def _rehearse(preloaded: warm_ansible.Preloaded, directory: Path) -> None:
    """Try in a child whether a run's directory replaces the present one everywhere. Raises Unfit."""
    inputs = preloaded.inputs
    moved = inputs.moved_to(str(directory))
    (directory / "tmp").mkdir()
    (directory / "ansible.cfg").write_text(moved.config, encoding="utf-8")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "it ended"
        try:
            os.environ.clear()
            os.environ.update(moved.environment)
            warm_ansible.adopt(preloaded, moved)
            said = "\n".join(warm_ansible.leftovers(inputs))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writer, said.encode()[:60_000])
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(pid, 0)
    if answer:
        raise warm_ansible.Unfit(f"this version of Ansible keeps what belongs to one run: {answer[:2000]}")


def _listen(path: str) -> socket.socket:
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.umask(0o077)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # By the directory's descriptor, because unix(7) allows 107 bytes and a state directory may have more.
        listener.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        listener.listen()
        return listener
    finally:
        os.close(directory)


def _files() -> list[str]:
    """Return the files that are in memory now, and whose change calls for a new parent."""
    paths = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({path for path in paths if isinstance(path, str) and os.path.isfile(path)})


def main() -> None:
    """Import, try out, say on standard output whether it works, and serve."""
    path, *search = sys.argv[1:]
    # As ansible-playbook finds its modules: what brought this file here is not for runs.
    sys.path[:] = [*search, *(entry for entry in sys.path if entry not in os.environ.get("PYTHONPATH", "").split(":"))]
    os.environ.pop("PYTHONPATH", None)
    try:
        inputs = warm_ansible.Inputs.read(os.environ)
        preloaded = warm_ansible.preload(inputs)
        with tempfile.TemporaryDirectory(dir=Path(path).parent) as directory:
            _rehearse(preloaded, Path(directory))
    except warm_ansible.Unfit as error:
        print(json.dumps({"unfit": str(error)}), flush=True)
        return
    listener = _listen(path)
    gc.collect()
    gc.freeze()
    print(json.dumps({"files": _files()}), flush=True)
    _Server(listener, preloaded).serve()


if __name__ == "__main__":
    main()
