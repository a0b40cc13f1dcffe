"""How long the CLI takes: `--help` below 0.4 s, `tenant list` with 500 tenants below 0.6 s.

``python benchmarks/bench_cli.py`` starts a server on a state directory of its own, whose tenants live on a node that
does not exist, so that nothing of this machine is touched. It prints best and median of several calls, and ends with 1
where a best one is over its limit: what else runs on the machine only ever adds time.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import about

TENANTS = 500
CALLS = 9
LIMITS = {"--help": 0.4, "tenant list": 0.6}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5yoFGzpPcqWnhqtA7a9tw1XzsmqRVRHzZZ1mAQ5Ggu"


def cli(environment: dict[str, str], *args: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run the CLI as a user does: a fresh process."""
    argv = [sys.executable, "-m", "wcp360.cli.main", *args]
    return subprocess.run(argv, env=environment, cwd=ROOT, input=given, capture_output=True, text=True, check=False)


def environment(base: Path) -> dict[str, str]:
    """Return the environment of a server of our own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WCP360_")}
    own = {"WCP360_STATE_DIR": str(base / "state"), "WCP360_API__PORT": str(port), "PYTHONPATH": str(ROOT)}
    return kept | own | {"XDG_CACHE_HOME": str(base / "cache")}


def fill(env: dict[str, str]) -> None:
    """Accept 500 tenants as one change; the node's port 9 (discard) answers nobody."""
    node = {"name": "nowhere", "address": "127.0.0.1", "port": 9, "host_key": KEY}
    operations = [{"operation": "node.create", "input": node}]
    operations += [
        {"operation": "tenant.create", "input": {"name": f"tenant{index}", "node": "nowhere", "display_name": "A name"}}
        for index in range(TENANTS)
    ]
    done = cli(env, "change", "create", "-", "--no-wait", given=json.dumps(operations))
    if done.returncode != 0:
        sys.exit(done.stderr)


def times_of(env: dict[str, str], *args: str) -> list[float]:
    """Return the times of several calls in seconds, sorted; the first one, which fills caches, does not count."""
    times = []
    for _ in range(CALLS + 1):
        began = time.perf_counter()
        done = cli(env, *args)
        times.append(time.perf_counter() - began)
        if done.returncode != 0:
            sys.exit(done.stderr)
    return sorted(times[1:])


def main() -> int:
    """Measure, print, and compare with the limits."""
    with tempfile.TemporaryDirectory(prefix="wcp360-benchmark-") as name:
        base = Path(name)
        env = environment(base)
        made = cli(env, "init", "--without-node")
        if made.returncode != 0:
            sys.exit(made.stderr)
        with (base / "serve.log").open("wb") as log:
            argv = [sys.executable, "-m", "wcp360.cli.main", "serve"]
            server = subprocess.Popen(argv, env=env, cwd=ROOT, stdout=log, stderr=log)
        try:
            while cli(env, "audit", "verify").returncode != 0:
                time.sleep(0.2)
            fill(env)
            figures = {call: times_of(env, *call.split()) for call in LIMITS}
            rows = cli(env, "tenant", "list").stdout.count("\n") - 1
        finally:
            server.terminate()
            server.wait(10)
    about("Command line", f"Seconds of a whole process, {CALLS} calls each; {rows} tenants are listed.")
    print("| command | best | median | limit |\n|---|---|---|---|")
    for call, times in figures.items():
        print(f"| `wcp360 {call}` | {times[0]:.3f} | {statistics.median(times):.3f} | {LIMITS[call]} |")
    return int(rows != TENANTS or any(times[0] > LIMITS[call] for call, times in figures.items()))


if __name__ == "__main__":
    sys.exit(main())
