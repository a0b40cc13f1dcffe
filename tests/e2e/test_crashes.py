"""At every named point a part dies, fails, finds the disk full or loses its connections; what was accepted is finished.

CI goes through all points, with several faults in a change one after the other and the kind of each drawn by a seed;
`make soak` goes through all points with every kind, one at a time. WCP360_SEED draws others.
"""

from __future__ import annotations

import ast
import itertools
import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils import faults as node_faults

from tests.e2e.conftest import node_create
from tests.e2e.panel import Panel, wait_for
from tests.e2e.test_main_job import repeat
from tests.hosts.fixtures import Host
from tests.soak import LONGER_IN_SOAK, SOAK
from wcp360.core import faults

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.hosts, pytest.mark.timeout(3600), *LONGER_IN_SOAK]
SEED = os.environ.get("WCP360_SEED", "4711")
# Points in Ansible's own process, which can only be killed: it swallows what a callback plugin raises.
TASKS = (
    "predicted:Converge what belongs to tenants",
    "task:Converge what belongs to tenants",
)
# What only taking something away, or a dry run, comes to.
REMOVING = (
    *(f"instances.{when}_{action}" for action in ("disable", "stop", "forget") for when in ("before", "after")),
    "accounts.after_user",
)
PREVIEWING = ("preview.before_finish",)
BEFORE_ACCEPTED = ("submit.before_transaction", "submit.before_commit")
# In the order in which a run comes to them.
WRITING_PHP = (
    "before php_fpm.config_tree",
    "tree.staged",
    "tree.before_swap",
    "tree.after_swap",
    "after php_fpm.config_tree",
    "before php_fpm.instances",
)
CREATING = (
    "before tenant.accounts",
    "item.before_step",
    "accounts.before_user",
    "after tenant.accounts",
    "before tenant.owned_tree",
    "after tenant.owned_tree",
    "before tenant.config_tree",
    "after tenant.config_tree",
    "before php_fpm.owned_tree",
    "after php_fpm.owned_tree",
    *WRITING_PHP,
    "instances.before_enable",
    "instances.after_enable",
    "instances.before_start",
    "instances.after_start",
    "after php_fpm.instances",
    "before nginx.owned_tree",
    "after nginx.owned_tree",
    "before nginx.config_tree",
    "after nginx.config_tree",
    "before nginx.instances",
    "instances.before_reload",
    "instances.after_reload",
    "after nginx.instances",
    "before nginx.http_probe",
    "after nginx.http_probe",
)
# A fault in the middle of a service's start leaves it started, and the next run has nothing to start: one a change.
TOGETHER = 1 if SOAK else 4


def drawn(points: tuple[str, ...], kinds: tuple[str, ...]) -> list[str]:
    """Return the faults of some points: each with every kind in the soak, each with one of them in CI."""
    if SOAK:
        return [f"{kind}:{point}" for point in points for kind in kinds]
    return [f"{random.Random(f'{SEED} {point}').choice(kinds)}:{point}" for point in points]


def chains(all_faults: list[str]) -> list[tuple[str, ...]]:
    """Return faults in groups that one change meets one after the other; where SSH is cut, the module does the rest."""
    found: list[list[str]] = [[]]
    for fault in all_faults:
        found[-1].append(fault)
        if len(found[-1]) >= TOGETHER or fault.startswith("cut:") or fault.partition(":")[2].startswith("instances."):
            found.append([])
    return [tuple(group) for group in found if group]


