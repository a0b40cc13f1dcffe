"""Reach paths below a trusted directory by descriptors, one component at a time, following no link.

What a tenant owns may change at any instant: a path that was checked is not the path that is used. A descriptor is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def split_relative(path: str) -> list[str]:
    """Return the components of a path below a base. Raises ItemError for one that could leave the base."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise ItemError(f"'{path}' is no plain relative path: give components without '.', '..' and double slashes.")
    return parts


def check_trusted(path: str) -> None:
    """Raise ItemError unless root alone decides what ``path`` (absolute, existing) is and what lies in it."""
    if not path.startswith("/"):
        raise ItemError(f"'{path}' is not absolute.")
    current = os.path.realpath(path)
    _check_root_only(current, os.stat(current), stat.S_IWGRP | stat.S_IWOTH)
    while current != "/":
        current = os.path.dirname(current)
        status = os.stat(current)
        # In a sticky directory (such as /tmp) nobody but root moves what root owns.
        _check_root_only(current, status, 0 if status.st_mode & stat.S_ISVTX else stat.S_IWOTH)


def _check_root_only(path: str, status: os.stat_result, forbidden: int) -> None:
    if status.st_uid or not stat.S_ISDIR(status.st_mode) or status.st_mode & forbidden:
        mode = stat.S_IMODE(status.st_mode)
        raise ItemError(
            f"{path} cannot be trusted: it must be a directory of root that nobody else can write to, "
            f"but it belongs to {status.st_uid}:{status.st_gid} with mode {mode:04o}."
        )


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Give a descriptor of the trusted directory ``path``. Raises ItemError when it is not to be trusted."""
    check_trusted(path)
    descriptor = os.open(os.path.realpath(path), DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_below(base_fd: int, parts: list[str], shown: str, owners: set[int]) -> Iterator[int]:
    """Give a descriptor of the directory ``parts`` below ``base_fd``; each component must belong to one of ``owners``.

    ``shown`` is the base's path for messages. Raises FileNotFoundError where a component is missing, and ItemError
    with the path for a link, a file or a foreign owner.
    """
    descriptor = os.dup(base_fd)
    try:
        for part in parts:
            shown = os.path.join(shown, part)
            descriptor = _step_into(descriptor, part, shown)
            owner = os.fstat(descriptor).st_uid
            if owner not in owners:
                raise ItemError(f"{shown} belongs to the user with uid {owner}, not to {_words(owners)}: left alone.")
        yield descriptor
    finally:
        os.close(descriptor)


def _words(owners: set[int]) -> str:
    return " or ".join(f"uid {owner}" for owner in sorted(owners, reverse=True))


def _step_into(descriptor: int, name: str, shown: str) -> int:
    """Replace ``descriptor`` by that of the directory ``name`` in it."""
    try:
        below = os.open(name, DIRECTORY, dir_fd=descriptor)
    except NotADirectoryError as error:
        kind = "a symbolic link" if is_link(descriptor, name) else "not a directory"
        raise ItemError(f"{shown} is {kind}: nothing is done through it. Remove it, then retry.") from error
    os.close(descriptor)
    return below


def is_link(descriptor: int, name: str) -> bool:
    """Tell whether ``name`` in the directory is a symbolic link right now; for messages only."""
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
