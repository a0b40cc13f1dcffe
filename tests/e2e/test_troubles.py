"""A server in trouble: killed runs, refused configurations, no connection, full disks, wrong clocks, here and there.

A watcher on the node sees a whole configuration and a served neighbour at every instant. What waits says for what, and
is done when the cause is gone. `make soak` does more of each; WCP360_SEED draws others.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.e2e.conftest import node_create
from tests.e2e.panel import Panel, wait_for
from tests.e2e.test_crashes import WRITING_PHP
from tests.hosts.fixtures import Host
from tests.hosts.testhosts.engine import find_engine
from tests.soak import LONGER_IN_SOAK, SOAK

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(3 * 3600), *LONGER_IN_SOAK]
SEED = os.environ.get("WCP360_SEED", "4711")
KILLS, INVALID, LOST, TROUBLES = (100, 50, 20, 10) if SOAK else (5, 5, 5, 1)
NUMBERS = itertools.count(1)
TREE = "/etc/nginx/wcp360"
PERIOD = 0.05
SLOWEST_PACE = 2.0
# How much later than its time a program is woken on a busy machine.
LATE = 0.05
# Each kind of look goes on by itself: one after the other, the next after the period or, where it took longer, at once.
# What is checked is given by name, for a list of files may be older than the link that they are reached by.
WATCHER = """
import http.client, itertools, json, os, subprocess, sys, threading, time

PERIOD, POOLS = float(sys.argv[1]), itertools.cycle(sys.argv[2:])


def checked(*argv, silent=False):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode(errors="replace") or "no word" if done.returncode or (silent and done.stdout) else "well"


def nginx():
    return checked("nginx", "-t", "-q", silent=True)


def php():
    return checked("php-fpm8.2", "-t", "--fpm-config", f"/etc/wcp360/php/current/{next(POOLS)}.conf")


def page():
    link = http.client.HTTPConnection("127.0.0.1", 80, timeout=15)
    try:
        link.request("GET", "/", headers={"Host": "steady.test"})
        status = link.getresponse().status
        return "well" if status == 200 else str(status)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        link.close()


def keep_looking(look, seen):
    while not os.path.exists("/root/stop"):
        begun = time.monotonic()
        said = look()
        took = time.monotonic() - begun
        seen.append([took, said])
        time.sleep(max(0.0, PERIOD - took))


looks = {"nginx -t": nginx, "php-fpm -t": php, "a page": page}
seen = {what: [] for what in looks}
threads = [threading.Thread(target=keep_looking, args=(looks[what], seen[what])) for what in looks]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with open("/root/looks", "w") as file:
    json.dump(seen, file)
os.unlink("/root/stop")
"""
KILL_POINTS = (
    "item.before_step",
    "before nginx.config_tree",
    "tree.staged",
    "tree.before_swap",
    "tree.after_swap",
    "before nginx.instances",
    "instances.before_reload",
    "instances.after_reload",
    "before nginx.http_probe",
)
# The same when a pool's settings change. A pool that sleeps is not reloaded, so somebody has to ask for a page before.
PHP_POINTS = (
    *WRITING_PHP,
    "instances.before_reload",
    "instances.after_reload",
    "after php_fpm.instances",
)
# Between the moment in which a configuration is written and the one in which the service reads it.
UNREAD = ("tree.after_swap", "after nginx.config_tree", "before nginx.instances", "instances.before_reload")


class World:
    """A panel whose state lies on a small disk, and a server with two tenants."""

    def __init__(self, panel: Panel, host: Host) -> None:
        self.panel, self.host = panel, host

    def sent(self, method: str, path: str, body: Any = None) -> str:
        """Return the id of an accepted change."""
        status, answer = self.panel.send(method, path, body, key=uuid.uuid4().hex)
        assert status == 202, answer
        return str(answer["id"])

    def succeeded(self, change: str) -> None:
        """Wait for a change, which has to succeed."""
        done = self.panel.ended(change, 400)
        assert done["status"] == "succeeded", done

    def move(self) -> tuple[str, str]:
        """Redirect the site that moves; returns the change and where it leads now."""
        target = f"https://example.com/{next(NUMBERS)}"
        return self.sent("PATCH", "/domains/moving.test", {"redirect": target}), target

    def tune(self) -> tuple[str, str]:
        """Change a PHP setting of the tenant that moves; returns the change and the setting's value."""
        assert self.runs_with().endswith("M")  # it is awake now, and the site answers
        limit = f"{100 + next(NUMBERS)}M"
        return self.sent("PATCH", "/tenants/moving", {"php_settings": {"memory_limit": limit}}), limit

    def runs_with(self) -> str:
        """Return the setting that the PHP of the tenant that moves has."""
        return self.host.http_get("tuned.test", "/limit.php")[2]

    def leads_to(self) -> str:
        """Return where the site that moves leads."""
        return str(self.host.http_get("moving.test")[1].get("location"))

    def waits(self, change: str, *words: str) -> None:
        """Wait until a change says what it waits for."""

        def look() -> bool:
            found = self.panel.send("GET", f"/changes/{change}")[1]
            assert found["status"] == "pending", found
            reasons = " ".join(entry["reason"] for entry in found["resources"])
            return any(word in reasons for word in words)

        wait_for(f"change {change} to wait for {words}\n{self.panel.tail()}", look, 120)

    def inside(self, script: str) -> None:
        """Run a shell line in the host without SSH."""
        subprocess.run(find_engine().argv("exec", self.host.name, "/bin/sh", "-ec", script), check=True, timeout=60)


