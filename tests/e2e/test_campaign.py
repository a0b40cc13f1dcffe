"""Killed at random under twenty clients, nothing accepted is lost, and the server ends as after a quiet day.

WCP360_CAMPAIGN_KILLS kills (10; 2,000 in `make soak`, in parts with servers of their own) hit the API's worker, the
engine, ansible-playbook, SSH and the module on the node in turn. Afterwards the same operations are done one after the
other on a second, undisturbed server, and both servers are compared. WCP360_SEED repeats what was drawn; what a kill
hits depends on the moment.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import node_create
from tests.e2e.panel import Panel, descendants, wait_for
from tests.hosts.fixtures import Host
from tests.soak import DEADLINE, LONGER_IN_SOAK, PARTS, SOAK, skip_when_time_is_up
from wcp360.engine.remnants import marked

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(8 * 3600), *LONGER_IN_SOAK]
KILLS = int(os.environ.get("WCP360_CAMPAIGN_KILLS", "2000" if SOAK else "10"))
SEED = os.environ.get("WCP360_SEED", "4711")
CLIENTS = 20
VICTIMS = ("api", "engine", "ansible-playbook", "ssh", "module")
# A module is Python that reads its program from SSH: no other has so short an argument list.
KILL_MODULE = """
for pid in $(pgrep -x python3); do
    [ "$(tr '\\0' ' ' </proc/$pid/cmdline)" = "/usr/bin/python3 " ] && kill -KILL $pid && echo $pid
done
true
"""
SHOW = "ps -o pid,ppid,lstart,stat,wchan:30,args -p $pid; ls -l /proc/$pid/fd"
# What differs between two servers that were treated alike: logs' contents, older generations, who waits for requests.
# Changes that wait together are done as one. So it is chance whether a site was made before its PHP was switched, which
# decides the page that it comes with, and whether a tenant had a pool that came into the trash.
PAGE = re.compile(r"(/home/[^/]+/web/[^/]+/public/index\.)(?:html|php)", re.ASCII)
NOISE = re.compile(
    r"/var/log/wcp360/.*|/var/log/(syslog|auth\.log|nginx/.*)|process .*|unit wcp360-.*|.*/generations(/.*)?"
    r"|/root/.*|/etc/[^/]+/wcp360[^/]*/generations/.*|/var/(lib|log)/wcp360/\w+/\.trash",
    re.ASCII,
)
OBSERVER = Path(__file__).parents[1] / "property" / "observer.py"
# Which of these is awake is chance: a pool sleeps until somebody asks, and its slice is up while it holds any process.
ON_DEMAND = re.compile(r"unit wcp360-(php@[a-z0-9]+\.service|[a-z0-9]+\.slice)", re.ASCII)
# Every site gets these two beside the page that it came with, which is one or the other by chance (see above).
PAGES = """
for directory in /home/*/web/*/public; do
    [ -d $directory ] || continue
    echo static >$directory/look.html
    echo '<?php echo "r", "un";' >$directory/look.php
    chown --reference=$directory $directory/look.html $directory/look.php
done
"""
GENERATION = r"""
find /etc/nginx/wcp360/current/ -name '*.conf' -exec \
    sed -n '/^map $wcp360_local $wcp360_generation/,/^}/s/^ *1 "\(.*\)";$/\1/p' {} +
