"""What an account leaves outside its home and userdel does not remove."""

from __future__ import annotations

import os
import stat
import tempfile

from ansible_collections.wcp360.hosting.plugins.module_utils.items import PASSING, ItemError
from ansible_collections.wcp360.hosting.plugins.module_utils.purging import DIRECTORY, purge_directory

#: Files named after the user, in directories of root or of a trusted service.
NAMED_IN = ("/var/spool/cron/crontabs", "/var/mail", "/var/lib/systemd/linger")
#: Directories in which everybody may make entries; sticky, so that only the owner and root remove them.
SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/var/spool/cron/atjobs")  # noqa: S108 - looked through, not written to


class LeftoverError(ItemError):
    """Something could not be removed; ``errno`` says whether that may go well a moment later."""

    def __init__(self, errors: dict[str, OSError]) -> None:
        said = ", ".join(f"{shown(path)} ({error.strerror or error})" for path, error in errors.items())
        super().__init__(
            f"Not everything that the account left could be removed: {said}. Remove the cause, then retry."
        )
        self.errno = min(errors.values(), key=lambda error: error.errno in PASSING).errno


def find(name: str, uid: int | None, *, is_others: bool = False) -> list[str]:
    """Return the paths that the user ``name`` with ``uid`` has left, sorted.

    Without a uid nobody knows what was its own. With ``is_others`` another user has it by now: what lies in the shared
    directories counts as that user's.
    """
    named = [os.path.join(directory, name) for directory in NAMED_IN]
    found = [path for path in named if _is_named(path, uid)]
    if uid is not None:
        found += [path for directory in NAMED_IN for path in _entries(directory) if _is_grave(path, uid)]
        for directory in SHARED:
            entries = _entries(directory)
            found += [path for path in entries if _is_grave(path, uid) or (not is_others and _owner(path) == uid)]
    return sorted(set(found))


def remove(paths: list[str], uid: int | None) -> None:
    """Remove what ``find`` returned, each for itself. Raises LeftoverError with what stays and why."""
    errors = {}
    for path in paths:
        try:
            _remove(path, uid)
        except OSError as error:
            errors[path] = error
    if errors:
        raise LeftoverError(errors)


def shown(path: str) -> str:
    """Return a path for people: its owner may have put line ends and bytes that are no text into the name."""
    return path if path.isprintable() else ascii(path)


def _remove(path: str, uid: int | None) -> None:
    directory, name = os.path.split(path)
    descriptor = os.open(directory, DIRECTORY & ~os.O_NOFOLLOW)  # /var/mail may be a link of the distribution
    try:
        if _is_grave(path, uid):
            purge_directory(descriptor, name)
        elif directory not in SHARED or _owner(path) == uid:
            _unlink(descriptor, directory, name, uid)
    finally:
        os.close(descriptor)


def _unlink(descriptor: int, directory: str, name: str, uid: int | None) -> None:
    """Remove one entry; a directory is moved out of everybody's reach first."""
    try:
        os.unlink(name, dir_fd=descriptor)
    except IsADirectoryError:
        grave = os.path.basename(tempfile.mkdtemp(prefix=_grave_prefix(uid), dir=directory))
        try:
            os.rename(name, os.path.join(grave, "moved-0"), src_dir_fd=descriptor, dst_dir_fd=descriptor)
        finally:
            purge_directory(descriptor, grave)
    except FileNotFoundError:
        return


def _grave_prefix(uid: int | None) -> str:
    return f".wcp360-{uid}-"


def _is_grave(path: str, uid: int | None) -> bool:
    """Tell whether an earlier removal moved a directory of the user there and did not come to its end."""
    if not os.path.basename(path).startswith(_grave_prefix(uid)):
        return False
    status = _status(path)
    return status is not None and status.st_uid == 0 and stat.S_ISDIR(status.st_mode)


def _is_named(path: str, uid: int | None) -> bool:
    """Tell whether what bears the user's name is its own: another's is not, nor is a directory like /var/mail/vhosts.

    That a user lingers is a plain file of root, and so is what root writes in a user's place.
    """
    status = _status(path)
    return status is not None and (status.st_uid == uid or (status.st_uid == 0 and stat.S_ISREG(status.st_mode)))


def _entries(directory: str) -> list[str]:
    try:
        return [os.path.join(directory, name) for name in os.listdir(directory)]
    except FileNotFoundError:
        return []


def _owner(path: str) -> int:
    status = _status(path)
    return -1 if status is None else status.st_uid


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:  # gone, or a file system of somebody's that lets even root not look, or does not answer any more
        return None
