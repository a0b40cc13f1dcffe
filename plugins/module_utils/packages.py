"""Debian packages with a preview that names every package, and a record of what was newly installed.

Check mode asks apt itself (``apt-get -s``) with its caches, logs and, where the node's lists are empty or old,
its lists in a scratch directory, so that a preview writes nothing. What an installation added is recorded, and
removing purges exactly that, minus what something else on the node depends on by now.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

LISTS = "/var/lib/apt/lists"
DPKG_UPDATES = "/var/lib/dpkg/updates"
POLICY_FILE = "/usr/sbin/policy-rc.d"
#: What apt may take for one command, in seconds: a slow mirror and a slow disk, but not for ever.
APT_TIMEOUT = 1800
#: Lists older than this (seconds) are fetched again before something is installed: mirrors drop old versions.
LISTS_MAX_AGE = 24 * 3600
#: Packages left behind by a removed record because something else needed them; the next removal tries again.
LEFTOVER = "leftover.json"
POLICY = """#!/bin/sh
# wcp360: temporary. Keeps new packages from starting services while they are installed.
if [ -d /run/systemd/system ] && systemctl is-active --quiet "$1"; then exit 0; fi
exit 101
"""
#: A preview must not run what admins hooked into apt, which may write anywhere.
SCRATCH_CONFIGURATION = """#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
"""
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{1,127}", re.ASCII)
_INSTALL = re.compile(r"Inst (\S+) (?:\[(\S+)\] )?\((\S+) .*", re.ASCII)
_REMOVE = re.compile(r"(?:Remv|Purg) (\S+)(?: \[(\S+)\])?.*", re.ASCII)


class PackageError(Exception):
    """apt or dpkg cannot do what is wanted; the message is a sentence that holds its last lines."""


@dataclass(frozen=True)
class PackageChange:
    """One package whose version changes; an empty version means that it is not installed."""

    name: str
    before: str
    after: str

    def diff(self) -> dict[str, str]:
        """Return the change in the form that Ansible prints with ``--diff``."""
        header = f"package {self.name}"
        before, after = (version + "\n" if version else "" for version in (self.before, self.after))
        return {"before_header": header, "after_header": header, "before": before, "after": after}


@dataclass
class Record:
    """What one role asked for and which packages came to the node through that."""

    path: str
    names: list[str] = field(default_factory=list)
    installed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str) -> Record:
        """Read the record; a missing file is an empty record. Raises PackageError when it is unreadable."""
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            return cls(path, list(content["names"]), dict(content["installed"]))
        except FileNotFoundError:
            return cls(path)
        except (ValueError, KeyError, TypeError) as error:
            raise PackageError(f"The record {path} is damaged ({error}). Restore or remove the file.") from error

    def save(self) -> None:
        """Write the record so that a crash leaves the old or the new one, or remove it when it says nothing."""
        if not self.names and not self.installed:
            self._remove()
            return
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        content = {"version": 1, "names": sorted(self.names), "installed": dict(sorted(self.installed.items()))}
        temporary = self.path + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)

    def _remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        with suppress(OSError):  # the directories stay while there is anything in them
            os.removedirs(os.path.dirname(self.path))


def check_names(names: Iterable[str]) -> None:
    """Raise PackageError for a name that is none of a Debian package (policy 5.6.1)."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise PackageError(f"'{name}' is not the name of a Debian package.")


def package_versions(status: str = "installed") -> dict[str, str]:
    """Return the version of every package in ``status``: installed completely, or only its ``config-files`` left."""
    output = _run(["dpkg-query", "-W", "-f", "${binary:Package} ${db:Status-Status} ${Version}\n"])
    rows = (line.split() for line in output.splitlines())
    return {_plain(row[0]): row[2] for row in rows if len(row) == 3 and row[1] == status}


def compare_versions(before: dict[str, str], after: dict[str, str]) -> list[PackageChange]:
    """Return what differs between two answers of ``package_versions``, by name."""
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return [PackageChange(name, before.get(name, ""), after.get(name, "")) for name in names]


def _plain(name: str) -> str:
    """Return the name without the architecture that dpkg puts behind packages of which several can coexist."""
    base, _dummy, architecture = name.partition(":")
    return base if architecture in ("", _native_architecture()) else name


_architectures: list[str] = []


def _native_architecture() -> str:
    if not _architectures:
        _architectures.append(_run(["dpkg", "--print-architecture"]).strip())
    return _architectures[0]


