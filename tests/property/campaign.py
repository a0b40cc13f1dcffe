"""Runs sequences of operations on a real host: each as a dry run, then for real, seen from outside before and after."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

from tests.e2e.panel import Panel
from tests.e2e.test_main_job import desired_state
from tests.hosts.fixtures import Host
from tests.property import obstacles
from tests.property.drawing import DOMAINS, GENERATORS, NODE, TENANTS, Drawn, World, opening
from tests.property.effects import Comparison, Exclusion, Things, failures, told, unlike
from wcp360.cli.client import fill
from wcp360.core.operation import Operation
from wcp360.core.registry import Registry
from wcp360.core.routes import Carrier, route_of

OBSERVER = Path(__file__).with_name("observer.py")
WAIT_SECONDS = 300
# How often an operation has something in its way, and how many operations a sequence has besides its clearing up.
OBSTACLE_CHANCE = 0.35
API = "/api/v1"


class Eyes:
    """The independent observer on one host, over one kept connection."""

    def __init__(self, host: Host, directory: Path) -> None:
        self._ssh = host.ssh()
        options = ["-o", f"ControlPath={directory}/eyes", "-o", "ControlMaster=auto", "-o", "ControlPersist=600"]
        self._ssh[1:1] = options
        self.run("cat > /root/observer.py", OBSERVER.read_text(encoding="utf-8"))

    def run(self, command: str, stdin: str = "") -> str:
        """Run one shell line on the host; fails with what it printed."""
        done = subprocess.run(
            [*self._ssh, command], input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"`{command}` ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def look(self) -> Things:
        """Return everything that is there."""
        things: Things = json.loads(self.run("python3 -I /root/observer.py"))
        return things

    def close(self) -> None:
        """End the kept connection."""
        subprocess.run([*self._ssh[:-1], "-O", "exit", self._ssh[-1]], capture_output=True, check=False)


class Api:
    """A panel's API, by the routes that the registry has."""

    def __init__(self, panel: Panel, registry: Registry) -> None:
        self.panel, self.registry = panel, registry
        self._port = int(panel.environment["WCP360_API__PORT"])
        self._token = (Path(panel.environment["WCP360_STATE_DIR"]) / "root.token").read_text().strip()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request that waits for its outcome; return status and document."""
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT_SECONDS + 60)
        headers = {"Authorization": f"Bearer {self._token}", "Prefer": f"wait={WAIT_SECONDS}"}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            link.request(method, path, body=data, headers=headers)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            link.close()

    def get(self, path: str) -> Any:
        """Return a document that has to be there."""
        status, found = self.call("GET", f"{API}/{path}")
        assert status == 200, found
        return found

    def ask(self, drawn: Drawn, *, dry: bool) -> tuple[int, Any]:
        """Ask for an operation, for real or as a dry run."""
        route = route_of(self.registry.operation(drawn.operation))
        given = dict(drawn.input)
        path = fill(route.path, given.pop(route.key)) if route.key else route.path
        query = {"dry_run": "true"} if dry else {}
        if route.carrier is Carrier.QUERY:
            query |= {name: str(value).lower() for name, value in given.items()}
        path += f"?{urlencode(query)}" if query else ""
        return self.call(route.method, path, given if route.carrier is Carrier.BODY else None)

    def world(self, node: dict[str, Any]) -> World:
        """Return what there is."""
        changes = self.get("changes?limit=20")["items"]
        return World(
            node,
            {one["name"] for one in self.get("nodes?limit=100")["items"]},
            {one["name"]: one["state"] for one in self.get("tenants?limit=100")["items"]},
            {one["name"]: one["tenant"] for one in self.get("domains?limit=100")["items"]},
            {one["name"]: one["state"] for one in self.get(f"modules?node={NODE}")["items"]},
            [one["id"] for one in changes if one["status"] == "failed"],
            [one["id"] for one in changes],
            [one["id"] for one in self.get("previews?limit=5")["items"]],
        )


@dataclass
class Campaign:
    """Sequences on one host and one panel, and what was found out."""

    api: Api
    eyes: Eyes
    node: dict[str, Any]
    say: Callable[[str], None] = print
    counts: Counter[str] = field(default_factory=Counter)
    used: set[Exclusion] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def sequence(self, seed: str, length: int, obstacle_chance: float = OBSTACLE_CHANCE) -> list[str]:
        """Run one random sequence, and clear up after it by operations; return what was not as predicted."""
        rng, start = Random(seed), len(self.problems)
        self.say(f"sequence {seed}")
        in_the_way: list[obstacles.Obstacle] = []
        names = sorted(GENERATORS.names())
        self.step(opening(rng), through_preview=rng.random() < 0.5)
        for _ in range(length - 1):
            world = self.api.world(self.node)
            if world.tenants and rng.random() < obstacle_chance:
                obstacle = obstacles.draw(rng, world, TENANTS, DOMAINS)
                in_the_way.append(obstacle)
                self.say(f"  obstacle: {obstacle.name}")
                self.counts["obstacles"] += 1
                self.eyes.run(obstacle.make)
            self.step(GENERATORS.draw(rng, world, names), through_preview=rng.random() < 0.5)
        for obstacle in reversed(in_the_way):
            self.eyes.run(obstacle.clear)
        self.clear_up(rng)
        self.counts["sequences"] += 1
        return [f"sequence {seed}: {problem}" for problem in self.problems[start:]]

    def clear_up(self, rng: Random) -> None:
        """Leave nothing for the next sequence but the node and its modules."""
        world = self.api.world(self.node)
        if NODE not in world.nodes:
            self.step(Drawn("node.create", {**self.node, "name": NODE}), through_preview=False)
        there = [
            Drawn("tenant.delete", {"name": name, "purge": rng.random() < 0.5})
            for name in sorted(world.tenants)
            if world.tenants[name] != "absent"
        ]
        if there:
            members = [{"operation": drawn.operation, "input": drawn.input} for drawn in there]
            self.step(Drawn("change.create", {"operations": members}), through_preview=rng.random() < 0.5)
        left = self.api.world(self.node)
        for change in left.failed if left.tenants else ():
            self.api.ask(Drawn("change.retry", {"id": change}), dry=False)
        left = self.api.world(self.node)
        if left.tenants:
            self.problems.append(f"not cleared up: {left.tenants}")
        for name, state in left.modules.items():
            if state == "disabled":
                self.step(Drawn("module.enable", {"name": name, "node": NODE}), through_preview=False)
        self.eyes.run("rm -rf /home/.wcp360-trash/*")

    def step(self, drawn: Drawn, *, through_preview: bool) -> None:
        """Run one operation dry and for real, and compare."""
        start = time.monotonic()
        found = _Step(self, drawn, through_preview).run()
        self.counts[drawn.operation] += 1
        verdict = "as predicted" if not found else f"{len(found)} DIFFERENCES"
        self.say(f"  {time.monotonic() - start:5.1f} s  {drawn.operation} {json.dumps(_short(drawn.input))}: {verdict}")
        for problem in found:
            self.say(f"      {problem}")
            self.problems.append(f"{drawn.operation} {json.dumps(drawn.input)}: {problem}")


class _Step:
    """One operation: observed, dry, observed, for real, observed."""

    def __init__(self, campaign: Campaign, drawn: Drawn, through_preview: bool) -> None:
        self._campaign, self._drawn, self._through = campaign, drawn, through_preview
        self._api, self._eyes = campaign.api, campaign.eyes
        self.problems: list[str] = []

    def run(self) -> list[str]:
        """Return what was not as predicted."""
        before, state = self._eyes.look(), desired_state(self._api.panel)
        status, preview = self._api.ask(self._drawn, dry=True)
        between = self._eyes.look()
        if desired_state(self._api.panel) != state:
            self.problems.append("the dry run changed desired state")
        moved = unlike(before, between, self._campaign.used)
        self.problems += [f"the dry run changed {name}: {before.get(name)} -> {between.get(name)}" for name in moved]
        if status >= 400:
            self._refused(status, preview)
        elif preview["status"] != "succeeded":
            self.problems.append(f"the dry run failed: {preview['reason']}")
        else:
            self._for_real(preview, between)
        return self.problems

    def _refused(self, status: int, problem: dict[str, Any]) -> None:
        self._campaign.counts["refused at the door"] += 1
        again, answer = self._api.ask(self._drawn, dry=False)
        if (again, answer.get("code"), answer.get("detail")) != (status, problem.get("code"), problem.get("detail")):
            self.problems.append(f"the dry run was refused with {problem}, the operation answered {again} {answer}")

    def _for_real(self, preview: dict[str, Any], before: Things) -> None:
        foreseen = failures(preview["items"])
        status, change = self._submit(preview, bool(foreseen))
        if status >= 400:
            self.problems.append(f"accepted as a dry run, refused for real: {status} {change}")
            return
        if change["status"] == "pending":
            self.problems.append(f"the change is still pending: {change['reason']}")
            return
        runs = [self._api.get(f"runs/{run}") for run in change["runs"]]
        items = [item for run in runs for item in run["items"]]
        after = self._eyes.look()
        comparison = Comparison(preview["items"], before, after, self._campaign.used)
        self.problems += comparison.run()
        self._campaign.counts["things compared"] += len(comparison.changed)
        self._compare_items(preview["items"], items)
        if (change["status"] == "failed") != bool(foreseen):
            self.problems.append(f"foreseen to fail was {foreseen}, the change {change['status']}: {change['reason']}")
        self._campaign.counts["failed as foreseen" if foreseen else "succeeded"] += 1

    def _submit(self, preview: dict[str, Any], fails: bool) -> tuple[int, Any]:
        if not self._through or self._drawn.operation == "preview.apply":
            return self._api.ask(self._drawn, dry=False)
        self._campaign.counts["through preview apply"] += 1
        status, answer = self._api.ask(Drawn("preview.apply", {"id": preview["id"]}), dry=False)
        if not fails:
            return status, answer
        if answer.get("code") != "preview_failed":
            self.problems.append(f"a preview that fails was applied: {status} {answer}")
        return self._api.ask(self._drawn, dry=False)

    def _compare_items(self, predicted: list[dict[str, Any]], done: list[dict[str, Any]]) -> None:
        wanted, found = told(predicted), told(done)
        self.problems += [f"predicted, but not reported: {row}" for row in wanted if row not in found]
        self.problems += [f"reported, but not predicted: {row}" for row in found if row not in wanted]
        foreseen, failed = failures(predicted), failures(done)
        reported = {name: reason for name, reason in foreseen.items() if name in failed or not _left_out(reason)}
        if reported != failed:
            self.problems.append(f"predicted failures {reported}, reported ones {failed}")


def _left_out(reason: str) -> bool:
    """Tell whether something fails without a run: for what it needs, or because it was refused as it is."""
    return reason.startswith(("skipped: ", "it is unchanged and was refused before "))


def _short(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value if len(str(value)) < 300 else "…" for key, value in given.items()}


def operations(registry: Registry) -> list[Operation]:
    """Return everything that is declared."""
    return list(registry)
