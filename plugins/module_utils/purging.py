"""Delete what tenants left, however deep and whatever is linked in it, and empty the trash by age.

Uses the standard library alone and runs as a program too: the role ``tenant`` installs this file on nodes, where a
timer calls it. Everything is done by descriptors; directories are moved up before they are emptied, so that neither
the depth of a tree nor the number of open files limits it. Links are removed, never followed; nothing on another
file system is touched, because a rename does not cross into one.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from datetime import UTC, datetime, timedelta

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What is being deleted is moved into a directory of this prefix first; a killed run leaves it there.
PURGE_PREFIX = ".purge-"
STAMP_FORMAT = "%Y%m%dT%H%M%SZ"
_STAMPED = re.compile(r".+-([0-9]{8}T[0-9]{6}Z)(?:-[0-9]+)?", re.ASCII)


def purge_directory(parent_fd: int, name: str) -> None:
    """Remove the root-owned directory ``name`` and everything in it. Raises OSError for what cannot be removed."""
    top = os.open(name, DIRECTORY, dir_fd=parent_fd)
    try:
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent_fd)


def _empty(top: int) -> None:
    moved = 0
    while names := os.listdir(top):
        for name in names:
            if not _unlink(top, name):
                moved = _flatten(top, name, moved)


def _unlink(descriptor: int, name: str) -> bool:
    """Remove ``name`` unless it is a directory; return False for a directory."""
    try:
        os.unlink(name, dir_fd=descriptor)
    except IsADirectoryError:
        return False
    except FileNotFoundError:
        return True
    return True


def _flatten(top: int, name: str, moved: int) -> int:
    """Empty one directory in ``top`` by moving its directories up to ``top``; return how many were moved so far."""
    below = os.open(name, DIRECTORY, dir_fd=top)
    try:
        for child in os.listdir(below):
            if not _unlink(below, child):
                moved += 1
                os.rename(child, _free_name(top, moved), src_dir_fd=below, dst_dir_fd=top)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=top)
    return moved


def _free_name(top: int, number: int) -> str:
    """Return a name that is not in ``top``; what a killed run moved there has such a name too."""
    while True:
        name = f"moved-{number}"
        try:
            os.stat(name, dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            return name
        number += 1_000_003


def bury(trash_fd: int, name: str) -> str:
    """Move the trash's entry ``name`` into a directory of its own for deletion and return that one's name."""
    grave = name if name.startswith(PURGE_PREFIX) else PURGE_PREFIX + name
    if grave != name:
        make_grave(trash_fd, grave)
        os.rename(name, "moved-0", src_dir_fd=trash_fd, dst_dir_fd=(grave_fd := _open(trash_fd, grave)))
        os.close(grave_fd)
    return grave


def make_grave(trash_fd: int, grave: str) -> None:
    """Make an empty directory that only root can enter, after removing what a killed run left under its name."""
    try:
        os.mkdir(grave, 0o700, dir_fd=trash_fd)
    except FileExistsError:
        purge_directory(trash_fd, grave)
        os.mkdir(grave, 0o700, dir_fd=trash_fd)


def _open(parent_fd: int, name: str) -> int:
    return os.open(name, DIRECTORY, dir_fd=parent_fd)


def expired(name: str, now: datetime, keep: timedelta) -> bool:
    """Tell whether the trash's entry is over ``keep`` old by the UTC stamp in its name, or was left half deleted."""
    if name.startswith(PURGE_PREFIX):
        return True
    match = _STAMPED.fullmatch(name)
    if not match:
        return False
    return now - datetime.strptime(match[1], STAMP_FORMAT).replace(tzinfo=UTC) > keep


def empty_trash(path: str, keep: timedelta) -> list[str]:
    """Delete expired entries of the trash ``path`` and return a sentence for each that could not be deleted."""
    problems = []
    trash = os.open(path, DIRECTORY)
    try:
        status = os.fstat(trash)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            return [f"{path} is not a private directory of root: nothing was deleted."]
        now = datetime.now(UTC)
        for name in sorted(os.listdir(trash)):
            try:
                if expired(name, now, keep):
                    purge_directory(trash, bury(trash, name))
            except OSError as error:
                problems.append(f"{os.path.join(path, name)} could not be deleted: {error}")
    finally:
        os.close(trash)
    return problems


def main() -> int:
    """Empty one trash directory, as the timer does."""
    parser = argparse.ArgumentParser(description="Delete what has been in a trash directory of WCP360 long enough.")
    parser.add_argument("path", help="the trash directory, private to root")
    parser.add_argument("--days", type=int, default=7, help="how long an entry is kept (default: %(default)s)")
    arguments = parser.parse_args()
    if not os.path.isdir(arguments.path):
        return 0
    problems = empty_trash(arguments.path, timedelta(days=arguments.days))
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