"""


@dataclass
class Side:
    """A panel with a server of its own."""

    panel: Panel
    host: Host
    before: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the clients' tenants, always in the same order: their numbers are part of what is compared."""
        self.panel.environment |= {"WCP360_ENGINE__RETRY": "0.2", "WCP360_ENGINE__SWEEP": "0.5"}
        self.panel.run("init")
        self.panel.start()
        node_create(self.panel, "web1", self.host)
        self.before = self.host.snapshot()
        names = [f"t{number:02}x" for number in range(CLIENTS)]
        tenants = [{"operation": "tenant.create", "input": {"name": name, "node": "web1"}} for name in names]
        # The first site brings the web server along, which takes longer than all that is done under fire.
        first = {"operation": "domain.create", "input": {"name": "first.test", "tenant": names[0]}}
        made = self.sent("POST", "/changes", {"operations": [*tenants, first]}, "tenants")
        assert self.done(made)["status"] == "succeeded"

    def sent(self, method: str, path: str, body: Any, key: str) -> str:
        """Return the id of the change that a request was acknowledged with."""
        status, answer = self.panel.send(method, path, body, key=key, seconds=180)
        assert status == 202, (method, path, status, answer)
        return str(answer["id"])

    def done(self, change: str) -> dict[str, Any]:
        """Wait for a change to end."""
        return self.panel.ended(change, 600)

    def difference(self) -> dict[str, tuple[str, str]]:
        """Return what is other than before the first tenant came."""
        after = self.host.snapshot()
        paths = {path for path in self.before.keys() | after.keys() if not NOISE.fullmatch(path)}
        pairs = {path: (self.before.get(path, ""), after.get(path, "")) for path in paths}
        found = {path: pair for path, pair in pairs.items() if pair[0] != pair[1] and not path.endswith("/current")}
        found = dict(_without_chance(path, pair) for path, pair in found.items())
        return found | {path: ("", text) for path, text in self._configuration().items()}

    def answers(self, names: Iterable[str]) -> dict[str, tuple[object, ...]]:
        """Return what sites answer from outside to a static page and to PHP: status, where it leads, kind of body."""
        self.host.run(PAGES)
        return {f"{name}{path}": self._answer(name, path) for name in names for path in ("/look.html", "/look.php")}

    def _answer(self, name: str, path: str) -> tuple[object, ...]:
        try:
            status, headers, body = self.host.http_get(name, path)
        except (OSError, http.client.HTTPException) as error:
            return (type(error).__name__,)
        return status, headers.get("location", ""), body.strip() if body.strip() in ("static", "run") else "another"

    def services(self) -> dict[str, dict[str, str]]:
        """Return units, and the generations that Nginx and PHP have loaded, as the independent observer sees them."""
        seen = self.host.run("python3 -I -", stdin=OBSERVER.read_text(encoding="utf-8")).stdout
        things: dict[str, dict[str, str]] = json.loads(seen)
        return {name: thing for name, thing in things.items() if name.startswith(("unit ", "loaded "))}

    def _configuration(self) -> dict[str, str]:
        """Return the files of the current generations; a tree's own record also says how it was checked last."""
        script = "for t in $(find /etc -name current -type l); do find $t/ -type f ! -name .manifest.json "
        script += "-exec stat -c '%n %a %U %G' {} + -exec sha256sum {} +; done | sort"
        return {line: "" for line in self.host.run(script).stdout.splitlines()}


def _without_chance(path: str, pair: tuple[str, str]) -> tuple[str, tuple[str, str]]:
    page = PAGE.fullmatch(path)
    return (page[1], ("", "")) if page else (path, pair)


class Client(threading.Thread):
    """Sends one tenant's operations, each under a key of its own, and waits for every other one."""

    def __init__(
        self, number: int, side: Side, over: threading.Event, said: list[tuple[str, str, Any]], seed: str
    ) -> None:
        super().__init__(name=f"client {number}")
        self.tenant, self.side, self.over, self.said = f"t{number:02}x", side, over, said
        self.chance = random.Random(f"{seed} client {number}")
        self.domains: list[str] = []
        self.made = 0
        self.suspended = False
        self.changes: list[str] = []
        self.error = ""

    def run(self) -> None:
        """Work until the killing is over."""
        try:
            while not self.over.is_set() or not self.changes:
                request = self.request()
                change = self.side.sent(*request, key=f"{self.tenant}-{len(self.changes)}")
                self.said.append(request)
                self.changes.append(change)
                if self.chance.random() < 0.5:
                    self.side.done(change)
                self.over.wait(self.chance.uniform(0, 1))
        except BaseException as error:  # told to the test, which fails by it
            self.error = f"{self.tenant}: {error!r}"

    def request(self) -> tuple[str, str, Any]:
        """Draw the next operation: one that is allowed as things stand."""
        draw = self.chance.random()
        if self.suspended or (draw < 0.1 and self.domains):
            self.suspended = not self.suspended
            return "POST", f"/tenants/{self.tenant}/{'suspend' if self.suspended else 'unsuspend'}", {}
        if draw < 0.3 and len(self.domains) > 1:
            return "DELETE", f"/domains/{self.domains.pop(0)}?purge=true", None
        if draw < 0.6 and self.domains:
            change = self.chance.choice(
                [{"php": self.chance.random() < 0.5}, {"redirect": f"https://example.com/{self.made}"}]
            )
            return "PATCH", f"/domains/{self.chance.choice(self.domains)}", change
        self.made += 1
        self.domains.append(f"d{self.made}.{self.tenant}.test")
        return "POST", "/domains", {"name": self.domains[-1], "tenant": self.tenant}


