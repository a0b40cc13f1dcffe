"""Two nodes, Debian 12 and 13: placement, changes on both, one of them down, and the same by Ansible alone."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.panel import Panel, wait_for
from tests.ecosystem.tools import run
from tests.hosts.fixtures import Host
from tests.hosts.testhosts.engine import find_engine

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Pair:
    """The two nodes; tenant ``one1`` lives on ``first`` and ``two2`` on ``second``."""

    first: Host
    second: Host


def domains(*names: tuple[str, str]) -> str:
    """Return a change set that creates domains of tenants."""
    return json.dumps(
        {
            "operations": [
                {"operation": "domain.create", "input": {"name": name, "tenant": tenant}} for name, tenant in names
            ]
        }
    )


@pytest.fixture(scope="module")
def pair(panel: Panel, new_host: Callable[..., Host], take_over: Callable[[str, Host], None]) -> Pair:
    """Both under management, with a tenant and a domain on each by one change set."""
    hosts = Pair(new_host(image="full"), new_host(image="full13"))
    take_over("first", hosts.first)
    take_over("second", hosts.second)
    tenants = [
        {"operation": "tenant.create", "input": {"name": name, "node": node}}
        for name, node in (("one1", "first"), ("two2", "second"))
    ]
    sites = json.loads(domains(("one.test", "one1"), ("two.test", "two2")))["operations"]
    change = panel.json("change", "create", "-", stdin=json.dumps({"operations": tenants + sites}))
    assert change["status"] == "succeeded", change
    assert {outcome["node"] for outcome in change["resources"]} == {"first", "second"}
    return hosts


def test_each_tenant_is_where_it_was_placed_and_nowhere_else(pair: Pair) -> None:
    for host, here, elsewhere in ((pair.first, "one", "two"), (pair.second, "two", "one")):
        status, _, body = host.http_get(f"{here}.test")
        assert (status, f"{here}.test" in body) == (200, True)
        assert answer(host, f"{elsewhere}.test") in (None, 404)
        assert host.run(f"getent passwd {elsewhere}1 {elsewhere}2", check=False).stdout == ""
        assert host.run("ls /etc/nginx/wcp360/current/sites").stdout.split() == [f"{here}.test.conf"]


def test_php_is_the_release_s_own(pair: Pair) -> None:
    for host, tenant, name, version in ((pair.first, "one1", "one", "8.2"), (pair.second, "two2", "two", "8.4")):
        page = f"/home/{tenant}/web/{name}.test/public/v.php"
        host.run(f"cat > {page} && chown {tenant}: {page}", stdin="<?php echo PHP_VERSION, ' ', posix_geteuid();")
        assert re.fullmatch(rf"{re.escape(version)}\.\d+ \d{{5}}", host.http_get(f"{name}.test", "/v.php")[2])


def answer(host: Host, name: str) -> int | None:
    """Return the status of a page, or None where the connection is just closed."""
    try:
        return host.http_get(name)[0]
    except OSError:
        return None


def on_console(host: Host, command: str) -> None:
    """Run a command on a host that SSH does not reach."""
    subprocess.run(
        find_engine().argv("exec", host.container, "/bin/sh", "-c", command), check=False, capture_output=True
    )


def test_a_node_that_is_down_does_not_hold_up_the_other(panel: Panel, pair: Pair) -> None:
    on_console(pair.first, "systemctl stop ssh.socket ssh; pkill -x sshd")
    try:
        given = domains(("late.test", "one1"), ("soon.test", "two2"))
        change = panel.json("change", "create", "-", "--no-wait", stdin=given)["id"]
        # The page is there a moment before the run has ended and is told of.
        wait_for("the other node to be done", lambda: states_of(panel, change).get("second") == "succeeded", 60)
        assert answer(pair.second, "soon.test") == 200
        assert states_of(panel, change) == {"first": "pending", "second": "succeeded"}
        assert panel.json("change", "show", change)["status"] == "pending"
        # What comes after it for the node that answers does not wait either.
        assert panel.json("domain", "create", "more.test", "--tenant", "two2")["status"] == "succeeded"
        reason = wait_for("the reason", lambda: reason_of(panel, change, "first"), 60)
        assert "could not be reached" in reason
    finally:
        on_console(pair.first, "systemctl start ssh")
    assert panel.finished(change)["status"] == "succeeded"
    assert answer(pair.first, "late.test") == 200


def states_of(panel: Panel, change: str) -> dict[str, str]:
    """Return how far the domains of a change are, by node."""
    found = panel.json("change", "show", change)["resources"]
    return {outcome["node"]: outcome["status"] for outcome in found if "domain" in outcome["resource"]}


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name: Ansible puts SSH sockets below it, whose paths have 108 bytes (unix(7))."""
    return tmp_path_factory.mktemp("i")


