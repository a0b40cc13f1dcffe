"""One host and one panel for all sequences."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.panel import Panel, wait_for
from tests.hosts.fixtures import Host
from tests.property.campaign import Api, Campaign, Eyes
from tests.property.drawing import NODE, Drawn
from wcp360.wiring import build_registry


@pytest.fixture(scope="session")
def campaign(tmp_path_factory: pytest.TempPathFactory, new_host: Callable[..., Host]) -> Iterator[Campaign]:
    """A panel that has one host under management, and no node that tenants could get by default."""
    host = new_host(image="full")
    directory = tmp_path_factory.mktemp("campaign")
    eyes = Eyes(host, directory)
    panel = Panel(directory)
    # Whatever is drawn: nothing may ever be done to the machine that the tests run on.
    panel.environment |= {"WCP360_PANEL__DEFAULT_NODE": NODE}
    panel.environment |= {"WCP360_ENGINE__WARM": "true"} if os.environ.get("WCP360_SOAK_WARM") else {}
    panel.run("init")
    panel.start()
    try:
        wait_for("this machine to be looked at", lambda: panel.json("node", "show", "local")["status"] == "applied")
        panel.run("node", "delete", "local", "--yes")
        campaign = Campaign(Api(panel, build_registry()), eyes, _reached(host))
        campaign.step(Drawn("node.create", {**campaign.node, "name": NODE}), through_preview=False)
        assert campaign.problems == []
        yield campaign
    finally:
        panel.stop()
        eyes.close()


def _reached(host: Host) -> dict[str, object]:
    """Return the input by which a node is made of the host."""
    assert Path(host.key).is_file(), f"{host.key} is missing"
    return {
        "address": host.address,
        "port": host.port,
        "user": host.user,
        "identity_file": host.key,
        "host_key": host.host_key.split(" ", 1)[1],
    }
