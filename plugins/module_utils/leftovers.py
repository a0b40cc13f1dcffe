"""What an account leaves outside its home and userdel does not remove."""

from __future__ import annotations

import os
import tempfile

from ansible_collections.wcp360.hosting.plugins.module_utils.purging import DIRECTORY, purge_directory

#: Files named after the user, in directories of root or of a trusted service.
NAMED_IN = ("/var/spool/cron/crontabs", "/var/mail", "/var/lib/systemd/linger")
#: Directories in which everybody may make entries; sticky, so that only the owner and root remove them.
SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/var/spool/cron/atjobs")  # noqa: S108 - looked through, not written to


def find(name: str, uid: int) -> list[str]:
    """Return the paths that the user ``name`` with ``uid`` has left, sorted."""
    named = [os.path.join(directory, name) for directory in NAMED_IN]
    found = [path for path in named if os.path.lexists(path)]
    for directory in SHARED:
        found += [path for path in _entries(directory) if _owner(path) == uid]
    return sorted(found)


def remove(paths: list[str], uid: int) -> None:
    """Remove what ``find`` returned. Directories are moved out of everybody's reach first."""
    for path in paths:
        directory, name = os.path.split(path)
        descriptor = os.open(directory, DIRECTORY & ~os.O_NOFOLLOW)  # /var/mail may be a link of the distribution
        try:
            if directory not in SHARED or _owner(path) == uid:
                _remove(descriptor, directory, name)
        finally:
            os.close(descriptor)


def _remove(descriptor: int, directory: str, name: str) -> None:
    try:
        os.unlink(name, dir_fd=descriptor)
    except IsADirectoryError:
        grave = os.path.basename(tempfile.mkdtemp(prefix=".wcp360-", dir=directory))
        os.rename(name, os.path.join(grave, "moved-0"), src_dir_fd=descriptor, dst_dir_fd=descriptor)
        purge_directory(descriptor, grave)
    except FileNotFoundError:
        return


def _entries(directory: str) -> list[str]:
    try:
        return [os.path.join(directory, name) for name in os.listdir(directory)]
    except FileNotFoundError:
        return []


def _owner(path: str) -> int:
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return -1
