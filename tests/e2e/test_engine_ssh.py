"""The engine against a node over SSH: pinned host key, kept connection, sudo, and a node that is gone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.fixtures import Host
from tests.unit.engine.panel import NODE, FreeSpec, Panel
from wcp360.core.resources import Ref
from wcp360.core.views import ChangeStatus

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPabGhbE7GfP8iAJ1sTBtKAJHHuA6bQZ6fzVgXqTsGFP"


def node(host: Host, **values: Any) -> dict[str, Any]:
    """What the panel keeps of a node."""
    known = {"connection": "ssh", "address": host.address, "port": host.port, "user": host.user}
    return known | {"host_key": " ".join(host.host_key.split()[1:3])} | values


@pytest.fixture
def panel(ssh_host: Host) -> Iterator[Panel]:
    # A short path: the socket of a kept connection has 107 characters (unix(7)), and pytest's own paths use them up.
    base = Path(tempfile.mkdtemp(prefix="w-"))
    made = Panel.make(base, **node(ssh_host))
    (made.settings.state_dir / "ssh").mkdir()
    shutil.copy(ssh_host.key, made.settings.state_dir / "ssh" / "id_ed25519")
    ssh_host.run(f"mkdir -p {made.home}")
    yield made
    shutil.rmtree(base)


def test_a_node_over_ssh_is_converged_and_its_connection_kept(panel: Panel, ssh_host: Host) -> None:
    change = panel.submit("demo", "{{ 7 * 7 }} 'quoted'")
    with panel.engine():
        assert panel.finished(change.id).status is ChangeStatus.SUCCEEDED
        assert list((panel.settings.state_dir / "cp").iterdir())
    assert ssh_host.run(f"cat {panel.home}/demo").stdout == "{{ 7 * 7 }} 'quoted'\n"
    assert not panel.changes_made()


def test_another_user_becomes_root_by_sudo(panel: Panel, ssh_host: Host) -> None:
    _replace_node(panel, node(ssh_host, user=ssh_host.admin))
    change = panel.submit("asroot", "x")
    with panel.engine():
        assert panel.finished(change.id).status is ChangeStatus.SUCCEEDED
    assert ssh_host.run(f"stat -c %U {panel.home}/asroot").stdout == "root\n"


def test_another_host_key_is_not_trusted_and_healing_needs_no_new_change(panel: Panel, ssh_host: Host) -> None:
    _replace_node(panel, node(ssh_host, host_key=OTHER_KEY))
    change = panel.submit("demo", "x")
    with panel.engine():
        for _ in panel.waiting():
            if "could not be reached" in panel.change(change.id).resources[0].reason:
                break
        assert panel.change(change.id).status is ChangeStatus.PENDING
        assert ssh_host.run(f"ls {panel.home}").stdout == ""
        _replace_node(panel, node(ssh_host))
        assert panel.finished(change.id).status is ChangeStatus.SUCCEEDED


def _replace_node(panel: Panel, spec: dict[str, Any]) -> None:
    with panel.store.write() as tx:
        tx.put(Ref("node", NODE), FreeSpec(**spec))
        panel.accept(tx)