class Killer:
    """Kills one part after the other, and starts the server again where it has given up."""

    def __init__(self, side: Side, seed: str) -> None:
        self.side, self.chance = side, random.Random(f"{seed} killer")
        self.killed: Counter[str] = Counter()

    def work(self) -> None:
        """Kill as often as asked, every kind of victim equally often."""
        order = [VICTIMS[number % len(VICTIMS)] for number in range(KILLS // PARTS)]
        self.chance.shuffle(order)
        for number, victim in enumerate(order):
            if time.monotonic() > DEADLINE:
                break
            if number % len(VICTIMS) == 0:
                self.let_something_end()
            time.sleep(self.chance.uniform(0.1, 4))
            wait_for(f"a living {victim} to kill", lambda victim=victim: self.kill(victim), 900)
            self.killed[victim] += 1
            if number % 50 == 49:
                print(f"{number + 1} kills: {dict(self.killed)}", flush=True)

    def let_something_end(self) -> None:
        """Wait for a change that goes well, however slow the machine is.

        What is broken each time pauses longer and longer, up to minutes, and clients would wait for it in vain.
        """
        before = self.succeeded()
        wait_for("a change that goes well", lambda: self.succeeded() > before, 900)

    def succeeded(self) -> int:
        """Return how many changes went well."""
        path = f"file:{self.side.panel.environment['WCP360_STATE_DIR']}/wcp360.db?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM change WHERE status = 'succeeded'").fetchone()
        return int(count)

    def kill(self, victim: str) -> bool:
        """Kill one process of a kind; tells whether there was one."""
        panel = self.side.panel
        assert panel.process is not None
        if panel.process.poll() is not None or (self.killed["engine"] % 6 == 5 and victim == "engine"):
            panel.stop()  # a server whose engine dies eight times in a row gives up; an administrator starts it again
            panel.start()
        if victim == "module":
            return bool(self.side.host.run(KILL_MODULE).stdout)
        found = self.processes(victim)
        with contextlib.suppress(ProcessLookupError):
            if found:
                os.kill(self.chance.choice(found), signal.SIGKILL)
                return True
        return False

    def processes(self, victim: str) -> list[int]:
        """Return the living processes of a kind."""
        panel = self.side.panel
        state = panel.environment["WCP360_STATE_DIR"]
        if victim in ("api", "engine"):
            assert panel.process is not None
            mine = [pid for pid in descendants(panel.process.pid) if f"children {victim}" in command(pid)]
            return mine[-1:] if victim == "api" else mine[:1]
        if victim == "ansible-playbook":  # by its name: a warm one shows its parent's command line
            return [found.pid for found in marked(Path(state)) if name_of(found.pid) == victim[:15]]
        every = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in every if all(mark in command(pid) for mark in ("ssh ", f"{state}/cp/"))]


def name_of(pid: int) -> str:
    """Return a process's name, of which the kernel keeps 15 characters."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""


def command(pid: int) -> str:
    """Return a process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.fixture
