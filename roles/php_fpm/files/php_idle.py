# MIT License (see LICENSE)
"""Stop the PHP-FPM masters that nobody has asked for anything in a while; their sockets start them again.

``php_idle.py SECONDS SOCKETS STATE``: called by a timer. A master is idle while nobody is connected to its socket
(``SOCKETS``/NAME/fpm.sock) and none of its workers has done anything or ended since the last look. No request is
lost: the socket is systemd's, and a connection waits in it until the master is there again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

UNITS = "wcp360-php@*.service"
# Units of one call of systemctl.
MOST_AT_ONCE = 200


def masters() -> dict[str, int]:
    """Return the pid of each running master by its unit."""
    argv = ["systemctl", "show", "-p", "Id,MainPID,ActiveState", "--", UNITS]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    found = {}
    for block in shown.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit.get("ActiveState") == "active" and int(unit.get("MainPID", "0")):
            found[unit["Id"]] = int(unit["MainPID"])
    return found


def processes() -> dict[int, list[str]]:
    """Return the fields of each process's stat file from the third on."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stream:
                    found[int(name)] = stream.read().rpartition(")")[2].split()
            except OSError:
                continue
    return found


def awoken(pid: int) -> int:
    """Return how often a process has waited for something so far (proc(5)); a worker does so for each request."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as stream:
            return next(int(line.split()[1]) for line in stream if line.startswith("voluntary_ctxt_switches:"))
    except (OSError, StopIteration):
        return 0


def connected(sockets: str) -> set[str]:
    """Return the names of the pools to whose socket somebody is connected, answered already or not."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as stream:
        fields = [line.split() for line in stream]
    # Type 0001 is a stream; states 02 and 03 are a connection that waits and one that was accepted.
    paths = {line[7] for line in fields if len(line) == 8 and line[4] == "0001" and line[5] in ("02", "03")}
    ends = f"{sockets}/", "/fpm.sock"
    return {path[len(ends[0]) : -len(ends[1])] for path in paths if path.startswith(ends[0]) and path.endswith(ends[1])}


def idle(last: dict[str, list[int]], sockets: str, now: int) -> dict[str, list[int]]:
    """Return the masters nobody is connected to: pid, a mark that changes with each request, idle since when."""
    running, seen, busy = masters(), processes(), connected(sockets)
    workers: dict[int, list[int]] = {}
    for number, fields in seen.items():
        workers.setdefault(int(fields[1]), []).append(number)
    found = {}
    for unit, pid in running.items():
        if pid in seen and unit[len("wcp360-php@") : -len(".service")] not in busy:
            # Faults and time of the children that it waited for, and its own start (proc(5): 11, 16, 17 and 22).
            mark = sum(int(seen[pid][number]) for number in (8, 13, 14, 19))
            mark += sum(worker + awoken(worker) for worker in workers.get(pid, []))
            before = last.get(unit, [0, 0, 0])
            found[unit] = [pid, mark, before[2] if before[:2] == [pid, mark] else now]
    return found


def main(seconds: str, sockets: str, state: str) -> None:
    """Look, stop what was idle long enough, and remember the others."""
    try:
        with open(state, encoding="ascii") as stream:
            last = json.load(stream)
    except (OSError, ValueError):
        last = {}
    now = int(time.monotonic())
    found = idle(last, sockets, now)
    over = [unit for unit, (_pid, _mark, since) in found.items() if now - since >= int(seconds)]
    for start in range(0, len(over), MOST_AT_ONCE):
        part = over[start : start + MOST_AT_ONCE]
        subprocess.run(["systemctl", "--quiet", "stop", "--", *part], check=False, timeout=120)
    with open(state + ".new", "w", encoding="ascii") as stream:
        json.dump({unit: entry for unit, entry in found.items() if unit not in over}, stream)
    os.rename(state + ".new", state)


if __name__ == "__main__":
    main(*sys.argv[1:])
