"""No secret is found where it does not belong, and a host key is shown before it is trusted."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.panel import WCP360, Panel, descendants
from tests.hosts.fixtures import Host

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]


def watch_argv(pid: int, secrets: list[bytes], found: set[str], stop: threading.Event) -> None:
    """Look at the arguments of all processes below ``pid`` for as long as a run lasts."""
    while not stop.wait(0.02):
        for child in descendants(pid):
            try:
                words = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            found |= {secret.decode() for secret in secrets if secret in words}


@pytest.fixture(scope="module")
def secrets(panel: Panel) -> list[bytes]:
    """What must stay where it is: the root token, and the private key for nodes."""
    state = Path(panel.environment["WCP360_STATE_DIR"])
    token = (state / "root.token").read_bytes().strip()
    key = (state / "ssh" / "id_ed25519").read_bytes().split(b"\n")[2]
    assert len(token) > 30
    assert len(key) > 30
    return [token, key]


@pytest.fixture(scope="module")
def at_work(panel: Panel, own_host: Host, secrets: list[bytes]) -> Iterator[set[str]]:
    """A node taken under management with the panel's own key; yields the secrets seen in arguments meanwhile."""
    state = Path(panel.environment["WCP360_STATE_DIR"])
    public = (state / "ssh" / "id_ed25519.pub").read_text()
    own_host.run("cat >> /root/.ssh/authorized_keys", stdin=public)
    assert panel.process is not None
    found: set[str] = set()
    stop = threading.Event()
    watcher = threading.Thread(target=watch_argv, args=(panel.process.pid, secrets, found, stop))
    watcher.start()
    try:
        answer_the_question(panel, own_host)
        panel.run("tenant", "create", "secret", "--node", "web1")
        yield found
    finally:
        stop.set()
        watcher.join()
        panel.run("tenant", "delete", "secret", "--purge", "--yes")


def answer_the_question(panel: Panel, host: Host) -> None:
    """Create a node on a terminal: the fingerprint is shown, and only a yes pins the key."""
    argv = [WCP360, "node", "create", "web1", "--address", host.address, "--port", str(host.port)]
    seen = host.run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").stdout.split()[1]
    refused = subprocess.run(argv, env=panel.environment, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 5
    assert seen in refused.stderr
    master, terminal = pty.openpty()
    asked = subprocess.Popen(argv, env=panel.environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    printed = b""
    while seen.encode() not in printed or b"?" not in printed.split(seen.encode(), 1)[1]:
        printed += os.read(master, 4096)
    os.write(master, b"yes\n")
    drain = threading.Thread(target=_drain, args=(master,))
    drain.start()
    assert asked.wait(120) == 0
    drain.join(5)
    os.close(master)


def _drain(master: int) -> None:
    try:
        while os.read(master, 4096):
            pass
    except OSError:
        return


def test_no_process_has_a_secret_in_its_arguments(at_work: set[str]) -> None:
    assert at_work == set()


def test_no_secret_is_in_the_database_the_logs_or_what_is_left_of_runs(
    panel: Panel, at_work: set[str], secrets: list[bytes]
) -> None:
    state = Path(panel.environment["WCP360_STATE_DIR"])
    with sqlite3.connect(state / "wcp360.db") as link:
        kept = "\n".join(link.iterdump()).encode()
    places = {"database": kept, "log": panel.log.read_bytes()}
    places |= {str(path): path.read_bytes() for path in (state / "runs").rglob("*") if path.is_file()}
    places |= {str(path): path.read_bytes() for path in state.glob("queue.db*")}
    places["events"] = panel.run("event", "list", "--json").stdout.encode()
    places["audit"] = panel.run("audit", "list", "--json").stdout.encode()
    assert [(name, secret[:8]) for name, text in places.items() for secret in secrets if secret in text] == []


def test_nothing_is_left_of_a_run(panel: Panel, at_work: set[str]) -> None:
    assert list((Path(panel.environment["WCP360_STATE_DIR"]) / "runs").iterdir()) == []


def test_what_the_panel_keeps_is_readable_by_its_owner_alone(panel: Panel, at_work: set[str]) -> None:
    state = Path(panel.environment["WCP360_STATE_DIR"])
    assert state.stat().st_mode & 0o077 == 0
    for name in ("root.token", "wcp360.db", "ssh/id_ed25519"):
        assert (state / name).stat().st_mode & 0o077 == 0, name
