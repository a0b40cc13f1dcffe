"""How late a client hears of a task: from its end on the node to the event on each of 200 open streams.

``python benchmarks/bench_events.py`` starts an SSH node and a server of its own, changes one site EVENT_REPEATS times
(30), and compares the moment in which the module on the node gave back the node's lock, which is the last that it does
before it prints its result, with the moment in which each client has the event. The clocks are one: the node is a
container on this machine. The moment on the node is the time of the directory that the lock's directory was taken from.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench_api import STREAMS, Readers, p95
from benchmarks.bench_change import Bench, fresh_node, serving
from benchmarks.report import about

REPEATS = int(os.environ.get("EVENT_REPEATS", "30"))
AIM = 150


@dataclass
class Listened:
    """Where the streams are opened."""

    port: int
    token: str


def late(bench: Bench, host: dict[str, Any]) -> list[float]:
    """Change the site again and again while the streams are open; returns the milliseconds of each event and stream."""
    state = Path(bench.panel.environment["WCP360_STATE_DIR"])
    served = Listened(int(bench.panel.environment["WCP360_API__PORT"]), (state / "root.token").read_text().strip())
    readers = Readers(served, lambda event: event["id"] if event["type"] == "run.task" else None)
    readers.start()
    found: list[float] = []
    for number in range(REPEATS):
        last = bench.last_event()
        target = f"https://example.com/{number}"
        bench.do("", "PATCH", "/api/v1/domains/b0.test", {"redirect": target}, partial(bench.answers, 301, "b0.test"))
        ended = _released(host)
        time.sleep(0.5)
        items = bench.client.call("GET", "/api/v1/events", {"after": last, "limit": 1000}).body["items"]
        event = [item["id"] for item in items if item["type"] == "run.task"][-1]
        arrived = readers.arrived.get(event, [])
        if len(arrived) != STREAMS:
            raise SystemExit(f"Event {event} came to {len(arrived)} of {STREAMS} streams.")
        found += [(when - ended) * 1000 for when in arrived]
    return found


def _released(host: dict[str, Any]) -> float:
    """Return when the lock's directory went, as the kernel noted it: a command on the node would touch /run itself."""
    asked = [host["engine"], "inspect", "--format", "{{.State.Pid}}", host["container"]]
    process = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return os.stat(f"/proc/{process}/root/run").st_mtime


def main() -> None:
    """Measure both ways, each on a fresh node, and print a section."""
    about("From a task's end on the node to the client", f"{STREAMS} open streams, {REPEATS} changes of one site")
    print("| way | median | p95 | aim (p95) |")
    print("|---|---|---|---|")
    for warm in (False, True):
        with fresh_node(warm) as host, serving(host, warm) as bench:
            times = late(bench, host)
        print(f"| {'warm' if warm else 'plain'} | {statistics.median(times):.0f} ms | {p95(times):.0f} ms | {AIM} ms |")


if __name__ == "__main__":
    main()
