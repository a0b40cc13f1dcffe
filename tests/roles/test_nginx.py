"""Role nginx by the panel's playbook on a real host: killed between its steps, with bad neighbours, and in bulk."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.fixtures import Host

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = next(path for path in map(Path, sys.path) if (path / "ansible_collections/wcp360/hosting").exists())
OWNER = {"tenant": "acme", "uid": 20000, "gid": 20000, "home": "/home/acme"}
WATCHER = """
set -u
while [ ! -e /root/stop ]; do
    nginx -t -q 2>>/root/refused || echo refused >>/root/refused
    curl -s -o /dev/null -w '%{http_code}\\n' -H 'Host: steady.test' http://127.0.0.1/ >>/root/codes
    sleep 0.05
done
"""


def site(name: str, **more: Any) -> dict[str, Any]:
    return {"id": f"domain:{name}", "name": name, "state": "present", "php": False, **OWNER, **more}


@dataclass
class Run:
    """What one run of the panel's playbook did."""

    code: int
    output: str
    lines: list[dict[str, Any]]

    @property
    def items(self) -> dict[str, dict[str, Any]]:
        """The items of the task that writes the configuration."""
        for line in self.lines:
            if line.get("action") == "wcp360.hosting.config_tree" and not line["check"]:
                return {item["id"]: item for item in line["items"]}
        return {}

    def facts(self) -> dict[str, Any]:
        return next(item["facts"] for line in self.lines for item in line.get("items") or [] if item.get("facts"))

    def failed(self, *, check: bool = False) -> dict[str, str]:
        lines = [line for line in self.lines if line.get("check", False) is check]
        found = (item for line in lines for item in line.get("items") or [] if item["failed"])
        return {item["id"]: item["msg"] for item in found}

    def changes(self, *, check: bool = False) -> list[Any]:
        lines = [line for line in self.lines if line.get("check") is check]
        found = (item for line in lines for item in line.get("items") or [] if item["changed"])
        return [(item["id"], item["diff"]) for item in found]


@dataclass
class Panel:
    """Runs the panel's playbooks as the engine does: tenants.yml where it has facts of the node, else converge.yml."""

    host: Host
    base: Path
    count: int = 0
    server: dict[str, Any] = field(default_factory=lambda: {"tenant": False, "php_fpm": False, "nginx": False})

    def command(
        self, sites: list[dict[str, Any]], *, server: Any = False, check: bool = False, facts: Any = None
    ) -> list[str]:
        self.count += 1
        inventory, request = self.base / "inventory.json", self.base / f"request-{self.count}.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"node": self.host.inventory()}}}))
        levels = {**self.server, "nginx": server}
        content = {"version": 2, "facts": facts or {}, "server": levels, "tenant_accounts": [], "php_fpm_pools": []}
        request.write_text(json.dumps({**content, "nginx_sites": sites}))
        tool = str(Path(sys.executable).with_name("ansible-playbook"))
        words = [tool, "-i", str(inventory), "-e", f"wcp360_request_file={request}", "--diff"]
        return [
            *words,
            *(["--check"] if check else []),
            str(ROOT / f"playbooks/{'tenants' if facts else 'converge'}.yml"),
        ]

    def environment(self, **more: str) -> dict[str, str]:
        return os.environ | {
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_CALLBACKS_ENABLED": "wcp360.hosting.outcomes",
            "ANSIBLE_PIPELINING": "1",
            "WCP360_OUTCOMES_FILE": str(self.base / f"outcomes-{self.count}"),
            **more,
        }

    def run(self, sites: list[dict[str, Any]], *, kill_at: str = "", fault: str = "", **how: Any) -> Run:
        command = self.command(sites, **how)
        more = {"WCP360_KILL_AT": f"task:{kill_at}"} if kill_at else {}
        more |= {"WCP360_FAULT": fault} if fault else {}
        done = subprocess.run(
            command, env=self.environment(**more), capture_output=True, text=True, timeout=300, check=False
        )
        outcomes = self.base / f"outcomes-{self.count}"
        lines = [json.loads(line) for line in outcomes.read_text().splitlines()] if outcomes.exists() else []
        return Run(done.returncode, done.stdout + done.stderr, lines)


