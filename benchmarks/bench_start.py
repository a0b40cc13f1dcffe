"""How long a run takes around what it does: plain and warm, with and without a module, payloads kept or not.

``python benchmarks/bench_start.py [HOST.json]`` runs playbooks of its own over SSH, through ansible-runner as the
engine does. The ways take turns, so that what else runs on the machine hits all of them. HOST.json is what
``hosts.py up --json`` printed; without it a host is started and removed.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import about, note
from wcp360.core.ids import new_id
from wcp360.engine.consumer import _prepare
from wcp360.engine.payloads import FOLDER
from wcp360.engine.runner import Executor, find_ansible_playbook, run_environment
from wcp360.engine.warm import Warm

TURNS = int(os.environ.get("WCP360_BENCH_TURNS", "10"))
HOST = "wcp360-bench-start"
PLAYS = {
    "no task": "tasks: []",
    "one small module (`node_facts`)": "tasks: [{wcp360.hosting.node_facts: }]",
    "the module that runs do their work with (`steps`), without a step": "tasks: [{wcp360.hosting.steps: {steps: []}}]",
}
WAYS = ("plain, payload built", "plain", "warm")


@contextmanager
def host() -> Iterator[dict[str, Any]]:
    """Yield a host as hosts.py describes it."""
    if len(sys.argv) > 1:
        yield json.loads(Path(sys.argv[1]).read_text())
        return
    hosts = [sys.executable, str(ROOT / "tests/hosts/hosts.py")]
    try:
        up = subprocess.run([*hosts, "up", HOST, "--image", "bare", "--json"], stdout=subprocess.PIPE, check=True)
        yield json.loads(up.stdout)
    finally:
        subprocess.run([*hosts, "down", HOST], stdout=subprocess.DEVNULL, check=False)


def collection(base: Path) -> Path:
    """Make a collection of ours with other playbooks."""
    made = base / "collection"
    (made / "playbooks").mkdir(parents=True)
    for name in ("plugins", "roles", "meta", "galaxy.yml"):
        (made / name).symlink_to(ROOT / name)
    for number, tasks in enumerate(PLAYS.values()):
        text = f"- hosts: all\n  gather_facts: false\n  {tasks}\n"
        (made / "playbooks" / f"{number}.yml").write_text(text)
    return made


def timed(executor: Executor, node: dict[str, Any], built: bool) -> float:
    """Return the seconds of one run."""
    if built:
        shutil.rmtree(executor.state_dir / FOLDER, ignore_errors=True)
    batch = {"node": node, "request": {"version": 2}}
    began = time.perf_counter()
    ended = executor.execute(new_id(), batch, check=False, cancelled=lambda: False, progress=lambda data: None)
    took = time.perf_counter() - began
    if ended.rc != 0:
        sys.exit(ended.said)
    return took


def measure(plain: Executor, warm: Executor, node: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Return the times by play and way."""
    times: dict[str, dict[str, list[float]]] = {}
    for number, play in enumerate(PLAYS):
        note(play)
        ways = {"plain, payload built": plain, "plain": plain, "warm": warm}
        times[play] = {way: [] for way in ways}
        for turn in range(TURNS + 1):
            for way, executor in ways.items():
                one = replace(executor, playbook=Path(f"playbooks/{number}.yml"))
                took = timed(one, node, built=way == "plain, payload built")
                if turn:  # the first one opens the connection and builds the payload
                    times[play][way].append(took)
    return times


def main() -> None:
    """Measure and print."""
    base = Path(tempfile.mkdtemp(prefix="wcp360-bench-"))  # short: a socket's path has 107 characters at most
    try:
        with host() as known:
            node = {"name": "bench", "connection": "ssh", "identity_file": known["key"]}
            node |= {key: known[key] for key in ("address", "port", "user")}
            node["host_key"] = " ".join(known["host_key"].split()[1:3])
            plain = Executor(_prepare(base / "state"), 120, collection(base))
            with Warm(plain.state_dir, plain.collection, find_ansible_playbook(), run_environment) as parent:
                while not parent.command(Path("/note")):
                    time.sleep(0.05)
                about("Start of a run", f"Seconds through ansible-runner over SSH, median (p95) of {TURNS}.")
                times = measure(plain, replace(plain, warm=parent), node)
                memory = Path(f"/proc/{parent.pid}/smaps_rollup").read_text()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print(f"\n| play | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for play, ways in times.items():
        print(f"| {play} | {' | '.join(_figure(ways[way]) for way in WAYS)} |")
    pss = next(int(line.split()[1]) for line in memory.splitlines() if line.startswith("Pss:"))
    print(f"\nThe warm parent takes {pss / 1024:.0f} MB. Load at the end {os.getloadavg()[0]:.1f}.")


def _figure(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} ({sorted(times)[int(len(times) * 0.95)]:.2f})"


if __name__ == "__main__":
    main()
