"""What a node is and has, read from its files without starting a program."""

from __future__ import annotations

import os
import platform
import re
import shlex
from pathlib import Path

#: Distribution -> versions that the roles are made for, and those that are tested.
SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04")}
TESTED = {"debian": ("12", "13")}
SYSTEM_PATH = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
_FPM = re.compile(r"php-fpm([0-9]+\.[0-9]+)", re.ASCII)


def collect(root: str = "/") -> dict[str, object]:
    """Return the facts of the node; ``root`` is where its file system begins (another one in tests)."""
    base = Path(root)
    release = _os_release(base)
    distribution, version = release.get("ID", ""), release.get("VERSION_ID", "")
    return {
        "service_manager": "systemd" if (base / "run/systemd/system").is_dir() else "none",
        "distribution": distribution,
        "distribution_version": version,
        "distribution_name": release.get("PRETTY_NAME", ""),
        "supported": version in SUPPORTED.get(distribution, ()),
        "tested": version in TESTED.get(distribution, ()),
        "python": platform.python_version(),
        "hostname": platform.node(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": _memory(base),
        "ipv6": _has_ipv6(base),
        "cgroup2": (base / "sys/fs/cgroup/cgroup.controllers").exists(),
        "nginx": _program(base, "nginx"),
        "sshd": _program(base, "sshd"),
        "sshd_running": _runs(base, "run/sshd.pid", "sshd"),
        "php_fpm": _php_versions(base),
    }


def _os_release(base: Path) -> dict[str, str]:
    """Parse os-release(5), whose values are quoted as in a shell."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        text = _read(base / path)
        if text:
            pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
            return {key: " ".join(shlex.split(value)) for key, _dummy, value in pairs}
    return {}


def _memory(base: Path) -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB$", _read(base / "proc/meminfo"), re.ASCII | re.MULTILINE)
    return int(match[1]) // 1024 if match else 0


def _has_ipv6(base: Path) -> bool:
    """Tell whether any interface has an IPv6 address, loopback included: only then can a service listen on it."""
    return bool(_read(base / "proc/net/if_inet6").strip())


def _program(base: Path, name: str) -> str:
    for directory in SYSTEM_PATH:
        if os.access(base / directory.lstrip("/") / name, os.X_OK):
            return f"{directory}/{name}"
    return ""


def _runs(base: Path, pidfile: str, name: str) -> bool:
    """Tell whether the pid in a root-owned pid file is that of the program ``name``."""
    pid = _read(base / pidfile).strip()
    return pid.isdecimal() and _read(base / "proc" / pid / "comm").strip() == name


def _php_versions(base: Path) -> list[str]:
    try:
        names = os.listdir(base / "usr/sbin")
    except FileNotFoundError:
        return []
    versions = [match[1] for name in names if (match := _FPM.fullmatch(name))]
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