def reason_of(panel: Panel, change: str, node: str) -> str:
    found = panel.json("change", "show", change)["resources"]
    return next((outcome["reason"] for outcome in found if outcome["node"] == node and outcome["reason"]), "")


def test_ansible_with_the_panel_s_inventory_changes_nothing(
    panel: Panel,
    pair: Pair,
    installed: Path,
    short: Path,
) -> None:
    state = Path(panel.environment["WCP360_STATE_DIR"])
    options = {
        "plugin": "wcp360.hosting.wcp360",
        "url": f"http://127.0.0.1:{panel.environment['WCP360_API__PORT']}",
        "token_file": str(state / "root.token"),
        "private_key_file": pair.first.key,
    }
    (short / "wcp360.yml").write_text(json.dumps(options))
    before = pair.first.snapshot(), pair.second.snapshot()
    for mode in (["--check", "--diff"], ["--diff"]):
        words = ["-i", "wcp360.yml", *mode, "wcp360.hosting.site"]
        done = run("ansible-playbook", *words, cwd=short, collections=installed)
        assert done.returncode == 0, done.stdout + done.stderr
        recaps = re.findall(r"^(first|second) +: ok=(\d+) +changed=(\d+) ", done.stdout, re.MULTILINE)
        assert [(name, changed) for name, _, changed in recaps] == [("first", "0"), ("second", "0")], done.stdout
    for earlier, host in zip(before, (pair.first, pair.second), strict=True):
        now = host.snapshot()
        moved = {path for path in earlier.keys() | now.keys() if earlier.get(path) != now.get(path)}
        assert {path: (earlier.get(path), now.get(path)) for path in moved} == {}


def test_ansible_repairs_what_somebody_broke(panel: Panel, pair: Pair, installed: Path, short: Path) -> None:
    """Seen from the other side: the inventory really holds what the panel wants, so that a difference is found."""
    pair.second.run("chmod 0700 /home/two2/web/two.test")
    assert answer(pair.second, "two.test") != 200
    state = Path(panel.environment["WCP360_STATE_DIR"])
    environment = {"WCP360_TOKEN": (state / "root.token").read_text().strip()}
    options: dict[str, Any] = {"plugin": "wcp360.hosting.wcp360", "private_key_file": pair.first.key}
    options["url"] = f"http://127.0.0.1:{panel.environment['WCP360_API__PORT']}"
    (short / "wcp360.yml").write_text(json.dumps(options))
    words = ["-i", "wcp360.yml", "--limit", "second", "wcp360.hosting.site"]
    done = run("ansible-playbook", *words, cwd=short, collections=installed, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^second +: ok=\d+ +changed=1 ", done.stdout, re.MULTILINE), done.stdout
    assert answer(pair.second, "two.test") == 200


def test_each_node_is_cleaned_alone(panel: Panel, pair: Pair) -> None:
    panel.run("tenant", "delete", "two2", "--purge", "--yes")
    assert pair.second.run("getent passwd two2", check=False).returncode == 2
    assert answer(pair.first, "one.test") == 200
