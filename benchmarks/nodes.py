"""What benchmarks of a whole panel share: a node of their own, a server that has it, a shell kept open on the node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.panel import Panel
from tests.hosts.fixtures import SCRIPT, Host

TOOL = [sys.executable, str(SCRIPT)]
NODE = "web1"


@contextmanager
def started(purpose: str) -> Iterator[dict[str, Any]]:
    """Start a node, say how it is reached, and take it away in the end."""
    name = f"wcp360-{purpose}-{os.getpid()}"
    try:
        yield json.loads(subprocess.run([*TOOL, "up", name, "--json"], stdout=subprocess.PIPE, check=True).stdout)
    finally:
        subprocess.run([*TOOL, "down", name], capture_output=True, check=False)


def host(found: dict[str, Any], directory: Path) -> Host:
    """Return a started node as tests have it; its key is noted in the directory."""
    known = directory / "known_hosts"
    known.write_text(found["host_key"] + "\n")
    return Host(**found, known_hosts=known)


@contextmanager
def serving(found: dict[str, Any], *, warm: bool = False) -> Iterator[Panel]:
    """Run a server that has the node, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="wcp360-bench-") as directory:
        panel = Panel(Path(directory))
        panel.environment["WCP360_ENGINE__WARM"] = "true" if warm else "false"
        panel.run("init")
        panel.start()
        try:
            words = ["--address", found["address"], "--port", str(found["port"]), "--user", found["user"]]
            key = found["host_key"].split(" ", 1)[1]
            panel.run("node", "create", NODE, *words, "--identity-file", found["key"], "--host-key", key)
            yield panel
        finally:
            panel.stop()


class Shell:
    """A shell on the node over SSH that stays open, so that a look takes a round trip and no login."""

    END = "--end of answer--"

    def __init__(self, node: Host) -> None:
        self._process = subprocess.Popen([*node.ssh(), "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines("true")  # connected, before anything is measured

    def lines(self, command: str) -> list[str]:
        """Return what a command prints."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None and answered is not None
        asked.write(f"{command}; echo '{self.END}'\n")
        asked.flush()
        found = []
        while (line := answered.readline()) != f"{self.END}\n":
            if not line:
                raise SystemExit("The shell on the node has ended.")
            found.append(line.rstrip("\n"))
        return found

    def accounts(self, *names: str) -> set[str]:
        """Return which of these accounts the node has."""
        return {line.partition(":")[0] for line in self.lines(f"getent passwd {' '.join(names)}")}

    def close(self) -> None:
        """End the shell."""
        self._process.communicate(timeout=10)


@contextmanager
def shell(found: dict[str, Any]) -> Iterator[Shell]:
    """Keep a shell open on a node."""
    with tempfile.TemporaryDirectory(prefix="wcp360-bench-") as directory:
        kept = Shell(host(found, Path(directory)))
        try:
            yield kept
        finally:
            kept.close()
