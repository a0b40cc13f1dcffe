"""How a configuration tree lies on disk: read, written as a new generation, swapped in by one rename, removed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Container, Iterator

from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_directories import (
    TOP,
    Directory,
    above,
    seen,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_model import (
    MANIFEST,
    Content,
    Generation,
    Stamp,
    Unread,
    stamp_of,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.faults import point
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError

MARKER = ".config_tree"
CURRENT = "current"
GENERATIONS = "generations"
STAGING = ".staging-"
REMOVED = ".wcp360-removed"
# A name that neither include patterns (*.conf) nor logrotate take up when a run is killed before the rename.
TEMPORARY = "~"


class Store:
    """The directory of one tree. Callers hold the node's lock while they write."""

    def __init__(self, path: str, directory_mode: int = 0o755) -> None:
        self.path = path
        self.directory_mode = directory_mode

    @property
    def current(self) -> str:
        """Return the path through which the service reads."""
        return os.path.join(self.path, CURRENT)

    def load(self, owners: Container[str] | None = None) -> Generation:
        """Return the current generation, empty where there is none. Raises ItemError when the path is not ours.

        Only files of these ``owners`` are read at once; None means everybody's.
        """
        generation = Generation()
        if not self._is_ours():
            return generation
        root = self._current_directory()
        if root is None:
            return generation
        manifest = os.path.join(root, MANIFEST)
        try:
            with open(manifest, "rb") as stream:
                generation.read_manifest(stream.read())
        except (OSError, ValueError, KeyError) as error:
            raise ItemError(
                f"The record {manifest} cannot be read ({error}). Restore it or move {self.path} away."
            ) from error
        for relative, regular in _walk(root, generation.directories):
            if relative not in generation.owners:
                generation.foreign |= {relative} - {MANIFEST}
            elif owners is not None and generation.owners[relative] not in owners:
                if regular:
                    stamp = generation.plain.get(relative, ())
                    generation.files[relative] = Unread(f"{root}/{relative}", stamp, read_content)
            elif content := read_content(f"{root}/{relative}"):
                generation.files[relative] = content
        return generation

    def _is_ours(self) -> bool:
        try:
            entries = os.listdir(self.path) if not os.path.islink(self.path) else ["a link"]
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            entries = ["a file"]
        if MARKER in entries or not entries:
            return bool(entries)
        raise ItemError(f"{self.path} is in the way: WCP360 did not make it. Move it away, then retry.")

    def _current_directory(self) -> str | None:
        try:
            target = os.readlink(self.current)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ItemError(
                f"{self.current} is in the way: it is no link of WCP360's. Move it away, then retry."
            ) from error
        parts = target.split("/")
        if len(parts) != 2 or parts[0] != GENERATIONS or not os.path.isdir(os.path.join(self.path, target)):
            raise ItemError(
                f"{self.current} points to {target}, which is no generation. Correct or remove the link, then retry."
            )
        return os.path.join(self.path, target)

    @property
    def own(self) -> Directory:
        """Return what the tree's own directories should be like."""
        return Directory(self.directory_mode, os.geteuid(), os.getegid())

    def directories(self, before: Generation, after: Generation) -> dict[str, Directory]:
        """Return what each directory of a generation should be like: foreign ones as they were, all others our own."""
        own = dict.fromkeys(above(after.files), self.own)
        return {**own, **{path: before.directories[path] for path in before.lasting_directories() - own.keys()}}

    def drift(self, before: Generation, after: Generation) -> dict[str, tuple[str, Directory]]:
        """Return by path what is there of our own directories that is not as it should be.

        Beside it stands where it lies in the generation. Those around the generation count as its top.
        """
        found = {path: (TOP, seen(path)) for path in (self.path, os.path.join(self.path, GENERATIONS))}
        for relative in above(after.files):
            shown = f"{self.current}/{relative}" if relative else self.current
            found[shown] = (relative, before.directories.get(relative))
        return {path: (place, one) for path, (place, one) in sorted(found.items()) if one not in (None, self.own)}

    def _have(self, path: str) -> None:
        # Made with its mode, so that a killed run leaves no other one behind; umask and a parent's group come in.
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, self.directory_mode)
        self.own.put_on(path)

    def prepare(self) -> None:
        """Make the tree's directory and clear what killed runs left."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self._have(self.path)
        marker = os.open(
            os.path.join(self.path, MARKER), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
        )
        os.close(marker)
        self._have(os.path.join(self.path, GENERATIONS))
        for name in os.listdir(self.path):
            if name.startswith(STAGING):
                _remove(os.path.join(self.path, name))

    def write(self, before: Generation, after: Generation, keep: int) -> None:
        """Write a generation beside the current one, swap the link and drop all but the last ``keep`` generations.

        Raises ItemError when what is on disk afterwards is not what was asked for.
        """
        self.prepare()
        old_root = self._current_directory()
        staging = tempfile.mkdtemp(prefix=STAGING, dir=self.path)
        self._fill(staging, old_root, before, after)
        point("tree.staged")
        name = self._place(staging, after.digest, old_root)
        point("tree.before_swap")
        self._swap(name)
        point("tree.after_swap")
        self._verify(before, after)
        self._prune(name, keep)

    def _fill(self, staging: str, old_root: str | None, before: Generation, after: Generation) -> None:
        directories = self.directories(before, after)
        for relative in sorted(directories.keys() - {TOP}):
            os.mkdir(f"{staging}/{relative}")
        for relative in sorted(after.foreign):
            os.link(f"{old_root}/{relative}", f"{staging}/{relative}", follow_symlinks=False)
        for relative, content in after.files.items():
            target = f"{staging}/{relative}"
            if before.files.get(relative) == content:
                os.link(f"{old_root}/{relative}", target, follow_symlinks=False)
            else:
                stamp = write_content(target, content)
                if relative in after.plain:
                    after.plain[relative] = stamp
        write_content(os.path.join(staging, MANIFEST), Content(after.manifest(), 0o600, os.geteuid(), os.getegid()))
        for relative, directory in directories.items():
            directory.put_on(f"{staging}/{relative}")
        _sync_file_system(staging)

    def _place(self, staging: str, digest: str, old_root: str | None) -> str:
        name, count = digest, 1
        while old_root is not None and os.path.basename(old_root) == name:
            count += 1
            name = f"{digest}.{count}"
        target = os.path.join(self.path, GENERATIONS, name)
        if os.path.lexists(target):
            _remove(target)
        os.rename(staging, target)
        sync(os.path.join(self.path, GENERATIONS))
        return name

    def _swap(self, name: str) -> None:
        link = os.path.join(self.path, STAGING + secrets.token_hex(8))
        os.symlink(os.path.join(GENERATIONS, name), link)
        os.rename(link, self.current)
        sync(self.path)

    def _verify(self, before: Generation, after: Generation) -> None:
        for relative, content in after.files.items():
            path = os.path.join(self.current, relative)
            if before.files.get(relative) != content and read_content(path) != content:
                raise ItemError(f"{path} is not what was written to it a moment ago. Look for what else writes there.")

    def _prune(self, current: str, keep: int) -> None:
        directory = os.path.join(self.path, GENERATIONS)
        names = [name for name in os.listdir(directory) if name != current]
        names.sort(key=lambda name: os.lstat(os.path.join(directory, name)).st_mtime_ns, reverse=True)
        for name in names[max(keep - 1, 0) :]:
            _remove(os.path.join(directory, name))

    def described(self) -> str:
        """Return what there is to remove besides files, for a difference; empty when there is nothing."""
        if found := seen(self.path):
            return found.text()
        return "half deleted by an interrupted run\n" if os.path.lexists(self.path + REMOVED) else ""

    def remove(self) -> None:
        """Take the whole tree away; it disappears by one rename first."""
        away = self.path + REMOVED
        if os.path.lexists(away):
            _remove(away)
        if os.path.lexists(self.path):
            os.rename(self.path, away)
            _remove(away)


def read_content(path: str) -> Content | None:
    """Return a regular file with its mode and owner; None when it is something else or not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        # The stamp of before it is read: what is changed meanwhile is not known again.
        return Content(stream.read(), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, stamp_of(status))


