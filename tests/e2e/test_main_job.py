"""The main job on a real host over SSH: previewed, applied, served, repeated, suspended and taken away."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.panel import Panel, wait_for
from tests.hosts.fixtures import Host

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900)]

SET = {
    "operations": [
        {"operation": "tenant.create", "input": {"name": "acme", "node": "web1"}},
        {"operation": "domain.create", "input": {"name": "acme.test", "tenant": "acme"}},
    ]
}
# Has everything on a node converged again as it is, which no operation asks for; prints the id of a change to await.
REPEAT = """
import sys
from wcp360.core.config import load_settings
from wcp360.core.ids import new_id
from wcp360.wiring import build

with build(load_settings()).store.write() as state:
    for ref in sorted({target.ref for target in state.targets([sys.argv[1]])}):
        state.retry(ref)
    given = {"operation": "node.check", "given": {"name": sys.argv[1]}, "actor": "test", "tenant": None}
    print(state.add_change(new_id(), correlation=new_id(), **given).id)
"""
# What a dry run may write in the panel's database: the audit log, the kept answer, the preview and its run.
RECORDS = {"answer", "audit", "event", "preview", "run", "lease", "sqlite_sequence"}


@pytest.fixture(scope="module")
def before(bare_host: Host) -> dict[str, str]:
    """The host as it was handed over."""
    return bare_host.snapshot()


@pytest.fixture(scope="module")
def node(panel: Panel, bare_host: Host, before: dict[str, str], take_over: Callable[[str, Host], None]) -> Host:
    """The bare host, under management as web1."""
    take_over("web1", bare_host)
    return bare_host


@pytest.fixture(scope="module")
def preview(panel: Panel, node: Host) -> dict[str, Any]:
    """The dry run of the main job on a node where nothing is installed."""
    wait_for("this machine to be looked at", lambda: panel.json("node", "show", "local")["status"] == "applied")
    state, tree = desired_state(panel), node.snapshot()
    found: dict[str, Any] = panel.json("change", "create", "-", "--dry-run", stdin=json.dumps(SET))
    assert desired_state(panel) == state, "the dry run changed desired state"
    assert node.snapshot() == tree, "the dry run changed the node"
    return found


@pytest.fixture(scope="module")
def applied(panel: Panel, node: Host, preview: dict[str, Any]) -> dict[str, Any]:
    """The same, applied."""
    change: dict[str, Any] = panel.json("change", "create", "-", stdin=json.dumps(SET))
    assert change["status"] == "succeeded", change
    return change


def desired_state(panel: Panel) -> dict[str, str]:
    """Return a digest for each table, but those of the records that a dry run may write."""
    database = Path(panel.environment["WCP360_STATE_DIR"]) / "wcp360.db"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as link:
        tables = {row[0] for row in link.execute("select name from sqlite_master where type = 'table'")} - RECORDS
        return {table: digest_of(link, table) for table in tables}


def digest_of(link: sqlite3.Connection, table: str) -> str:
    """Return a digest of a table's rows; storage's own counters (with a point) move with the logs."""
    rows = [
        row for row in link.execute(f'select * from "{table}"') if not (table == "counter" and row[0].startswith("."))
    ]
    return hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()


def tenant_level(items: list[dict[str, Any]]) -> list[Any]:
    """Return what a run did, or predicts, for tenants and domains, in a form that can be compared."""
    chosen = [item for item in items if item["resource"].startswith(("tenant:", "domain:")) and item["changed"]]
    return sorted(
        [item["resource"], diff["name"], diff["before"], diff["after"]] for item in chosen for diff in item["diff"]
    )


def packages(items: list[dict[str, Any]]) -> set[str]:
    """Return the packages that a run installs."""
    return {diff["name"] for item in items for diff in item["diff"] if diff["name"].startswith("package ")}


def repeat(panel: Panel, node: str) -> tuple[set[str], list[dict[str, Any]]]:
    """Have everything on a node converged again; return what that was, and the items that changed or failed."""
    words = [sys.executable, "-c", REPEAT, node]
    asked = subprocess.run(words, env=panel.environment, capture_output=True, text=True, timeout=60, check=False)
    assert asked.returncode == 0, asked.stderr
    change = panel.ended(asked.stdout.strip())
    assert change["status"] == "succeeded", change
    assert change["runs"], "nothing was sent to the node"
    items = [item for run in change["runs"] for item in panel.json("run", "show", run)["items"]]
    done = {outcome["resource"] for outcome in change["resources"] if outcome["node"] == node}
    return done, [item for item in items if item["changed"] or item["failed"]]


def test_the_dry_run_shows_packages_account_and_files(preview: dict[str, Any]) -> None:
    assert preview["status"] == "succeeded", preview["reason"]
    names = {diff["name"] for item in preview["items"] for diff in item["diff"]}
    assert "package nginx" in names
    assert any(name.endswith("sites/acme.test.conf") for name in names), sorted(names)
    assert any("account" in name and "acme" in name for name in names), sorted(names)
    site = next(
        diff for item in preview["items"] for diff in item["diff"] if diff["name"].endswith("sites/acme.test.conf")
    )
    assert site["before"] == ""
    assert "server_name acme.test" in site["after"]


def test_what_could_not_be_checked_is_marked(preview: dict[str, Any]) -> None:
    assert any("not installed" in item["not_checked"] for item in preview["items"])


def test_the_change_did_what_the_dry_run_predicted(
    panel: Panel, preview: dict[str, Any], applied: dict[str, Any]
) -> None:
    items = [item for run in applied["runs"] for item in panel.json("run", "show", run)["items"]]
    assert tenant_level(items) == tenant_level(preview["items"])
    assert "server:node" not in {item["resource"] for item in [*items, *preview["items"]] if item["changed"]}
    assert packages(items) == packages(preview["items"])


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("name", ["acme.test", "www.acme.test"])
def test_the_page_is_served(node: Host, applied: dict[str, Any], name: str, ipv6: bool) -> None:
    status, headers, body = node.http_get(name, ipv6=ipv6)
    assert status == 200
    assert "acme.test" in body
    assert "x-wcp360-site" not in headers, "visitors see nothing of the panel"


def test_other_names_get_nothing(node: Host, applied: dict[str, Any]) -> None:
    try:
        status, _, body = node.http_get("stranger.test")
    except OSError:
        return
    assert status == 404
    assert "acme" not in body


def test_php_runs_as_the_tenant(node: Host, applied: dict[str, Any]) -> None:
    script = "<?php echo posix_geteuid(), ' ', is_readable('/etc/shadow') ? 'bad' : 'good';"
    node.run(
        "cat > /home/acme/web/acme.test/public/who.php && chown acme: /home/acme/web/acme.test/public/who.php",
        stdin=script,
    )
    status, _, body = node.http_get("acme.test", "/who.php")
    assert (status, body) == (200, "20000 good")


def test_a_repetition_changes_nothing(panel: Panel, node: Host, applied: dict[str, Any]) -> None:
    tree = node.snapshot()
    done, changed = repeat(panel, "web1")
    assert {"node:web1", "module:accounts@web1", "module:webserver@web1", "tenant:acme", "domain:acme.test"} == done
    assert changed == []
    again = panel.json("domain", "update", "acme.test", "--php")
    assert (again["status"], again["runs"]) == ("succeeded", [])
    assert node.snapshot() == tree


def test_a_repetition_repairs_what_somebody_broke(panel: Panel, node: Host, applied: dict[str, Any]) -> None:
    """Seen from the other side: a repetition really looks at what belongs to tenants."""
    node.run("chmod 0700 /home/acme/web/acme.test")
    changed = repeat(panel, "web1")[1]
    assert [item["resource"] for item in changed if item["diff"]] == ["domain:acme.test"]


def test_the_same_name_is_refused_the_second_time(panel: Panel, applied: dict[str, Any]) -> None:
    refused = panel.run("tenant", "create", "acme", check=False)
    assert refused.returncode == 5
    assert "acme" in refused.stderr


def test_a_suspended_tenant_is_off_and_comes_back(panel: Panel, node: Host, applied: dict[str, Any]) -> None:
    panel.run("tenant", "suspend", "acme")
    assert node.http_get("acme.test")[0] == 503
    assert node.run("pgrep -u acme php-fpm", check=False).returncode == 1
    panel.run("tenant", "unsuspend", "acme")
    assert node.http_get("acme.test")[0] == 200


def test_one_domain_goes_alone(panel: Panel, node: Host, applied: dict[str, Any]) -> None:
    panel.run("domain", "create", "second.test", "--tenant", "acme", "--no-php")
    assert node.http_get("second.test")[0] == 200
    panel.run("domain", "delete", "second.test", "--yes")
    assert node.http_get("acme.test")[0] == 200
    assert panel.run("domain", "show", "second.test", check=False).returncode == 4
    assert "second.test" in node.run("find /home/.wcp360-trash").stdout


def test_what_a_node_refuses_is_failed_with_its_reason_and_retried_on_demand(
    panel: Panel, node: Host, applied: dict[str, Any]
) -> None:
    node.run(
        "mkdir -p /etc/nginx/wcp360/current/sites && echo '# mine' > /etc/nginx/wcp360/current/sites/third.test.conf"
    )
    failed = panel.run("domain", "create", "third.test", "--tenant", "acme", check=False)
    assert failed.returncode == 1
    assert "third.test.conf" in failed.stdout + failed.stderr
    assert node.http_get("acme.test")[0] == 200
    node.run("rm /etc/nginx/wcp360/current/sites/third.test.conf")
    change = panel.json("change", "list")["items"][0]["id"]
    assert panel.json("change", "retry", change)["status"] == "succeeded"
    assert node.http_get("third.test")[0] == 200


def test_the_audit_log_is_intact_and_events_are_in_order(panel: Panel, applied: dict[str, Any]) -> None:
    assert panel.json("audit", "verify")["intact"] is True
    events = panel.json("event", "list", "--limit", "1000")["items"]
    numbers = [event["id"] for event in events]
    assert numbers == sorted(numbers)
    assert {"change.accepted", "run.started", "run.finished", "change.finished"} <= {event["type"] for event in events}
    of_change = [event for event in events if event["data"].get("change") == applied["id"]]
    assert {event["correlation"] for event in of_change} == {applied["correlation"]}


def test_taken_away_without_a_trace(panel: Panel, node: Host, before: dict[str, str], applied: dict[str, Any]) -> None:
    panel.run("tenant", "delete", "acme", "--purge", "--yes")
    node.run("rm -rf /home/.wcp360-trash/*")
    panel.run("module", "remove", "webserver", "--node", "web1", "--yes")
    panel.run("node", "delete", "web1", "--yes")
    after = node.snapshot()
    assert {path: after.get(path) for path in after if after[path] != before.get(path)} == {}
    assert set(before) - set(after) == set()