@pytest.fixture(scope="module")
def world(own_host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    panel = Panel(tmp_path_factory.mktemp("t"))
    state = panel.directory / "state"
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=700", "tmpfs", str(state)], check=True)
    panel.environment |= {"WCP360_ENGINE__RETRY": "0.2", "WCP360_ENGINE__SWEEP": "0.5"}
    try:
        panel.run("init")
        panel.start()
        made = World(panel, own_host)
        node_create(panel, "web1", own_host)
        names = ["steady", "moving"]
        tenants = [{"operation": "tenant.create", "input": {"name": name, "node": "web1"}} for name in names]
        owners = {"steady.test": "steady", "moving.test": "moving", "tuned.test": "moving"}
        sites = [{"operation": "domain.create", "input": {"name": n, "tenant": of}} for n, of in owners.items()]
        made.succeeded(made.sent("POST", "/changes", {"operations": tenants + sites}))
        page = "<?php echo ini_get('memory_limit');"
        own_host.run("install -o moving -m 644 /dev/stdin /home/moving/web/tuned.test/public/limit.php", stdin=page)
        yield made
        panel.disarm()
        panel.delete_tenants()
    finally:
        panel.stop()
        subprocess.run(["umount", "-l", str(state)], check=True)


@contextlib.contextmanager
def watched(host: Host, tell: Callable[[str], None]) -> Iterator[None]:
    """Look all the time whether the configuration is whole and the neighbour served."""
    host.run("rm -f /root/stop /root/looks; cat > /root/watch.py", stdin=WATCHER)
    host.run(f"nohup python3 -I /root/watch.py {PERIOD} steady moving >/root/watch.log 2>&1 & echo started")
    begun = time.monotonic()
    try:
        yield
    finally:
        elapsed = time.monotonic() - begun
        host.run("touch /root/stop")
    wait_for("the watcher to end", lambda: host.run("test -e /root/stop", check=False).returncode == 1, 30)
    assert host.run("cat /root/watch.log").stdout == ""
    looks: dict[str, list[tuple[float, str]]] = json.loads(host.run("cat /root/looks").stdout)
    assert {f"{what}: {said}" for what, seen in looks.items() for _, said in seen if said != "well"} == set()
    tell(", ".join(f"{what} every {1000 * elapsed / len(seen):.0f} ms" for what, seen in looks.items()))
    for what, seen in looks.items():
        assert_without_pause(what, [took for took, _ in seen], elapsed)


def assert_without_pause(what: str, took: list[float], elapsed: float) -> None:
    """One look came after the other for all of the time, each after the period, or at once where it took longer."""
    due = elapsed / fmean(max(PERIOD, seconds) + LATE for seconds in took)
    assert len(took) > 0.9 * due, f"{what}: {len(took)} looks in {elapsed} seconds, where {due} were due"
    assert elapsed / len(took) < SLOWEST_PACE, f"{what}: what is wrong for a short time would not be seen"


def test_the_neighbour_is_served_while_runs_are_killed(world: World, tell: Callable[[str], None]) -> None:
    tell(f"seed {SEED}, {KILLS} kills")
    chance = random.Random(f"{SEED} kills")
    with watched(world.host, tell):
        for number in range(KILLS):
            if number % 2:
                killed_while_php_changes(world, chance.choice(PHP_POINTS))
            else:
                killed_while_a_site_changes(world, chance.choice(KILL_POINTS))


def killed_while_a_site_changes(world: World, point: str) -> None:
    """Kill what changes a site at a point; it has to come out all the same."""
    world.panel.arm(f"kill:{point}")
    change, target = world.move()
    if point == "item.before_step":  # a new site has steps before its configuration, a moved one has not
        change = world.sent("POST", "/domains", {"name": f"k{next(NUMBERS)}.test", "tenant": "moving"})
    comes_out(world, point, change)
    wait_for("the site to move", lambda: world.leads_to() == target, 60)


def killed_while_php_changes(world: World, point: str) -> None:
    """Kill what changes a pool's settings at a point; the running PHP has to have them all the same."""
    before = world.runs_with()
    world.panel.arm(f"kill:{point}")
    change, limit = world.tune()
    assert limit != before
    comes_out(world, point, change)
    assert world.runs_with() == limit


def comes_out(world: World, point: str, change: str) -> None:
    """Wait until a part was killed at a point, and its change done nevertheless."""
    done = world.panel.fault.with_suffix(".done")
    wait_for(f"a kill at {point} to happen\n{world.panel.tail()}", done.exists, 90)
    world.succeeded(change)


def test_the_neighbour_is_served_while_configurations_are_refused(world: World, tell: Callable[[str], None]) -> None:
    tell(f"{INVALID} invalid configurations")
    foreign = "server { listen 80; server_name foreign.test; }"
    own = "/etc/nginx/wcp360.d/{}/x.conf"
    faulty = [
        (own, "nonsense;", "x.conf"),
        (own, "location / {", "x.conf"),
        (own, "ssl_certificate /does/not/exist;", "/does/not/exist"),
        ("/etc/nginx/conf.d/foreign.conf", foreign, "foreign.conf"),
        (own, "return 200 $no_such_variable;", "no_such_variable"),
    ]
    with watched(world.host, tell):
        for number in range(INVALID):
            path, text, word = faulty[number % len(faulty)]
            name = "foreign.test" if text == foreign else f"bad{number}.test"
            file = path.format(name)
            world.host.run(f"mkdir -p {os.path.dirname(file)}; cat > {file}", stdin=text)
            done = world.panel.ended(world.sent("POST", "/domains", {"name": name, "tenant": "moving"}), 180)
            assert done["status"] == "failed", done
            assert word in str(done), done
            world.host.run(f"rm {file}")
            world.succeeded(world.sent("DELETE", f"/domains/{name}?purge=true"))


def test_a_reload_that_was_lost_is_made_up_for(world: World, tell: Callable[[str], None]) -> None:
    tell(f"{LOST} lost reloads")
    for number in range(LOST):
        world.panel.arm(f"kill:{UNREAD[number % len(UNREAD)]}")
        change, target = world.move()
        world.succeeded(change)
        assert world.panel.disarm(), "nothing was killed"
        assert world.leads_to() == target


def test_ssh_that_is_cut_in_the_middle_of_a_task_is_connected_again(world: World, tell: Callable[[str], None]) -> None:
    tell(f"seed {SEED}, {TROUBLES + 1} cuts")
    chance = random.Random(f"{SEED} cuts")
    for _ in range(TROUBLES + 1):
        world.panel.arm(f"cut:{chance.choice(KILL_POINTS[1:])}")
        change, target = world.move()
        world.succeeded(change)
        assert world.panel.disarm(), "nothing was cut"
        assert world.leads_to() == target


def test_a_node_that_is_away_before_in_and_after_a_run_is_waited_for(world: World, tell: Callable[[str], None]) -> None:
    tell(f"{TROUBLES} times each")
    for _ in range(TROUBLES):
        away(world)
        change, target = world.move()
        try:
            world.waits(change, "could not be reached")
        finally:
            back(world)
        world.succeeded(change)
        assert world.leads_to() == target
        # In a run: it goes when the run asks at the gate.
        world.panel.arm("cut:engine.at_gate")
        change, target = world.move()
        wait_for("the gate", world.panel.fault.with_suffix(".done").exists, 60)
        away(world)
        try:
            time.sleep(2)
        finally:
            back(world)
        world.succeeded(change)
        # After a run: what was done stays done.
        away(world)
        try:
            time.sleep(2)
            assert world.panel.send("GET", f"/changes/{change}")[1]["status"] == "succeeded"
        finally:
            back(world)
        assert world.leads_to() == target


def away(world: World) -> None:
    """Have the node answer no SSH, and cut what is connected."""
    world.inside("systemctl stop ssh.socket 2>/dev/null || true; systemctl stop ssh; pkill -KILL sshd || true")


def back(world: World) -> None:
    """Have the node answer SSH again."""
    world.inside("systemctl start ssh")


@contextlib.contextmanager
def small_disk(host: Host, path: str) -> Iterator[None]:
    """Put a directory on a disk of its own with 16 MiB."""
    host.run(f"rm -rf /root/small && cp -a {path} /root/small && mount -t tmpfs -o size=16m,mode=0755 tmpfs {path}")
    host.run(f"cp -a /root/small/. {path}/ && chmod --reference=/root/small {path}")
    try:
        yield
    finally:
        host.run(f"rm -f {path}/filler; rm -rf /root/small; cp -a {path} /root/small; umount -l {path}")
        host.run(f"find {path} -mindepth 1 -delete; cp -a /root/small/. {path}/; rm -rf /root/small")


def fill(host: Host, path: str) -> None:
    """Leave not a byte on the disk that a directory lies on."""
    host.run(f"dd if=/dev/zero of={path}/filler bs=4k 2>/dev/null || true")


def on_small_disk(world: World, path: str, ask: Callable[[], str], *words: str) -> None:
    """Have a change meet a full disk, then a read-only one."""
    for _ in range(TROUBLES):
        with small_disk(world.host, path):
            fill(world.host, path)
            change = ask()
            world.waits(change, *words)
            world.host.run(f"nginx -t -q && rm {path}/filler")
            world.succeeded(change)
            world.host.run(f"mount -o remount,ro {path}")
            change = ask()
            try:
                world.waits(change, "Read-only file system", "read-only")
            finally:
                world.host.run(f"nginx -t -q; mount -o remount,rw {path}")
            world.succeeded(change)
        assert world.host.http_get("steady.test")[0] == 200


def test_a_full_or_read_only_disk_of_the_configuration_is_waited_for(world: World, tell: Callable[[str], None]) -> None:
    tell(f"{TROUBLES} times each")
    on_small_disk(world, TREE, lambda: world.move()[0], "No space left", "is full")


def test_a_full_or_read_only_disk_of_the_homes_is_waited_for(world: World, tell: Callable[[str], None]) -> None:
    tell(f"{TROUBLES} times each")

    def ask() -> str:
        return world.sent("POST", "/domains", {"name": f"h{next(NUMBERS)}.test", "tenant": "moving"})

    on_small_disk(world, "/home", ask, "No space left", "is full")


def test_a_read_only_disk_of_the_accounts_is_waited_for(world: World, tell: Callable[[str], None]) -> None:
    tell(f"{TROUBLES} times")
    for _ in range(TROUBLES):
        name = f"late{next(NUMBERS)}"
        world.host.run("mount --bind /etc /etc && mount -o remount,bind,ro /etc")
        try:
            change = world.sent("POST", "/tenants", {"name": name, "node": "web1"})
            world.waits(change, "read-only", "Read-only")
        finally:
            world.host.run("umount -l /etc")
        world.succeeded(change)
        assert world.host.run(f"id -u {name}").stdout
        world.succeeded(world.sent("DELETE", f"/tenants/{name}?purge=true"))


def test_a_full_disk_of_the_panel_is_told_and_survived(world: World, tell: Callable[[str], None]) -> None:
    tell(f"{TROUBLES} times")
    state = world.panel.directory / "state"
    for _ in range(TROUBLES):
        filler, accepted, refused = state / "filler", [world.move()[0]], list[dict[str, Any]]()
        try:
            fill_here(filler)
            # SQLite's log has room for some more; what has none is refused, and what is acknowledged is kept.
            deadline = time.monotonic() + 120
            while len(refused) < 10 and time.monotonic() < deadline:
                body = {"redirect": f"https://example.com/{next(NUMBERS)}"}
                status, answer = world.panel._once("PATCH", "/api/v1/domains/moving.test", body, headers(world))
                assert status in (202, 503), (status, answer)
                if status == 202:
                    accepted.append(answer["id"])
                else:
                    refused.append(answer)
            tell(f"{len(accepted)} changes were accepted, {len(refused)} refused")
            assert refused, "the disk was never full"
            assert_the_cause_is_named(refused)
            time.sleep(2)
        finally:
            filler.unlink(missing_ok=True)
        for change in accepted:
            world.succeeded(change)
        change, target = world.move()
        world.succeeded(change)
        assert world.leads_to() == target
    assert world.panel.json("audit", "verify")["intact"] is True


def assert_the_cause_is_named(refused: list[dict[str, Any]]) -> None:
    """Each is a problem document that says that the disk is full, and that nothing was done."""
    for problem in refused:
        assert (problem["status"], problem["code"]) == (503, "unavailable"), problem
        assert "disk is full" in problem["detail"] and "Nothing was changed" in problem["detail"], problem


def headers(world: World) -> dict[str, str]:
    """Return what a client with the root token sends."""
    token = (world.panel.directory / "state" / "root.token").read_text(encoding="ascii").strip()
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def fill_here(filler: Any) -> None:
    """Leave not a byte on the panel's disk."""
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture(scope="module")
def wrong_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that has the programs that it is preloaded into see a wrong time of day."""
    library = tmp_path_factory.mktemp("clock") / "wrong_clock.so"
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


def test_a_clock_that_is_60_days_off_keeps_nothing_waiting(
    world: World, wrong_clock: Path, tell: Callable[[str], None]
) -> None:
    """The panel's clock is wrong while it works and while something waits, and right again when that is to be done."""
    tell(f"{TROUBLES} times each")
    panel = world.panel
    for days in (60, -60) * TROUBLES:
        panel.stop()
        panel.start({"LD_PRELOAD": str(wrong_clock), "WRONG_CLOCK": str(days * 86_400)})
        change, target = world.move()
        world.succeeded(change)
        assert world.leads_to() == target
        assert_made_in_a_wrong_time(panel, change, days)
        away(world)
        try:
            change, target = world.move()
            world.waits(change, "could not be reached")
            panel.stop()
        finally:
            back(world)
        panel.start()
        world.succeeded(change)
        assert world.leads_to() == target
    assert panel.json("audit", "verify")["intact"] is True


def assert_made_in_a_wrong_time(panel: Panel, change: str, days: int) -> None:
    """The API and the engine both had a clock that was that many days off."""
    made = panel.send("GET", f"/changes/{change}")[1]
    runs = [panel.send("GET", f"/runs/{run}")[1] for run in made["runs"]]
    assert runs, made
    wrong = datetime.now(UTC) + timedelta(days=days)
    for kept in (made["created"], made["finished"], *(run["created"] for run in runs)):
        assert abs(datetime.fromisoformat(kept) - wrong) < timedelta(hours=1), (days, kept)


def test_after_all_of_that_nothing_is_open(world: World) -> None:
    panel = world.panel
    wait_for("all changes to end", lambda: not panel.send("GET", "/changes?status=pending")[1]["items"], 120)
    wait_for(
        "all runs to be closed", lambda: not [r for r in panel.json("run", "list")["items"] if not r["finished"]], 30
    )
    assert world.host.run("find /etc -name '.staging-*'; find /tmp /run -name 'wcp360-check-*'").stdout == ""