def write_content(path: str, content: Content) -> Stamp:
    """Make a new file and return its stamp; never opens one that exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(content.data)
        stream.flush()
        os.fchown(descriptor, content.uid, content.gid)
        os.fchmod(descriptor, content.mode)
        return stamp_of(os.fstat(descriptor))


def replace_file(path: str, content: Content) -> None:
    """Put a file at ``path`` by one rename, whatever a killed run left beside it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + TEMPORARY)
    write_content(path + TEMPORARY, content)
    # On the disk before it has its name: a file emptied by a loss of power would be taken for a foreign one.
    sync(path + TEMPORARY)
    os.rename(path + TEMPORARY, path)
    sync(os.path.dirname(path))


def _walk(root: str, directories: dict[str, Directory], below: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the relative path of everything but directories, and whether it is a regular file.

    What the directories are like goes into ``directories``, by relative path.
    """
    if found := seen(f"{root}/{below}"):
        directories[below.rstrip("/")] = found
    with os.scandir(f"{root}/{below}") as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, directories, f"{below}{entry.name}/")
            else:
                yield below + entry.name, entry.is_file(follow_symlinks=False)


def _remove(path: str) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
    else:
        shutil.rmtree(path)


def _sync_file_system(path: str) -> None:
    # One call for thousands of files: an fsync for each would take seconds.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), f"Writing {path} to the disk failed: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)


def sync(path: str) -> None:
    """Have a file's content or a directory's names on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
