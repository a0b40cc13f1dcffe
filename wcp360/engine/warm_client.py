"""What ansible-runner starts instead of ansible-playbook: hands everything to the warm parent and waits for its word.

A script of its own (``python -S -I warm_client.py SOCKET NOTE PROGRAM [ARGUMENT…]``) that imports next to nothing,
because its start is part of every run. Where the parent does not take the run, and only as long as nothing of it has
begun, this process becomes PROGRAM, and writes the reason to NOTE.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

TYPE_CHECKING = False  # typing takes longer to import than all the rest
if TYPE_CHECKING:
    from typing import NoReturn

# A parent that works answers in milliseconds, and in a second on a machine that is out of breath.
PATIENCE_SECONDS = 10.0
# EX_SOFTWARE of sysexits.h; the run broke, and the engine finds that its statistics are missing.
BROKEN = 70
READY, GO, EXITED, SIGNALED = b"R", b"g", b"E", b"S"
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def main() -> None:
    """Have the parent run it, or run it plainly."""
    path, note, *argv = sys.argv[1:]
    try:
        connection = connect(path)
        connection.settimeout(PATIENCE_SECONDS)
        hand_over(connection, argv)
        answer = connection.recv(4096)
    except OSError as error:
        become(argv, note, f"the warm parent cannot be reached: {error}")
    if answer != READY:
        become(argv, note, answer.decode("utf-8", "replace") or "the warm parent ended before the run began")
    connection.settimeout(None)
    for number in FORWARDED:
        signal.signal(number, lambda number, frame: connection.sendall(bytes([number])))
    try:
        connection.sendall(GO)
        end(connection.recv(2, socket.MSG_WAITALL))
    except OSError as error:
        sys.exit(f"The warm parent was lost during the run: {error}")


def connect(path: str) -> socket.socket:
    """Connect to a socket whose path may be longer than the 107 bytes of unix(7)."""
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        return connection
    finally:
        os.close(directory)


def hand_over(connection: socket.socket, argv: list[str]) -> None:
    """Send what a process is made of: descriptors, directory, umask, SIGHUP ignored or not, arguments, environment."""
    os.umask(mask := os.umask(0o077))
    deaf = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    environment = [f"{name}={value}" for name, value in os.environ.items()]
    fields = [os.getcwd(), str(mask), str(int(deaf)), str(len(argv)), *argv, *environment]
    body = "\0".join(fields).encode("utf-8", "surrogateescape")
    data = len(body).to_bytes(4, "big") + body
    sent = socket.send_fds(connection, [data], [0, 1, 2])
    connection.sendall(data[sent:])


def become(argv: list[str], note: str, reason: str) -> NoReturn:
    """Run plainly; the note tells the engine why."""
    with open(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(reason)
    os.execv(argv[0], argv)  # noqa: S606 - the same program that ansible-runner would have started


def end(word: bytes) -> None:
    """End as the run's own process ended."""
    kind, value = word[:1], word[-1] if word else 0
    if kind == SIGNALED:
        signal.signal(value, signal.SIG_DFL) if value not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), value)
    os._exit(value if kind == EXITED else BROKEN)


if __name__ == "__main__":
    main()