def listing(host: Host) -> list[str]:
    """Return what is in the configuration's directory: name, mode, owner and link of each entry, and checksums."""
    look = "find /etc/nginx/wcp360 -printf '%p %M %U:%G %l\\n'; find /etc/nginx/wcp360 -type f -exec sha256sum {} +"
    found = sorted(host.run(look).stdout.splitlines())
    assert found
    return found


def untimed(failed: dict[str, str]) -> dict[str, str]:
    """Take from what Nginx says the time and the number of its process."""
    return {name: re.sub(r"[0-9/]+ [0-9:]+ \[emerg\] \d+#\d+: ", "", said) for name, said in failed.items()}


def kill_all_of(base: Path) -> None:
    """Kill the processes that were started with this directory in their environment, by their ids."""
    mark = f"WCP360_OUTCOMES_FILE={base}/".encode()
    for entry in Path("/proc").iterdir():
        # Gone, or another one's: not ours to kill.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def panel(new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Panel:
    host = new_host(image="full")
    host.run("useradd -u 20000 -d /home/acme -s /usr/sbin/nologin acme")
    host.run("install -d -o acme -g acme -m 711 /home/acme && install -d -o acme -g www-data -m 750 /home/acme/web")
    panel = Panel(host, tmp_path_factory.mktemp("panel"))
    done = panel.run([site("steady.test")], server=True)
    assert done.code == 0 and not done.failed(), done.output
    return panel


def test_a_preview_changes_nothing_and_is_true(panel: Panel) -> None:
    sites = [site("preview.test", aliases=["www.preview.test"]), site("steady.test", redirect="https://example.com/")]
    before = panel.host.snapshot()
    preview = panel.run(sites, check=True)
    assert panel.host.snapshot() == before
    done = panel.run(sites)
    assert preview.changes(check=True) == done.changes(check=True) == done.changes() != []
    assert panel.host.http_get("preview.test")[0] == 200
    assert panel.host.http_get("preview.test", ipv6=True)[0] == 200
    assert panel.host.http_get("steady.test")[1]["location"] == "https://example.com/"
    assert panel.run(sites).changes() == []
    back = panel.run([site("steady.test"), site("preview.test", state="absent", purge=True)])
    assert not back.failed(), back.output
    assert panel.host.http_get("preview.test")[0] == 404


def test_a_known_node_is_not_looked_at_and_one_that_was_upgraded_is_known_anew(panel: Panel) -> None:
    looked = panel.run([site("steady.test")])
    known = looked.facts()
    quick = panel.run([site("known.test")], facts=known)
    assert quick.code == 0 and not quick.failed() and panel.host.http_get("known.test")[0] == 200
    assert len(quick.lines) < len(looked.lines)
    moved = panel.run(
        [site("known.test", redirect="https://example.com/")], facts=known | {"distribution_version": "3"}
    )
    assert moved.code == 0 and not moved.failed(), moved.output
    assert panel.host.http_get("known.test")[1]["location"] == "https://example.com/"
    assert moved.changes(check=True) == moved.changes() != []
    assert "failed=0" in moved.output and "rescued=1" in moved.output


def test_what_fails_on_a_known_node_is_told_as_it_was(panel: Panel) -> None:
    known = panel.run([]).facts()
    target = "https://example.com/broken"
    broken = panel.run([site("known.test", redirect=target)], facts=known, fault="exception:before nginx.config_tree")
    first = next(line for line in broken.lines if line["failed"])
    assert broken.code != 0 and first["task"] == "Converge what belongs to tenants" and not first["check"]
    assert panel.run([site("known.test", redirect=target)], facts=known).code == 0
    assert panel.host.http_get("known.test")[1]["location"] == target


