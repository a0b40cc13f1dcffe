"""Panels for end-to-end tests, with a real host under management."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.panel import Panel
from tests.hosts.fixtures import Host


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """A running panel for the tests of one module; it knows no node but its own machine."""
    made = Panel(tmp_path_factory.mktemp("panel"))
    made.run("init")
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def take_over(panel: Panel) -> Callable[[str, Host], None]:
    """Take a host under management by its name; its host key is confirmed by fingerprint, as a person would."""

    def take(name: str, host: Host, user: str = "root") -> None:
        node_create(panel, name, host, user)

    return take


def node_create(panel: Panel, name: str, host: Host, user: str = "root") -> None:
    """Create a node for a host and wait until it is converged."""
    words = ["--address", host.address, "--port", str(host.port), "--user", user, "--identity-file", _readable(host)]
    key = host.host_key.split(" ", 1)[1]
    panel.run("node", "create", name, *words, "--host-key", key)


def _readable(host: Host) -> str:
    path = Path(host.key)
    assert path.is_file(), f"{path} is missing"
    return str(path)