class Apt:
    """apt-get with fixed options; ``scratch`` is a directory that receives everything a preview would write."""

    def __init__(self, lock_timeout: int, scratch: str = "") -> None:
        self.lock_timeout = lock_timeout
        self.scratch = scratch
        self.own_lists = False

    def install_preview(self, names: list[str]) -> list[PackageChange]:
        """Return every package that installing ``names`` would add or change. Raises PackageError."""
        return _parse_simulation(self._get("-s", "--no-remove", "install", *names))

    def install(self, names: list[str]) -> None:
        """Install ``names`` with what they depend on. Raises PackageError."""
        self._get("--no-remove", "install", *names)

    def unneeded(self, names: Iterable[str]) -> list[PackageChange]:
        """Return which of ``names`` nothing else on the node depends on, as removals. Raises PackageError."""
        states = os.path.join(self.scratch, "extended_states")
        with open(states, "w", encoding="utf-8") as file:
            for name in names:
                base, _dummy, architecture = name.partition(":")
                file.write(f"Package: {base}\nArchitecture: {architecture or _native_architecture()}\n")
                file.write("Auto-Installed: 1\n\n")
        needs = ["-o", "APT::AutoRemove::RecommendsImportant=false", "-o", "APT::AutoRemove::SuggestsImportant=false"]
        preview = ["-s", "-o", f"Dir::State::extended_states={states}", *needs, "autoremove", "--purge"]
        return _parse_simulation(self._get(*preview))

    def purge(self, names: list[str]) -> None:
        """Purge exactly ``names``. Raises PackageError, also when anything else would have to go."""
        preview = {change.name for change in _parse_simulation(self._get("-s", "purge", *names))}
        if preview - set(names):
            raise PackageError(f"Removing {', '.join(names)} would remove {', '.join(sorted(preview - set(names)))}.")
        self._get("purge", *names)

    def refresh_lists(self) -> None:
        """Fetch the package lists where they are missing or old. Raises PackageError when there are none at all."""
        have_lists, fresh = _lists_state()
        if fresh:
            return
        self.own_lists = bool(self.scratch)
        try:
            self._update()
        except PackageError:
            if not have_lists:
                raise
            self.own_lists = False

    def _update(self) -> None:
        deadline = time.monotonic() + self.lock_timeout
        while True:
            try:
                self._get("update")
                return
            except PackageError as error:
                if "Could not get lock" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def _get(self, *arguments: str) -> str:
        options = ["-q", "-y", "--no-install-recommends"]
        for option in self._options():
            options += ["-o", option]
        if self.scratch:
            options += ["-c", self._configuration()]
        return _run(["apt-get", *options, *arguments])

    def _options(self) -> list[str]:
        common = [
            f"DPkg::Lock::Timeout={self.lock_timeout}",
            "Dpkg::Options::=--force-confdef",
            "Dpkg::Options::=--force-confold",
            "APT::Keep-Downloaded-Packages=false",
            "APT::Update::Error-Mode=any",
        ]
        if self.scratch:
            common += [f"Dir::Cache={self.scratch}/cache", f"Dir::Log={self.scratch}"]
        if self.own_lists:
            common += [f"Dir::State::lists={self.scratch}/lists", "Acquire::Languages=none"]
        return common

    def _configuration(self) -> str:
        for part in ("cache/archives/partial", "lists/partial"):
            os.makedirs(os.path.join(self.scratch, part), exist_ok=True)
        path = os.path.join(self.scratch, "apt.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(SCRATCH_CONFIGURATION)
        return path


@contextmanager
def scratch_directory() -> Iterator[str]:
    """Give a temporary directory into which apt's unprivileged download account may look."""
    with tempfile.TemporaryDirectory(prefix="wcp360-apt-") as path:
        os.chmod(path, 0o755)  # noqa: S103 - apt downloads as the account _apt; nothing in it is secret
        yield path


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Keep packages from starting services, unless the node has a policy of its own."""
    remove_stale_policy()
    try:
        descriptor = os.open(POLICY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        yield
        return
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(POLICY)
            os.fchmod(descriptor, 0o755)
        yield
    finally:
        os.unlink(POLICY_FILE)


def remove_stale_policy() -> None:
    """Take away the service policy that a killed run of ours left behind; one of the admin's stays."""
    try:
        with open(POLICY_FILE, encoding="utf-8") as file:
            ours = file.read() in (POLICY, "")
    except (FileNotFoundError, UnicodeDecodeError):
        return
    if ours:
        os.unlink(POLICY_FILE)


def finish_interrupted() -> None:
    """Let dpkg end what a killed run left unpacked or half configured. Raises PackageError."""
    states = _run(["dpkg-query", "-W", "-f", "${db:Status-Status}\n"]).split()
    unfinished = {"unpacked", "half-configured", "triggers-pending", "triggers-awaited"}.intersection(states)
    if unfinished or (os.path.isdir(DPKG_UPDATES) and os.listdir(DPKG_UPDATES)):
        with no_service_starts():
            _run(["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"])


def manual_packages() -> set[str]:
    """Return the packages that somebody asked for by name."""
    return {_plain(name) for name in _run(["apt-mark", "showmanual"]).split()}


def _lists_state() -> tuple[bool, bool]:
    """Tell whether there are any package lists, and whether they are fresh."""
    try:
        have = any(name.rpartition("_")[2].startswith("Packages") for name in os.listdir(LISTS))
    except FileNotFoundError:
        return False, False
    return have, have and time.time() - os.stat(LISTS).st_mtime < LISTS_MAX_AGE


def _parse_simulation(output: str) -> list[PackageChange]:
    changes = []
    for line in output.splitlines():
        if match := _INSTALL.fullmatch(line):
            changes.append(PackageChange(_plain(match[1]), match[2] or "", match[3]))
        elif match := _REMOVE.fullmatch(line):
            changes.append(PackageChange(_plain(match[1]), match[2] or "", ""))
    return sorted(changes, key=lambda change: change.name)


def _run(argv: list[str]) -> str:
    environment = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "APT_LISTCHANGES_FRONTEND": "none",
        "NEEDRESTART_SUSPEND": "1",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    try:
        done = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=APT_TIMEOUT, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise PackageError(f"{argv[0]} is missing: only Debian and its derivatives are supported.") from error
    except subprocess.TimeoutExpired as error:
        raise PackageError(
            f"{argv[0]} did not end within {APT_TIMEOUT} seconds. Look for what it waits for."
        ) from error
    if done.returncode:
        tail = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-6:])
        raise PackageError(f"{argv[0]} ended with code {done.returncode}: {tail}")
    return done.stdout
