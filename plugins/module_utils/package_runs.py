"""What the ``packages`` module does for its two states, in check mode and for real."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.wcp360.hosting.plugins.module_utils.packages import (
    LEFTOVER,
    Apt,
    PackageChange,
    PackageError,
    Record,
    check_names,
    compare_versions,
    finish_interrupted,
    manual_packages,
    no_service_starts,
    package_versions,
    remove_stale_policy,
    scratch_directory,
)


@dataclass(frozen=True)
class Request:
    """The arguments of one call: package names, the record's path and how long (seconds) to wait for apt's locks."""

    names: list[str]
    record: str
    dpkg_lock_timeout: int


def preview_present(request: Request) -> list[PackageChange]:
    """Return what installing would change on the node, and write nothing there. Raises PackageError."""
    missing = _missing(request.names)
    if not missing:
        return []
    with scratch_directory() as scratch:
        apt = Apt(request.dpkg_lock_timeout, scratch)
        apt.refresh_lists()
        return apt.install_preview(missing)


def make_present(request: Request) -> list[PackageChange]:
    """Install what is missing, record what that added, and return what changed. Raises PackageError."""
    remove_stale_policy()
    record = Record.load(request.record)
    if set(record.names) != set(request.names):
        record.names = request.names
        record.save()
    if not _missing(request.names):
        return []
    finish_interrupted()
    before = package_versions()
    missing = [name for name in request.names if name not in before]
    if missing:
        _install(request, record, missing)
    changes = compare_versions(before, package_versions())
    if still_missing := _missing(request.names):
        raise PackageError(f"apt-get reported success, but {', '.join(still_missing)} is not installed.")
    return changes


def _install(request: Request, record: Record, missing: list[str]) -> None:
    apt = Apt(request.dpkg_lock_timeout)
    apt.refresh_lists()
    # The record is written first: killed in the middle, it may name too much, never too little.
    record.installed.update({c.name: c.after for c in apt.install_preview(missing) if not c.before})
    record.save()
    with no_service_starts():
        apt.install(missing)


def _missing(names: list[str]) -> list[str]:
    check_names(names)
    installed = package_versions()
    return [name for name in names if name not in installed]


def preview_absent(request: Request) -> list[PackageChange]:
    """Return what removing would take from the node, and write nothing there. Raises PackageError."""
    return _removable(request, *_own_records(request))


def make_absent(request: Request) -> list[PackageChange]:
    """Purge what the record added and nobody else needs, and return what changed. Raises PackageError."""
    remove_stale_policy()
    if not os.path.exists(request.record):
        return []
    finish_interrupted()
    record, leftover = _own_records(request)
    removable = _removable(request, record, leftover)
    if removable:
        Apt(request.dpkg_lock_timeout).purge([change.name for change in removable])
    _hand_over(record, leftover)
    return removable


def _own_records(request: Request) -> tuple[Record, Record]:
    leftover = os.path.join(os.path.dirname(request.record), LEFTOVER)
    return Record.load(request.record), Record.load(leftover)


def _hand_over(record: Record, leftover: Record) -> None:
    """Keep in mind what had to stay, so that the removal of its last user takes it along."""
    installed = package_versions()
    both = {**leftover.installed, **record.installed}
    leftover.installed = {name: version for name, version in both.items() if name in installed}
    leftover.names = sorted({*leftover.names, *record.names}.intersection(leftover.installed))
    leftover.save()
    record.names, record.installed = [], {}
    record.save()


def _removable(request: Request, record: Record, leftover: Record) -> list[PackageChange]:
    ours = {*record.installed, *leftover.installed} - _wanted_by_others(request.record)
    if not record.installed and not record.names:
        return []
    kept = manual_packages() - {*record.names, *leftover.names}
    installed, residual = package_versions(), package_versions("config-files")
    candidates = sorted((ours - kept).intersection(installed))
    removable = [PackageChange(name, residual[name], "") for name in sorted(ours.intersection(residual))]
    if candidates:
        with scratch_directory() as scratch:
            unneeded = Apt(request.dpkg_lock_timeout, scratch).unneeded(candidates)
        removable += [change for change in unneeded if change.name in candidates]
    return sorted(removable, key=lambda change: change.name)


def _wanted_by_others(record: str) -> set[str]:
    names: set[str] = set()
    for path in Path(record).parent.glob("*.json"):
        if path.name not in (LEFTOVER, os.path.basename(record)):
            names.update(Record.load(str(path)).names)
    return names