ON_NODE = chains(drawn(CREATING, node_faults.KINDS))
ON_NODE_REMOVING = chains(drawn(REMOVING, node_faults.KINDS))
IN_PANEL = drawn(tuple(p for p in faults.POINTS if p not in PREVIEWING), faults.KINDS)
IN_PREVIEW = drawn(PREVIEWING, faults.KINDS)
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def ready(panel: Panel, own_host: Host) -> Iterator[Panel]:
    """A panel with a tenant and a site on a host."""
    panel.stop()
    panel.environment |= {"WCP360_ENGINE__RETRY": "0.05", "WCP360_ENGINE__SWEEP": "0.3"}
    panel.start()
    node_create(panel, "web1", own_host, "root")
    tenant = {"operation": "tenant.create", "input": {"name": "crash", "node": "web1"}}
    domain = {"operation": "domain.create", "input": {"name": "first.test", "tenant": "crash"}}
    # In one change set: all that accounts and sites share is made in one run, which takes half a minute.
    _status, answer = panel.send("POST", "/changes", {"operations": [tenant, domain]})
    assert panel.ended(str(answer["id"]))["status"] == "succeeded"
    yield panel
    panel.disarm()
    panel.delete_tenants()


def operations(number: int) -> dict[str, Any]:
    """Return a change set that comes to every step on the node."""
    tenant = {"name": f"crash{number}", "node": "web1"}
    domain = {"name": f"crash{number}.test", "tenant": f"crash{number}"}
    return {
        "operations": [
            {"operation": "tenant.create", "input": tenant},
            {"operation": "domain.create", "input": domain},
        ]
    }


def submitted(panel: Panel, number: int) -> str:
    """Submit the change set as a patient client and return the id of its change."""
    status, answer = panel.send("POST", "/changes", operations(number), key=uuid.uuid4().hex)
    assert status == 202, answer
    return str(answer["id"])


def met(panel: Panel, fault: str) -> None:
    """Wait until an armed fault has happened."""
    done = panel.fault.with_suffix(".done")
    wait_for(f"{fault} to happen\n{panel.tail()}", done.exists, 120)


def keep_up(panel: Panel) -> None:
    """Start the server anew, which forgets how often its engine has died: it would give up after eight times."""
    panel.stop()
    panel.start()


def points_in(path: Path) -> Iterator[str]:
    """Yield the names at which a source file has points; what is put into a name is an asterisk."""
    for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Name) and found.func.id == "point":
            (name,) = found.args
            parts = name.values if isinstance(name, ast.JoinedStr) else [name]
            yield "".join(part.value if isinstance(part, ast.Constant) else "*" for part in parts)


def test_every_point_is_listed_and_every_listed_point_is_tested() -> None:
    panel_side = {name for path in (ROOT / "wcp360").rglob("*.py") for name in points_in(path)}
    assert panel_side == set(faults.POINTS)
    node_side = {name for path in (ROOT / "plugins").rglob("*.py") for name in points_in(path)}
    steps = {"before *.*", "after *.*"}
    actions = {"instances.before_*", "instances.after_*"}
    expanded = {f"{when} {step}" for step in node_faults.STEPS for when in ("before", "after")}
    expanded |= {f"instances.{when}_{action}" for action in node_faults.ACTIONS for when in ("before", "after")}
    assert steps | actions <= node_side
    assert (node_side - steps - actions) | expanded == set(node_faults.POINTS)
    assert set(CREATING) | set(REMOVING) == set(node_faults.POINTS)
    tested = {fault.partition(":")[2] for fault in [*IN_PANEL, *IN_PREVIEW, *sum(ON_NODE + ON_NODE_REMOVING, ())]}
    assert tested == set(faults.POINTS) | set(node_faults.POINTS)


@pytest.mark.parametrize("fault", IN_PANEL)
def test_a_fault_in_the_panel_loses_nothing(ready: Panel, own_host: Host, fault: str) -> None:
    number = next(NUMBERS)
    keep_up(ready) if fault.startswith("kill:engine") else None
    ready.arm(fault)
    change = submitted(ready, number)
    met(ready, fault)
    done = ready.ended(change)
    assert done["status"] == "succeeded", done
    assert own_host.http_get(f"crash{number}.test")[0] == 200
    status, found = ready.send("GET", "/changes?limit=5")
    mine = [entry["id"] for entry in found["items"] if entry["operation"] == "change.create"]
    assert status == 200 and mine[0] == change, "a repetition was done twice"