def sides(new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    skip_when_time_is_up()
    made = tuple(Side(Panel(tmp_path_factory.mktemp("p")), new_host(image="full")) for _ in range(2))
    try:
        with ThreadPoolExecutor(len(made)) as pool:
            list(pool.map(Side.prepare, made))
        yield made[0], made[1]
    finally:
        for side in made:
            side.panel.stop()
            side.host.remove()


@pytest.mark.parametrize("part", range(PARTS))
def test_a_campaign_of_kills_ends_like_a_quiet_day(
    sides: tuple[Side, Side], tell: Callable[[str], None], tally: Callable[[Mapping[str, int]], None], part: int
) -> None:
    tell(f"seed {SEED}, {CLIENTS} clients")
    disturbed, quiet = sides
    said = disturb(disturbed, f"{SEED}-{part}", tally)
    for number, request in enumerate(said):
        last = quiet.sent(*request, key=f"quiet-{number}")
        if number % 100 == 99:
            quiet.done(last)
    assert_all_ended(quiet)
    assert_nothing_left(disturbed)
    here, there = disturbed.difference(), quiet.difference()
    apart = {path: (here.get(path), there.get(path)) for path in here.keys() | there.keys()}
    assert {path: pair for path, pair in apart.items() if pair[0] != pair[1]} == {}
    assert_both_serve_alike(disturbed, quiet, said)


def assert_both_serve_alike(disturbed: Side, quiet: Side, said: list[tuple[str, str, Any]]) -> None:
    """Every site that ever was answers alike, the same units are up, and what runs has loaded what is written."""
    names = ["first.test", *(body["name"] for _, path, body in said if path == "/domains")]
    here, there = disturbed.answers(names), quiet.answers(names)
    assert {name: (here[name], there[name]) for name in here if here[name] != there[name]} == {}
    assert {(200, "", "static"), (200, "", "run")} <= set(here.values()), Counter(here.values())
    seen = [side.services() for side in (disturbed, quiet)]
    assert units_up(seen[0]) == units_up(seen[1])
    for side, services in zip((disturbed, quiet), seen, strict=True):
        assert_written_is_loaded(side, services)


def units_up(services: dict[str, dict[str, str]]) -> set[str]:
    """Return the units that are up: each tenant's PHP socket among them, but not what comes and goes on demand."""
    return {name for name, thing in services.items() if thing.get("active") == "up" and not ON_DEMAND.fullmatch(name)}


def assert_written_is_loaded(side: Side, services: dict[str, dict[str, str]]) -> None:
    """No reload was lost: Nginx and every PHP that is awake answer with the generation that is on disk."""
    assert services["loaded nginx"]["generation"] == side.host.run(GENERATION).stdout.strip() != ""
    pools = {name: thing for name, thing in services.items() if name.startswith("loaded php-")}
    assert {name: thing for name, thing in pools.items() if thing["generation"] != thing["written"]} == {}
    assert pools, "no PHP was awake to be asked"


def disturb(side: Side, seed: str, tally: Callable[[Mapping[str, int]], None]) -> list[tuple[str, str, Any]]:
    """Have the clients work while parts are killed; returns what was acknowledged, in order."""
    over, said = threading.Event(), list[tuple[str, str, Any]]()
    clients = [Client(number, side, over, said, seed) for number in range(CLIENTS)]
    killer = Killer(side, seed)
    for client in clients:
        client.start()
    try:
        killer.work()
    finally:
        over.set()
        for client in clients:
            client.join(900)
    assert [client.error for client in clients if client.error] == []
    changes = [change for client in clients for change in client.changes]
    ended = Counter(side.done(change)["status"] for change in changes)
    tally({f"killed {victim}": number for victim, number in killer.killed.items()} | dict(ended))
    assert set(ended) == {"succeeded"}, [
        side.done(change) for change in changes if side.done(change)["status"] != "succeeded"
    ]
    return said


def assert_all_ended(side: Side) -> None:
    """Wait until nothing is pending, and see that nothing failed."""

    def open_changes() -> list[Any]:
        return list(side.panel.send("GET", "/changes?status=pending&limit=1")[1]["items"])

    wait_for("all changes to end", lambda: not open_changes(), 900)
    assert side.panel.send("GET", "/changes?status=failed&limit=1")[1]["items"] == []


def assert_nothing_left(side: Side) -> None:
    """No run is open, no lease is held, and no process works on, here or there."""
    assert_all_ended(side)
    state = Path(side.panel.environment["WCP360_STATE_DIR"])
    with contextlib.closing(sqlite3.connect(f"file:{state}/wcp360.db?mode=ro", uri=True)) as database:
        runs = "SELECT count(*) FROM run WHERE status IN ('queued', 'running')"
        wait_for("the last run to be closed", lambda: database.execute(runs).fetchone() == (0,), 30)
        wait_for("leases to be given back", lambda: not database.execute("SELECT name FROM lease").fetchall(), 30)
    wait_for("runs' directories to go", lambda: not list((state / "runs").iterdir()), 30)
    # A module whose caller was killed ends when it has predicted, or has the lock and sees that nobody waits for it.
    working = KILL_MODULE.replace("kill -KILL $pid", f"({SHOW})")
    with contextlib.suppress(AssertionError):
        wait_for("modules to end", lambda: not side.host.run(working).stdout, 10)
    assert side.host.run(working).stdout == ""
    left = "find /etc -name '.staging-*'; find /tmp /run -name 'wcp360-check-*'; find /run/wcp360 -name node.lock"
    assert side.host.run(f"{left} 2>/dev/null || true").stdout == ""
    assert side.host.run("nginx -t -q", check=False).returncode == 0
    assert side.panel.json("audit", "verify")["intact"] is True
