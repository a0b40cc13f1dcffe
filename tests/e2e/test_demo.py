"""`make demo` and `make demo-clean` on this machine, as a stranger runs them.

They install packages and make a user here, so that they run only where that was asked for: in CI, or with
WCP360_TEST_DEMO=1.
"""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ASKED = os.environ.get("CI") == "true" or os.environ.get("WCP360_TEST_DEMO") == "1"
ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not ASKED, reason="changes this machine; set WCP360_TEST_DEMO=1 to run it"),
]


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as `make demo` does, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "wcp360.cli.demo", *words],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("WCP360_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
    )


def installed() -> set[str]:
    """Return the packages of this machine."""
    argv = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Package}\n"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    return {line[3:] for line in listed if line.startswith("ii")}


def test_the_demo_shows_applies_repeats_and_goes_without_a_trace() -> None:
    before = installed()
    first = demo()
    try:
        assert first.returncode == 0, first.stdout + first.stderr
        said = first.stdout
        order = [
            "dry run",
            "server_name demo.test",
            "It will take:",
            "The same for real",
            "HTTP 200",
            "Undo everything",
        ]
        places = [said.find(text) for text in order]
        assert -1 not in places, dict(zip(order, places, strict=True))
        assert places == sorted(places)
        again = demo()
        assert again.returncode == 0, again.stdout + again.stderr
        assert "nothing was changed" in again.stdout
    finally:
        cleaned = demo("--clean")
    assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr
    assert installed() == before
    assert not [path for path in ("/home/demo", "/etc/wcp360", "/var/lib/wcp360", "/run/wcp360") if Path(path).exists()]
    with pytest.raises(KeyError):
        pwd.getpwnam("demo")


def test_the_demo_refuses_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("0.0.0.0", 80))
        taken.listen()
        refused = demo()
    assert refused.returncode == 5
    assert "port 80" in refused.stderr.lower()
    assert not Path("/var/lib/wcp360-demo").exists()
