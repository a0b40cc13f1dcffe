"""Services under systemd: what they are, and how to change it, many units in one call of systemctl."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.instances_words import printable, tail

SYSTEMCTL = ("systemctl", "--quiet", "--no-ask-password")
PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload"
ENABLED = ("enabled", "enabled-runtime", "alias")
UP = ("active", "reloading", "refreshing")
NOT_DOWN = (*UP, "activating", "deactivating")
COMMAND_SECONDS = 150


class Systemd:
    """The service manager of most nodes. All methods take lists of item specs."""

    has_enablement = True

    def __init__(self) -> None:
        """Remember when the work began: the journal's lines before it are not a failure's last words."""
        self.since = time.time()
        self.sizes: dict[str, int] = {}

    def observe(self, specs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return per item id: running, awake, lingering (something must still be stopped), enabled, stale, missing.

        A service on demand runs when its socket listens; it is awake while its process is there.
        """
        units = {name: {} for spec in specs for name in _units(spec)}
        self._read_properties(units)
        return {spec["id"]: _judge([units[name] for name in _units(spec)], spec) for spec in specs}

    def prepare(self, specs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Observe, after making systemd read the unit files where they changed since it did."""
        seen = self.observe(specs)
        if not any(state["stale"] or state["missing"] for state in seen.values()):
            return seen
        _run([*SYSTEMCTL, "daemon-reload"])
        return self.observe(specs)

    def mark(self, specs: list[dict[str, Any]]) -> None:
        """Remember the ends of the log files, so that only newer lines count as last words."""
        for spec in specs:
            self.sizes[spec["id"]] = tail(spec["error_log"])[1]

    def enable(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        """Have the units start at boot."""
        _systemctl("enable", units=[name for spec in specs if not spec.get("boot_file") for name in _at_boot(spec)])
        return _with_boot_files(specs, _write)

    def disable(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        """Have the units not start at boot."""
        # Without the reload that is part of it systemd would remember the old state, and what its targets want.
        _systemctl("disable", units=_all_units([spec for spec in specs if not spec.get("boot_file")]))
        return _with_boot_files(specs, _unlink)

    def start(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        """Start the units; the caller finds out by observing them which did."""
        units = _all_units(specs)
        # A unit that failed too often in a short time is refused until its counter is reset.
        _systemctl("reset-failed", units=units)
        waiting = {spec["unit"] for spec in specs if spec.get("only_socket")}
        _systemctl("start", units=[name for name in units if name not in waiting])
        return {}

    def reload(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        """Have the services read their configuration again; the return code says nothing."""
        for signal in sorted({spec["unit_reload_signal"] for spec in specs if spec.get("unit_reload_signal")}):
            units = [spec["unit"] for spec in specs if spec.get("unit_reload_signal") == signal]
            _systemctl("kill", "--kill-who=main", f"--signal={signal}", units=units)
        _systemctl("reload", units=[spec["unit"] for spec in specs if not spec.get("unit_reload_signal")])
        return {}

    def stop(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        """Stop the units, sockets first, so that no request starts the service again."""
        units = [spec["socket_unit"] for spec in specs if spec["socket_unit"]] + [spec["unit"] for spec in specs]
        _systemctl("stop", units=units)
        return {}

    def forget(self, specs: list[dict[str, Any]]) -> None:
        """Have systemd no longer remember those that failed: it would list them until the node restarts."""
        _systemctl("reset-failed", units=_all_units(specs))

    def words(self, spec: dict[str, Any]) -> str:
        """Return the last lines that the service of ``spec`` said since the work began."""
        journal = _run(
            [
                "journalctl",
                "-q",
                "--no-pager",
                "-o",
                "cat",
                "-n",
                "8",
                f"--since=@{int(self.since)}",
                "-u",
                spec["unit"],
            ]
        )
        log = tail(spec["error_log"], self.sizes.get(spec["id"], 0))[0]
        return printable("\n".join(part for part in (log, journal) if part))

    def _read_properties(self, units: dict[str, dict[str, str]]) -> None:
        names = list(units)
        for start in range(0, len(names), 200):
            part = names[start : start + 200]
            for name, found in zip(part, _show(part), strict=False):
                units[name].update(found)


def _units(spec: dict[str, Any]) -> list[str]:
    return [name for name in (spec["unit"], spec["socket_unit"]) if name]


def _all_units(specs: list[dict[str, Any]]) -> list[str]:
    return [name for spec in specs for name in reversed(_units(spec))]


def _with_boot_files(specs: list[dict[str, Any]], work: Callable[[str], None]) -> dict[str, str]:
    """Do ``work`` with each boot file; returns what went wrong by item id."""
    errors = {}
    for spec in specs:
        if spec.get("boot_file"):
            try:
                work(spec["boot_file"])
            except OSError as error:
                errors[spec["id"]] = f"{spec['boot_file']}: {error.strerror}."
    return errors


def _write(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _at_boot(spec: dict[str, Any]) -> list[str]:
    return [spec["socket_unit"]] if spec.get("on_demand") else list(reversed(_units(spec)))


def _judge(units: list[dict[str, str]], spec: dict[str, Any]) -> dict[str, Any]:
    on_demand = bool(spec.get("on_demand"))
    if spec.get("boot_file"):
        enabled = [os.path.lexists(spec["boot_file"])]
    else:
        enabled = [unit.get("UnitFileState") in ENABLED for unit in units]
    up = [unit.get("ActiveState") in UP for unit in units]
    waiting = on_demand and up[-1] and units[0].get("ActiveState") != "failed"
    return {
        "running": all(up) or waiting,
        "awake": all(up),
        "lingering": any(unit.get("ActiveState") in NOT_DOWN for unit in units),
        "enabled": enabled[-1] if on_demand else all(enabled),
        "partly_enabled": any(enabled),
        "stale": any(unit.get("NeedDaemonReload") == "yes" for unit in units),
        "missing": any(unit.get("LoadState") != "loaded" for unit in units),
    }


def _show(units: list[str]) -> list[dict[str, str]]:
    """Return the properties of each of ``units``."""
    blocks = _run(["systemctl", "show", "-p", PROPERTIES, "--", *units]).strip().split("\n\n")
    return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]


def _systemctl(*words: str, units: Sequence[str]) -> None:
    # Return codes are not looked at: what counts is what the units are afterwards.
    if units:
        _run([*SYSTEMCTL, *words, "--", *units])


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, timeout=COMMAND_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.decode("utf-8", "replace")
