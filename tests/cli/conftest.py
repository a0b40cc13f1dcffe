"""A real server for the CLI: API and engine as `wcp360 serve` starts them, on a state directory of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Server:
    """A running server and how to call the CLI for it."""

    state_dir: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def run(self, *args: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return call(*args, stdin=stdin, environment=self.environment | env)


def call(
    *args: str, stdin: str | None = None, environment: dict[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run the CLI in a process of its own, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "wcp360.cli.main", *args],
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        env=environment if environment is not None else dict(os.environ),
        cwd=ROOT,
        timeout=timeout,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clean_environment(state_dir: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WCP360_")}
    config = state_dir.parent / "wcp360.toml"
    config.write_text(
        f'state_dir = "{state_dir}"\n[api]\nport = {port}\nsocket = "{state_dir}/api.sock"\n', encoding="utf-8"
    )
    return kept | {
        "WCP360_CONFIG": str(config),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "",
        "XDG_CACHE_HOME": str(state_dir.parent / "cache"),
    }


def start(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "wcp360.cli.main", "serve"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            cwd=ROOT,
        )


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} did not happen in {seconds:g} s"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose only node is one that nobody can reach, so that nothing of this machine is touched."""
    base = tmp_path_factory.mktemp("cli")
    environment = clean_environment(base / "state", free_port())
    made = call("init", "--without-node", environment=environment)
    assert made.returncode == 0, made.stderr
    process = start(environment, base / "serve.log")
    running = Server(base / "state", environment, process)
    try:
        wait_until(lambda: running.run("audit", "verify").returncode == 0, 60, "the server's start")
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, (base / "serve.log").read_text()[-3000:]
