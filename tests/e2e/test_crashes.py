"""Killed at any named point, every accepted change ends finished or failed with a reason, and nothing is done twice.

At each point a part of the server dies as by kill -9 while a domain is created on a real host over SSH. Then all of the
server is killed and started again, and has to bring the change to its end by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import node_create
from tests.e2e.panel import Panel, descendants, wait_for
from tests.hosts.fixtures import Host

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

BEFORE_ACCEPTED = ["submit.before_transaction", "submit.before_commit"]
IN_API = ["submit.after_commit"]
IN_ENGINE = [
    "engine.after_lease",
    "engine.after_compile",
    "engine.before_run",
    "engine.after_run",
    "engine.before_record",
    "engine.after_record",
]
IN_ANSIBLE = [
    "predicted:Converge what belongs to tenants",
    "task:Ask whether what was predicted may be done",
    "task:Do what was predicted",
    "task:Converge what belongs to tenants",
]
ON_NODE = [
    "kill:before nginx.owned_tree",
    "kill:before nginx.config_tree",
    "kill:before nginx.instances",
    "kill:before nginx.http_probe",
    "kill:after nginx.http_probe",
]


@pytest.fixture(scope="module")
def ready(panel: Panel, ssh_host: Host) -> Iterator[Panel]:
    """A panel with a tenant and a site on a host, left as it was found."""
    node_create(panel, "web1", ssh_host, "root")
    panel.run("tenant", "create", "crash", "--node", "web1")
    panel.run("domain", "create", "first.test", "--tenant", "crash")
    yield panel
    panel.run("tenant", "delete", "crash", "--purge", "--yes")
    panel.run("module", "remove", "webserver", "--node", "web1", "--yes")
    panel.run("node", "delete", "web1", "--yes")


def name_for(point: str) -> str:
    """Return a domain name of its own for a point."""
    return "".join(char if char.isalnum() else "-" for char in point.lower()) + ".test"


def crash(panel: Panel, point: str) -> None:
    """Create a domain with a part set to die at ``point``, wait for its death, kill the rest, start again."""
    panel.stop()
    panel.start(kill_at=point)
    assert panel.process is not None
    alive = set(descendants(panel.process.pid))
    panel.run("domain", "create", name_for(point), "--tenant", "crash", "--no-wait", check=False)
    wait_for(f"a part to die at {point}\n{panel.tail()}", lambda: died(panel, alive, point), 60)
    panel.kill()
    panel.start()


def died(panel: Panel, alive: set[int], point: str) -> bool:
    """Tell whether the process that the point is in has died: a child of the server, or ansible-playbook."""
    assert panel.process is not None
    if not point.startswith(("task:", "predicted:", "kill:")):
        return not alive <= set(descendants(panel.process.pid))
    newest: dict[str, Any] = panel.json("run", "list", "--limit", "1")["items"][0]
    return bool(newest["status"] == "failed")


def changes_of(panel: Panel, name: str) -> list[dict[str, Any]]:
    """Return the changes that created a domain."""
    found = panel.json("change", "list")["items"]
    return [change for change in found if change["operation"] == "domain.create" and change["input"]["name"] == name]


@pytest.mark.parametrize("point", BEFORE_ACCEPTED)
def test_what_was_not_accepted_left_nothing(ready: Panel, point: str) -> None:
    crash(ready, point)
    assert changes_of(ready, name_for(point)) == []
    assert ready.run("domain", "show", name_for(point), check=False).returncode == 4


@pytest.mark.parametrize("point", IN_API + IN_ENGINE + IN_ANSIBLE + ON_NODE)
def test_what_was_accepted_is_finished_once(ready: Panel, ssh_host: Host, point: str) -> None:
    crash(ready, point)
    (change,) = changes_of(ready, name_for(point))
    done = ready.finished(change["id"])
    assert done["status"] == "succeeded", done
    assert ssh_host.http_get(name_for(point))[0] == 200


def test_the_whole_server_killed_in_the_middle_of_a_run(ready: Panel, ssh_host: Host) -> None:
    operations = [
        {"operation": "domain.create", "input": {"name": f"bulk{n}.test", "tenant": "crash"}} for n in range(20)
    ]
    change = ready.json("change", "create", "-", "--no-wait", stdin=json.dumps({"operations": operations}))
    wait_for("the run to start", lambda: ready.json("run", "list", "--limit", "1")["items"][0]["status"] == "running")
    ready.kill()
    ready.start()
    assert ready.finished(change["id"])["status"] == "succeeded"
    assert [ssh_host.http_get(f"bulk{n}.test")[0] for n in range(20)] == [200] * 20


def test_after_all_of_that_nothing_is_left_to_do(ready: Panel, ssh_host: Host) -> None:
    """A repetition of everything on the node finds nothing to change, no run is stuck, and the audit log holds."""
    panel, tree = ready, ssh_host.snapshot()
    operations = [
        {"operation": "node.check", "input": {"name": "web1"}},
        {"operation": "module.install", "input": {"name": "webserver", "node": "web1"}},
    ]
    change = panel.json("change", "create", "-", stdin=json.dumps({"operations": operations}))
    assert change["status"] == "succeeded", change
    items = [item for run in change["runs"] for item in panel.json("run", "show", run)["items"]]
    assert not [item for item in items if item["changed"]]
    assert ssh_host.snapshot() == tree
    assert not [run for run in panel.json("run", "list")["items"] if run["status"] in ("queued", "running")]
    assert panel.json("audit", "verify")["intact"] is True
