"""``wcp360 doctor``: what is weak or missing on this machine, each with what to do about it."""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import os
import resource
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wcp360.cli.exits import Failure
from wcp360.cli.place import CONFIG_FILE, Place, find_place

_GIB = 2**30
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 208  # sizeof(struct timex) on 64-bit Linux


class Level(StrEnum):
    """OK, WEAK (works, but not as well as it could) or MISSING (does not work)."""

    OK = "ok"
    WEAK = "weak"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; ``advice`` says what to do, and is empty where all is well."""

    name: str
    level: Level
    found: str
    advice: str = ""


def _ok(name: str, found: str) -> Finding:
    return Finding(name, Level.OK, found)


def _weak(name: str, found: str, advice: str) -> Finding:
    return Finding(name, Level.WEAK, found, advice)


def _missing(name: str, found: str, advice: str) -> Finding:
    return Finding(name, Level.MISSING, found, advice)


def examine() -> list[Finding]:
    """Look at everything; a check that itself fails is a finding."""
    return [finding for check in (*_MACHINE, *_SERVER) for finding in check()]


def _python() -> Iterator[Finding]:
    yield _ok("Python", ".".join(str(part) for part in sys.version_info[:3]))


def _ansible() -> Iterator[Finding]:
    try:
        yield _ok("ansible-core", importlib.metadata.version("ansible-core"))
    except importlib.metadata.PackageNotFoundError:
        yield _missing("ansible-core", "not installed", "Install WCP360 again, with its dependencies.")


def _account() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield _weak(
            "account",
            "root; API and engine share it under `wcp360 serve`",
            "Fine for a trial. For more, give API and engine an account each.",
        )
    else:
        yield _weak(
            "account",
            f"uid {os.geteuid()}, not root",
            "The node `local` needs root: run as root, or allow this user sudo without a password.",
        )


def _service_manager() -> Iterator[Finding]:
    if Path("/run/systemd/system").is_dir():
        yield _ok("service manager", "systemd")
    else:
        yield _weak(
            "service manager",
            "no systemd here",
            "Sites work, but services do not start at boot, tenants have no slice of their own to limit them, and PHP "
            "masters stay running instead of being stopped when idle.",
        )


def _system() -> Iterator[Finding]:
    values = dict(
        line.split("=", 1) for line in _text("/etc/os-release").splitlines() if "=" in line and not line.startswith("#")
    )
    name = values.get("PRETTY_NAME", "unknown").strip('"')
    if (values.get("ID"), values.get("VERSION_ID", "").strip('"')) in (("debian", "12"), ("debian", "13")):
        yield _ok("system", name)
    else:
        yield _weak("system", name, "As a node, Debian 12 and 13 are tested; other systems may fail.")


def _tools() -> Iterator[Finding]:
    for tool in ("ssh", "ssh-keyscan", "ssh-keygen"):
        if shutil.which(tool) is None:
            yield _weak(tool, "not installed", "Install openssh-client; nodes other than `local` need it.")
    if shutil.which("apt-get") is None:
        yield _weak("apt-get", "not found", "The roles install Debian packages; this machine cannot be a node.")


def _clock() -> Iterator[Finding]:
    # modes = 0 only asks; the first member of struct timex is modes.
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if state == _TIME_ERROR:
        yield _weak(
            "clock", "not synchronised", "Run systemd-timesyncd or chrony; certificates and audit times rely on it."
        )
    elif state >= 0:
        yield _ok("clock", "synchronised")


def _limits() -> Iterator[Finding]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 4096:
        yield _weak("open files", f"limit {hard}", "Raise LimitNOFILE to 65536; nginx needs files for every domain.")
    else:
        yield _ok("open files", f"limit {'none' if hard == resource.RLIM_INFINITY else hard}")


def _configuration() -> Iterator[Finding]:
    from wcp360.core.config import load_settings
    from wcp360.core.errors import Problem

    try:
        load_settings()
    except Problem as problem:
        yield _missing("configuration", problem.detail, "Correct it; `wcp360 config check` says more.")
    else:
        path = os.environ.get("WCP360_CONFIG", CONFIG_FILE)
        yield _ok("configuration", path if Path(path).exists() else "defaults and environment")


def _place() -> Place | None:
    try:
        return find_place()
    except Failure:
        return None


def _state() -> Iterator[Finding]:
    place = _place()
    if place is None:
        return
    path = place.state_dir
    if not path.is_dir():
        yield _missing("state directory", f"{path} does not exist", "Run `wcp360 init`.")
        return
    found = path.stat()
    if stat.S_IMODE(found.st_mode) & 0o077:
        yield _weak("state directory", f"{path} is open to others", f"Run `chmod 700 {path}`.")
    elif found.st_uid != os.geteuid():
        yield _missing("state directory", f"{path} belongs to uid {found.st_uid}", "Run this as that user.")
    else:
        yield _ok("state directory", str(path))
        yield from _database()
        yield from _keys(place)


def _database() -> Iterator[Finding]:
    from wcp360.core.config import load_settings
    from wcp360.core.errors import Problem
    from wcp360.storage import pending_migrations
    from wcp360.wiring import build

    try:
        waiting = pending_migrations(build(load_settings()).store)
    except Problem as problem:
        yield _missing("database", problem.detail, "Correct what it says, then try again.")
        return
    if waiting:
        yield _missing("database", f"{len(waiting)} migrations are pending", "Run `wcp360 migrate`.")
    else:
        yield _ok("database", "up to date")


def _keys(place: Place) -> Iterator[Finding]:
    try:
        place.token()
        yield _ok("token", "there")
    except Failure as failure:
        yield _missing("token", failure.message, "Run `wcp360 init` on the server.")
    if not (place.state_dir / "ssh" / "id_ed25519").exists():
        yield _weak("SSH key", "none", "Install openssh-client and run `wcp360 init`; only other nodes need it.")


def _disk() -> Iterator[Finding]:
    place = _place()
    path = Path("/") if place is None else place.state_dir
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    if free < _GIB:
        yield _weak(
            "disk", f"{free / _GIB:.1f} GiB free at {path}", "Make room: keep 1 GiB free for packages and logs."
        )
    else:
        yield _ok("disk", f"{free / _GIB:.1f} GiB free at {path}")


def _server() -> Iterator[Finding]:
    from wcp360.cli.client import Client

    place = _place()
    if place is None:
        return
    try:
        answer = Client(place).call("GET", "/readyz")
    except Failure as failure:
        in_use = not place.socket and _taken(place.host, place.port)
        advice = "Set WCP360_API__PORT: another program has this port." if in_use else "Start it with `wcp360 serve`."
        level = _missing if in_use else _weak
        yield level("server", failure.message.splitlines()[0], advice)
    else:
        yield _ok("server", f"ready at {place}" if answer.status == 200 else str(answer.status))


def _taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


_MACHINE: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _ansible,
    _account,
    _system,
    _service_manager,
    _tools,
    _clock,
    _limits,
    _disk,
)
_SERVER: tuple[Callable[[], Iterator[Finding]], ...] = (_configuration, _state, _server)