def test_digests_are_told_to_the_node_itself_only(panel: Panel) -> None:
    inside = panel.host.run("curl -sI -H 'Host: steady.test' http://127.0.0.1/").stdout.lower()
    assert "x-wcp360-site: steady.test:" in inside and "x-wcp360-generation: " in inside
    assert not [name for name in panel.host.http_get("steady.test")[1] if name.startswith("x-wcp360")]


@pytest.mark.parametrize("step", ["config_tree", "instances", "http_probe"])
def test_a_run_killed_before_a_step_is_completed_by_the_next(panel: Panel, step: str) -> None:
    target = f"https://example.com/{step}"
    killed = panel.run([site("moving.test", redirect=target)], fault=f"kill:before nginx.{step}")
    assert killed.code != 0
    assert panel.host.run("nginx -t -q").returncode == 0
    # Modules outlive Ansible; the node's lock keeps the next run from working at the same time.
    done = panel.run([site("moving.test", redirect=target)])
    assert done.code == 0 and not done.failed(), done.output
    assert panel.host.http_get("moving.test")[1]["location"] == target
    assert panel.run([site("moving.test", redirect=target)]).changes() == []


def test_the_configuration_passes_at_every_instant_while_runs_are_killed(panel: Panel) -> None:
    panel.host.run("rm -f /root/stop /root/refused /root/codes; cat > /root/watch.sh", stdin=WATCHER)
    panel.host.run("nohup sh /root/watch.sh >/dev/null 2>&1 & echo started")
    chance = random.Random(4711)
    try:
        for turn in range(5):
            sites = [site(f"k{number}.test", redirect=f"https://example.com/{turn}") for number in range(20)]
            command = panel.command(sites)
            with subprocess.Popen(
                command, env=panel.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as process:
                time.sleep(chance.uniform(1.0, 4.0))
                process.kill()
            # Ansible's workers have sessions of their own. What works on the node goes on.
            kill_all_of(panel.base)
        done = panel.run([site(f"k{number}.test", redirect="https://example.com/last") for number in range(20)])
    finally:
        panel.host.run("touch /root/stop")
    assert done.code == 0 and not done.failed(), done.output
    assert panel.host.run("cat /root/refused || true").stdout == ""
    assert set(panel.host.run("cat /root/codes").stdout.split()) == {"200"}
    assert panel.host.http_get("k7.test")[1]["location"] == "https://example.com/last"
    left = panel.host.run("find /etc/nginx/wcp360 -name '.staging-*'; find /tmp -name 'wcp360-check-*'").stdout
    assert left == ""


def test_one_bad_among_many_fails_alone(panel: Panel) -> None:
    panel.host.run("mkdir -p /etc/nginx/wcp360.d/b57.test && echo 'nonsense;' > /etc/nginx/wcp360.d/b57.test/x.conf")
    many, before = [site(f"b{number}.test") for number in range(100)], listing(panel.host)
    preview = panel.run(many, check=True)
    assert listing(panel.host) == before
    assert panel.host.run("find /tmp -name 'wcp360-check-*'").stdout == ""
    done = panel.run(many)
    assert done.code == 0
    assert list(done.failed()) == ["domain:b57.test"]
    assert preview.code == 0 and untimed(preview.failed(check=True)) == untimed(done.failed())
    assert "/etc/nginx/wcp360.d/b57.test/x.conf" in done.failed()["domain:b57.test"]
    assert panel.host.http_get("b57.test")[0] == 404
    assert panel.host.http_get("b99.test")[0] == 200
    gone = panel.run([site(f"b{number}.test", state="absent", purge=True) for number in range(100)])
    assert not gone.failed(), gone.output
    assert panel.host.run("ls /home/acme/web /var/log/wcp360/nginx | grep '^b' || true").stdout == ""


def test_a_link_planted_in_the_web_directory_is_not_followed(panel: Panel) -> None:
    panel.host.run("ln -s /etc /home/acme/web/planted.test && chown -h acme /home/acme/web/planted.test")
    done = panel.run([site("planted.test"), site("unplanted.test")])
    assert list(done.failed()) == ["domain:planted.test"]
    assert "/home/acme/web/planted.test" in done.failed()["domain:planted.test"]
    assert panel.host.http_get("planted.test")[0] == 404
    assert panel.host.http_get("unplanted.test")[0] == 200


def test_a_tenant_reads_its_own_log_and_cannot_list_the_domains(panel: Panel) -> None:
    done = panel.run([site("steady.test"), site("closed.test", state="suspended")])
    assert not done.failed(), done.output
    assert panel.host.http_get("steady.test")[0] == 200
    status, _, page = panel.host.http_get("closed.test")
    assert status == 503 and "suspended" in page
    as_tenant = "setpriv --reuid 20000 --regid 20000 --clear-groups"
    time.sleep(1)  # lines are brought to the site's log by a service
    assert "200" in panel.host.run(f"{as_tenant} cat /var/log/wcp360/nginx/steady.test/access.log").stdout
    tree = "/etc/nginx/wcp360"
    for refused in (
        "ls /var/log/wcp360/nginx",
        f"ls {tree}",
        f"ls {tree}/generations",
        f"ls {tree}/current/",
        f"ls {tree}/current/sites",
        f"cat {tree}/current/sites/steady.test.conf",
    ):
        assert panel.host.run(f"{as_tenant} {refused}", check=False).returncode != 0, refused


def test_only_the_packages_own_default_site_is_taken(panel: Panel) -> None:
    default = "/etc/nginx/sites-enabled/default"
    record = json.dumps({"names": ["nginx"], "installed": {"nginx": "1"}})
    kept = panel.host.run("cat /var/lib/wcp360/packages/nginx.json").stdout
    panel.host.run("cat > /var/lib/wcp360/packages/nginx.json", stdin=record)
    try:
        panel.host.run(f"echo 'server {{ listen 8080; }}' > {default}")
        done = panel.run([site("steady.test")], server=True)
        assert done.code == 0 and not done.failed(), done.output
        assert panel.host.run(f"cat {default}").stdout == "server { listen 8080; }\n"
        panel.host.run(f"ln -sf /etc/nginx/sites-available/default {default}")
        done = panel.run([site("steady.test")], server=True)
        assert done.code == 0 and not done.failed(), done.output
        assert panel.host.run(f"ls {default} || true").stdout == ""
    finally:
        panel.host.run(f"rm -f {default}; cat > /var/lib/wcp360/packages/nginx.json", stdin=kept)


def test_a_removal_killed_before_the_reload_is_completed_by_the_next(panel: Panel) -> None:
    assert panel.host.http_get("steady.test")[0] == 200
    preview = panel.run([], server="absent", check=True)
    killed = panel.run([], server="absent", kill_at="Have an Nginx that was here before us drop the sites")
    assert killed.code == -9
    assert panel.host.http_get("steady.test")[0] == 200
    again = panel.run([], server="absent", check=True)
    done = panel.run([], server="absent")
    for run in (preview, again, done):
        assert run.code == 0 and not run.failed(), run.output
        reloads = [
            line for line in run.lines if line.get("task", "").startswith("Have an Nginx that was here before us")
        ]
        assert {line["changed"] for line in reloads} == {True}
    # With Debian's default site taken out nothing is left that Nginx would listen for.
    assert panel.host.run("curl -sI -H 'Host: steady.test' http://127.0.0.1/ || true").stdout == ""
    assert panel.host.run("systemctl is-active nginx").stdout == "active\n"
    last = panel.run([], server="absent")
    assert last.code == 0 and last.changes() == []
    assert not [line for line in last.lines if line.get("changed")]
