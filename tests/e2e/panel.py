"""A panel of its own for a test: state directory, server process, and the CLI as people use it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WCP360 = str(Path(sys.executable).with_name("wcp360"))
START_SECONDS = 30
CHANGE_SECONDS = 240


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, ready: Callable[[], Any], seconds: float = CHANGE_SECONDS) -> Any:
    """Return the first true answer of ``ready``; fail with ``what`` was awaited after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ready():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"Waited {seconds} seconds in vain for {what}.")


# All tests of a whole panel, with runs that start from a warm parent.
WARM = os.environ.get("WCP360_TEST_WARM") == "1"


class Panel:
    """One installation of WCP360 in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "serve.log"
        self.fault = directory / "fault"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WCP360_")},
            "WCP360_CONFIG": "/dev/null",
            "WCP360_STATE_DIR": str(directory / "state"),
            "WCP360_API__PORT": str(free_port()),
            "WCP360_ENGINE__SWEEP": "1",
            "WCP360_ENGINE__LEASE": "5",
            "WCP360_ENGINE__RETRY": "0.5",
            "WCP360_ENGINE__WARM": "true" if WARM else "false",
            "NO_COLOR": "1",
        }

    def run(self, *words: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the CLI; with ``check`` a failure shows what it and the server printed."""
        done = subprocess.run(
            [WCP360, *words],
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"wcp360 {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}\n{self.tail()}"
            )
        return done

    def json(self, *words: str, stdin: str = "", check: bool = True) -> Any:
        """Run the CLI with --json and return what it printed."""
        return json.loads(self.run(*words, "--json", stdin=stdin, check=check).stdout)

    def start(self, more: dict[str, str] | None = None) -> None:
        """Start the server, with ``more`` in its environment, and wait until it is ready."""
        environment = self.environment | {"WCP360_FAULT": f"@{self.fault}"} | (more or {})
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [WCP360, "serve"], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_for("the server to answer", lambda: self._answers() or self._died(), START_SECONDS)

    def arm(self, fault: str) -> None:
        """Have a fault happen once, at the next time that the server comes to its point: ``kind:point``."""
        done = self.fault.with_suffix(".done")
        done.unlink(missing_ok=True)
        fresh = self.fault.with_suffix(".new")
        fresh.write_text(fault, encoding="ascii")
        fresh.rename(self.fault)

    def disarm(self) -> bool:
        """Take back a fault that may not have happened; tells whether it has."""
        self.fault.unlink(missing_ok=True)
        return self.fault.with_suffix(".done").exists()

    def send(self, method: str, path: str, body: Any = None, *, key: str = "", seconds: float = 60) -> tuple[int, Any]:
        """Send a request as a patient client does: again, under the same Idempotency-Key, until it is answered."""
        token = (self.directory / "state" / "root.token").read_text(encoding="ascii").strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        headers |= {"Idempotency-Key": f'"{key}"'} if key else {}
        deadline = time.monotonic() + seconds
        while True:
            try:
                status, answer = self._once(method, f"/api/v1{path}", body, headers)
            except (OSError, http.client.HTTPException, ValueError) as error:
                status, answer = 599, str(error)
            if status < 500 and answer.get("code") not in ("request_in_progress", "rate_limited"):
                return status, answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{method} {path} was not answered in {seconds} s: {answer}\n{self.tail()}")
            time.sleep(0.1)

    def _once(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        link = http.client.HTTPConnection("127.0.0.1", int(self.environment["WCP360_API__PORT"]), timeout=20)
        try:
            link.request(method, path, None if body is None else json.dumps(body), headers)
            found = link.getresponse()
            return found.status, json.loads(found.read())
        finally:
            link.close()

    def ended(self, change: str, seconds: float = 240) -> dict[str, Any]:
        """Wait over HTTP until a change has succeeded or failed, and return it."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.send("GET", f"/changes/{change}")[1]
            return found if found["status"] != "pending" else None

        done: dict[str, Any] = wait_for(f"change {change} to end", look, seconds)
        return done

    def delete_tenants(self) -> None:
        """Delete all tenants with their files, in one change set."""
        names = [tenant["name"] for tenant in self.json("tenant", "list", "--limit", "500")["items"]]
        members = [{"operation": "tenant.delete", "input": {"name": name, "purge": True}} for name in names]
        done = self.ended(str(self.send("POST", "/changes", {"operations": members})[1]["id"]))
        assert done["status"] == "succeeded", done

    def stop(self) -> None:
        """Stop the server as an administrator does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
            self.process = None

    def kill(self) -> None:
        """Kill the server and all that it started, as the kernel does when memory ends; Ansible's processes live on."""
        assert self.process is not None
        while found := self._processes():
            for pid in found:
                _kill(pid)
            self.process.poll()
            time.sleep(0.05)
        self.process = None

    def _processes(self) -> list[int]:
        """Return the living processes of this server: those that know its state directory."""
        mark = f"WCP360_STATE_DIR={self.environment['WCP360_STATE_DIR']}".encode()
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in _environ(pid)]

    def tail(self) -> str:
        """Return the end of the server's log."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def finished(self, change: str) -> dict[str, Any]:
        """Wait until a change has succeeded or failed, and return it."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.json("change", "show", change)
            return found if found["status"] != "pending" else None

        found: dict[str, Any] = wait_for(f"change {change} to finish\n{self.tail()}", look)
        return found

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", int(self.environment["WCP360_API__PORT"]))) == 0

    def _died(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"The server ended with {self.process.returncode}:\n{self.tail()}")
        return False


def descendants(pid: int) -> list[int]:
    """Return the processes below ``pid``, from /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rsplit(")", 1)[1].split()[1])
    found: list[int] = []
    for child, parent in sorted(parents.items()):
        if parent == pid:
            found += [child, *descendants(child)]
    return found


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
