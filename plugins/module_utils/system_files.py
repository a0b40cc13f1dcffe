"""Directories, files and links of root outside of tenants' reach: what they are, and the steps to what they have to be.

Their paths come from roles, never from tenants, and so do the directories above them: links on the way are followed.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_model import Content, file_diff, mode_of
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_store import (
    TEMPORARY,
    read_content,
    replace_file,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError, Step, entry_line

#: What a directory gets that an entry's own needs above it, and every file without a mode.
DIRECTORY_MODE, FILE_MODE = 0o755, 0o644
#: Stands for the path of the new content in the arguments of a checker.
PLACE = "%s"
#: Seconds; a checker that reads one file takes none.
CHECK_TIMEOUT = 30


class SystemFiles:
    """Plans the entries of one item in their order; what earlier ones make or take away counts as done."""

    def __init__(self) -> None:
        self._listed: set[str] = set()
        self._made: set[str] = set()
        self._taken: set[str] = set()

    def plan(self, item: dict[str, Any]) -> list[Step]:
        """Return the steps. Raises ItemError, with the path, for something in the way that is of another kind."""
        planners: dict[str, Callable[[dict[str, Any]], list[Step]]] = {
            "directory": self._directory,
            "file": self._file,
            "link": self._link,
            "absent": self._absent,
        }
        return [step for entry in item["entries"] for step in planners[entry["state"]](self._checked(entry))]

    def _checked(self, entry: dict[str, Any]) -> dict[str, Any]:
        path = entry["path"]
        if not path.startswith("/") or os.path.normpath(path) != path or path == "/":
            raise ItemError(f"'{path}' is no plain absolute path.")
        if path in self._listed:
            raise ItemError(f"{path} is listed twice.")
        self._listed.add(path)
        for state, needed in (("file", "content"), ("link", "target")):
            if entry["state"] == state and entry[needed] is None:
                raise ItemError(f"{path} cannot be a {state} without '{needed}'.")
        return entry

    def _directory(self, entry: dict[str, Any]) -> list[Step]:
        path, mode = entry["path"], mode_of(entry["mode"] or f"{DIRECTORY_MODE:o}")
        found = _status(path, entry["follow"])
        if found is None and not os.path.lexists(path):
            self._made.add(path)
            return [*self._missing(os.path.dirname(path)), _made_directory(path, mode, entry["gid"])]
        if found is None or not stat.S_ISDIR(found.st_mode):
            raise ItemError(f"{path} is in the way: it is not a directory. Move it away, then retry.")
        if found.st_uid:
            raise ItemError(f"{path} belongs to the user with uid {found.st_uid}, not to root: left alone.")
        before, after = _text("directory", found), entry_line("directory", mode, 0, entry["gid"])
        return [] if before == after else [Step(path, before, after, partial(_own, path, mode, entry["gid"]))]

    def _missing(self, path: str) -> list[Step]:
        """Return the steps that make a directory which another needs, where it is missing; links to it are followed."""
        if path in self._made or os.path.isdir(path):
            return []
        return self._directory({"path": path, "mode": None, "gid": 0, "follow": True})

    def _file(self, entry: dict[str, Any]) -> list[Step]:
        path, mode = entry["path"], mode_of(entry["mode"] or f"{FILE_MODE:o}")
        wanted = Content(entry["content"].encode(), mode, 0, entry["gid"])
        found = read_content(path)
        if found is None and os.path.lexists(path):
            raise ItemError(f"{path} is in the way: it is not a plain file. Move it away, then retry.")
        steps = self._leftover(path)
        if found == wanted:
            return steps
        self._need_parent(path)
        if entry["validate"] and (found is None or found.data != wanted.data):
            _check(path, entry["validate"], wanted)
        return [*steps, _replaced(path, found, wanted)]

    def _link(self, entry: dict[str, Any]) -> list[Step]:
        path, target = entry["path"], entry["target"]
        if os.path.lexists(path) and not os.path.islink(path):
            raise ItemError(f"{path} is in the way: it is not a link. Move it away, then retry.")
        found = os.readlink(path) if os.path.islink(path) else None
        steps = self._leftover(path)
        if found == target:
            return steps
        self._need_parent(path)
        before = "" if found is None else f"link {found}\n"
        return [*steps, Step(path, before, f"link {target}\n", partial(_replace_link, path, target))]

    def _need_parent(self, path: str) -> None:
        above = os.path.dirname(path)
        if above not in self._made and not os.path.isdir(above):
            raise ItemError(f"The directory above {path} does not exist. Make it, then retry.")

    def _absent(self, entry: dict[str, Any]) -> list[Step]:
        path = entry["path"]
        steps = self._leftover(path)
        found = _status(path, follow=False)
        is_directory = found is not None and stat.S_ISDIR(found.st_mode)
        if found is None or (is_directory and entry["unless_used"] and self._is_used(path, set(entry["besides"]))):
            return steps
        self._taken.add(path)
        if is_directory:
            remove = partial(_remove_directory, path, entry["unless_used"])
            return [*steps, Step(path, _text("directory", found), "", remove)]
        # Not what is in it: another task of the same run may write to what is going to be removed.
        before = f"link {os.readlink(path)}\n" if stat.S_ISLNK(found.st_mode) else _text("file", found)
        return [*steps, Step(path, before, "", partial(os.unlink, path))]

    def _leftover(self, path: str) -> list[Step]:
        """Return the step that takes away what a killed run left beside a path."""
        beside = path + TEMPORARY
        found = _status(beside, follow=False)
        if found is None or stat.S_ISDIR(found.st_mode):
            return []
        self._taken.add(beside)
        return [Step(beside, _text("file", found), "", partial(os.unlink, beside))]

    def _is_used(self, path: str, besides: set[str]) -> bool:
        """Tell whether a directory holds anything but what this item or, by ``besides``, another task takes away."""
        going = {os.path.basename(taken) for taken in self._taken if os.path.dirname(taken) == path}
        return bool(set(os.listdir(path)) - going - besides)


def _status(path: str, follow: bool) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _text(kind: str, status: os.stat_result) -> str:
    return entry_line(kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _made_directory(path: str, mode: int, gid: int) -> Step:
    def make() -> None:
        os.mkdir(path, 0o700)
        _own(path, mode, gid)

    return Step(path, "", entry_line("directory", mode, 0, gid), make)


def _own(path: str, mode: int, gid: int) -> None:
    os.chown(path, 0, gid)
    os.chmod(path, mode)  # last, because a change of owner may clear bits of it


def _replaced(path: str, found: Content | None, wanted: Content) -> Step:
    diff = file_diff(path, found, wanted)
    apply = partial(replace_file, path, wanted)
    return Step(diff["before_header"], diff["before"], diff["after"], apply, diff["after_header"])


def _check(path: str, argv: list[str], content: Content) -> None:
    """Ask a checker about new content. Raises ItemError with what it said."""
    with tempfile.TemporaryDirectory(prefix="wcp360-") as directory:
        place = os.path.join(directory, os.path.basename(path))
        with open(place, "xb") as file:
            file.write(content.data)
        words = [place if word == PLACE else word for word in argv]
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ItemError(f"{argv[0]}, which checks {path}, cannot be asked: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").replace(place, path).strip()
        raise ItemError(f"{argv[0]} refuses what {path} would hold: {said}")


def _replace_link(path: str, target: str) -> None:
    os.symlink(target, path + TEMPORARY)
    os.rename(path + TEMPORARY, path)


def _remove_directory(path: str, only_empty: bool) -> None:
    if not only_empty:
        shutil.rmtree(path)
        return
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        left = ", ".join(sorted(os.listdir(path)))
        raise ItemError(f"{path} was to be removed, but holds what was to go before it: {left}. Retry.") from error