@pytest.mark.parametrize("fault", IN_PREVIEW)
def test_a_fault_in_a_preview_loses_nothing(ready: Panel, fault: str) -> None:
    ready.arm(fault)
    status, kept = ready.send("POST", "/changes?dry_run=true", operations(next(NUMBERS)), key=uuid.uuid4().hex)
    assert status == 202, kept
    met(ready, fault)

    def made() -> Any:
        found = ready.send("GET", f"/previews/{kept['id']}")[1]
        return found if found["finished"] else None

    assert wait_for("the preview", made, 60)["status"] == "succeeded"


@pytest.mark.parametrize("task", TASKS)
def test_ansible_killed_at_a_task_is_run_again(ready: Panel, own_host: Host, task: str) -> None:
    number = next(NUMBERS)
    ready.arm(f"kill:{task}")
    change = submitted(ready, number)
    met(ready, task)
    assert ready.ended(change)["status"] == "succeeded"
    assert own_host.http_get(f"crash{number}.test")[0] == 200


@pytest.mark.parametrize("chain", ON_NODE, ids="+".join)
def test_faults_on_the_node_are_made_good(ready: Panel, own_host: Host, chain: tuple[str, ...]) -> None:
    number = next(NUMBERS)
    ready.arm(chain[0])
    change = submitted(ready, number)
    follow(ready, change, chain)
    assert own_host.run("nginx -t -q").returncode == 0
    assert own_host.http_get(f"crash{number}.test")[0] == 200


@pytest.mark.parametrize("chain", ON_NODE_REMOVING, ids="+".join)
def test_faults_while_something_is_removed_are_made_good(ready: Panel, own_host: Host, chain: tuple[str, ...]) -> None:
    number = next(NUMBERS)
    assert ready.ended(submitted(ready, number))["status"] == "succeeded"
    ready.arm(chain[0])
    answer = ready.send("DELETE", f"/tenants/crash{number}?purge=true", key=uuid.uuid4().hex)[1]
    follow(ready, str(answer["id"]), chain)
    assert own_host.run(f"id crash{number}", check=False).returncode != 0
    assert own_host.http_get(f"crash{number}.test")[0] == 404


def follow(panel: Panel, change: str, chain: tuple[str, ...]) -> None:
    """Have the faults happen one after the other; the change then ends well."""
    for fault, then in zip(chain, [*chain[1:], ""], strict=True):
        met(panel, fault)
        if then:
            panel.arm(then)
    done = panel.ended(change)
    assert done["status"] == "succeeded", done


def test_the_whole_server_killed_in_the_middle_of_a_run(ready: Panel, own_host: Host) -> None:
    many = [{"operation": "domain.create", "input": {"name": f"bulk{n}.test", "tenant": "crash"}} for n in range(20)]
    change = ready.send("POST", "/changes", {"operations": many}, key=uuid.uuid4().hex)[1]["id"]
    wait_for("the run to start", lambda: ready.json("run", "list", "--limit", "1")["items"][0]["status"] == "running")
    ready.kill()
    ready.start()
    assert ready.ended(change)["status"] == "succeeded"
    assert [own_host.http_get(f"bulk{n}.test")[0] for n in range(20)] == [200] * 20


def test_after_all_of_that_nothing_is_left_to_do(ready: Panel, own_host: Host) -> None:
    """A repetition of everything on the node finds nothing to change, no run is stuck, and the audit log holds."""
    tree = own_host.snapshot()
    kinds = ("tenant", "domain")
    expected = {
        f"{kind}:{one['name']}" for kind in kinds for one in ready.json(kind, "list", "--limit", "500")["items"]
    }
    done, changed = repeat(ready, "web1")
    assert {name for name in done if name.startswith(("tenant:", "domain:"))} == expected
    assert {name.partition(":")[0] for name in done} == {"node", "module", "tenant", "domain"}
    assert changed == []
    assert own_host.snapshot() == tree
    assert not [run for run in ready.json("run", "list")["items"] if run["status"] in ("queued", "running")]
    assert not own_host.run("find /etc -name '.staging-*'; find /tmp -name 'wcp360-check-*'").stdout
    assert ready.json("audit", "verify")["intact"] is True
