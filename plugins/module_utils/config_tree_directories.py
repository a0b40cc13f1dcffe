"""The directories of a configuration tree: which are its own, which are kept as they are, and what differs of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.wcp360.hosting.plugins.module_utils.items import entry_line

# The generation itself, among the relative paths of what lies in it.
TOP = ""


@dataclass(frozen=True)
class Directory:
    """Mode and owner of one directory, as they are or as they should be."""

    mode: int
    uid: int
    gid: int

    def text(self) -> str:
        """Return the line that stands for it in a difference."""
        return entry_line("directory", self.mode, self.uid, self.gid)

    def put_on(self, path: str) -> None:
        """Give a directory this owner and mode."""
        os.chown(path, self.uid, self.gid)
        os.chmod(path, self.mode)  # last, because a change of owner may clear bits of it


def seen(path: str) -> Directory | None:
    """Return what the directory at ``path`` is like, None where none is."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    return Directory(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def above(paths: Iterable[str]) -> set[str]:
    """Return all directories above relative paths, down from the generation itself."""
    found = {TOP}
    for parent in {path.rpartition("/")[0] for path in paths}:
        directory = parent
        while directory not in found:
            found.add(directory)
            directory = directory.rpartition("/")[0]
    return found


def lasting(directories: Iterable[str], ours: Iterable[str], foreign: Iterable[str]) -> set[str]:
    """Return those of the ``directories`` that stay whatever becomes of our own files.

    Somebody else made them, as there is none of ``ours`` below, or something ``foreign`` is in them.
    """
    strange = set(directories) - above(ours)
    return strange | above([*strange, *foreign])
