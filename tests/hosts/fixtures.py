"""pytest plugin: real hosts as fixtures, and the rule about tests that cannot have one.

A test that takes a host fixture is marked `hosts`. Where hosts cannot be had it is left out with the reason, and the
closing summary says which tests were; with CI=true that is a failure instead.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("hosts.py")
FIXTURES = {"ssh_host", "own_host", "bare_host", "new_host"}
NEEDS = "needs a host"


@dataclass(frozen=True)
class Host:
    """A running host; the fields are those of `hosts.py up --json`."""

    name: str
    address: str
    port: int
    user: str
    key: str
    host_key: str
    admin: str
    http_address: str
    http_port: int
    address6: str
    container: str
    engine: str
    known_hosts: Path

    def ssh(self, user: str = "") -> list[str]:
        """The words before the remote command."""
        options = ["-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        options += ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]
        return ["ssh", *options, "-i", self.key, "-p", str(self.port), f"{user or self.user}@{self.address}"]

    def remove(self) -> None:
        """Remove the host before the session ends."""
        _hosts("down", self.name)

    def run(
        self, command: str, *, check: bool = True, user: str = "", stdin: str = "", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run one shell line on the host over SSH; with check a failure fails the test and shows what was printed."""
        done = subprocess.run(
            [*self.ssh(user), command], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            pytest.fail(f"`{command}` on {self.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def inventory(self) -> dict[str, Any]:
        """Host variables with which Ansible reaches the host."""
        options = f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
        return {
            "ansible_host": self.address,
            "ansible_port": self.port,
            "ansible_user": self.user,
            "ansible_ssh_private_key_file": self.key,
            "ansible_ssh_common_args": options,
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def http_get(self, host_header: str, path: str = "/", *, ipv6: bool = False) -> tuple[int, dict[str, str], str]:
        """GET from outside the host: status, headers (lower case), body."""
        address = self.address6 if ipv6 else self.http_address
        link = http.client.HTTPConnection(address, 80 if ipv6 else self.http_port, timeout=15)
        try:
            link.request("GET", path, headers={"Host": host_header})
            answer = link.getresponse()
            headers = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, headers, answer.read().decode("utf-8", "replace")
        finally:
            link.close()

    def snapshot(self) -> dict[str, str]:
        """What is on the host: files, accounts, packages, units (see trace.py)."""
        script = SCRIPT.with_name("trace.py").read_text(encoding="utf-8")
        listing: dict[str, str] = json.loads(self.run("python3 - snapshot", stdin=script).stdout)
        return listing


def _hosts(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=1800, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"hosts.py {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@functools.cache
def why_no_hosts() -> str:
    """The reason why hosts cannot be had here; "" when they can."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "doctor", "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    return str(json.loads(done.stdout)["reason"]) if done.returncode else ""


def require_hosts() -> None:
    """Leave the running test out where hosts cannot be had; with CI=true fail it instead."""
    reason = why_no_hosts()
    if not reason:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"this test needs a host: {reason}", pytrace=False)
    pytest.skip(f"{NEEDS}: {reason}")


@pytest.fixture(scope="session")
def new_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Host]]:
    """Start hosts: `new_host(image="full")`. All are removed when the session ends, whatever happened."""
    require_hosts()
    started: list[str] = []

    def start(image: str = "full") -> Host:
        name = f"wcp360-test-{os.getpid()}-{len(started)}"
        started.append(name)
        found = json.loads(_hosts("up", name, "--image", image, "--json"))
        known_hosts = tmp_path_factory.mktemp(name) / "known_hosts"
        known_hosts.write_text(found["host_key"] + "\n", encoding="utf-8")
        return Host(known_hosts=known_hosts, **found)

    try:
        yield start
    finally:
        if started:
            _hosts("down", *started)


@pytest.fixture(scope="session")
def ssh_host(new_host: Callable[..., Host]) -> Host:
    """One host for the whole session, with nginx and PHP-FPM installed."""
    return new_host(image="full")


@pytest.fixture(scope="module")
def own_host(new_host: Callable[..., Host]) -> Iterator[Host]:
    """One host for one module, which may leave it as it likes: to take everything away again costs a minute."""
    host = new_host(image="full")
    yield host
    host.remove()


@pytest.fixture(scope="session")
def bare_host(new_host: Callable[..., Host]) -> Host:
    """One host for the whole session, as a server is handed over."""
    return new_host(image="bare")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by fixture, so that `-m hosts` and `-m "not hosts"` need no care from who writes a test."""
    for item in items:
        if FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("hosts")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly which tests had no host to run on."""
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = [report for report in skipped if NEEDS in str(report.longrepr)]
    if left_out:
        terminalreporter.section(f"left out: {len(left_out)} tests that need a real host", red=True)
        for report in left_out:
            terminalreporter.write_line(f"{report.nodeid}: {report.longrepr[2]}")
