"""Directories, create-only files and removals below a trusted directory, in trees that belong to tenants.

A directory is made as root's own with the mode ``01700``, filled while nobody else can enter it, and handed over
last. One that still looks so was left by a killed run and is taken up as if it had just been made.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.dirfd import opened, opened_below, split_relative
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError, Step, entry_line
from ansible_collections.wcp360.hosting.plugins.module_utils.purging import (
    PURGE_PREFIX,
    STAMP_FORMAT,
    make_grave,
    purge_directory,
)

UNFINISHED_MODE = 0o1700
TRASH_MODE = 0o700


@dataclass(frozen=True)
class Entry:
    """A directory or seed as it has to be: path components below the base, mode and owner."""

    parts: list[str]
    mode: int
    uid: int
    gid: int
    content: str = ""

    def text(self, kind: str = "directory") -> str:
        """Return the one line that stands for it in a diff."""
        return entry_line(kind, self.mode, self.uid, self.gid)


class OwnedTree:
    """Plans one item of the module; ``check`` allows for parents that other tasks of the run will have made.

    ``coming`` is shared by the items of one call in check mode: the directories that those before this one will have
    put right, so that two items which need the same one predict it once.
    """

    def __init__(self, item: dict[str, Any], check: bool, coming: dict[str, Entry] | None = None) -> None:
        self.item = item
        self.coming = coming if check and coming is not None else {}
        self.base: str = item["base"]
        self.check = check
        self.owners = {0, item["owner_uid"]}
        self.created: list[Entry] = []

    def plan(self) -> list[Step]:
        """Return the steps for the item. Raises ItemError when it cannot be converged."""
        if self.item["state"] == "absent":
            return self._plan_absent()
        if not os.path.isdir(self.base) and not self.check:
            raise ItemError(f"{self.base} does not exist. Make it (as root's own), then retry.")
        steps = [step for spec in self.item["directories"] for step in self._plan_directory(self._entry(spec))]
        steps += [step for spec in self.item["seeds"] for step in self._plan_seed(spec)]
        if self.created:
            steps[-1].apply = _in_turn(steps[-1].apply, self._hand_over)
        if self.check:
            entries = map(self._entry, self.item["directories"])
            self.coming |= {self._shown(entry.parts): entry for entry in entries}
        return steps

    def _entry(self, spec: dict[str, Any]) -> Entry:
        uid = self.item["owner_uid"] if spec["uid"] is None else spec["uid"]
        gid = self.item["owner_gid"] if spec["gid"] is None else spec["gid"]
        return Entry(split_relative(spec["path"]), _mode(spec["mode"]), uid, gid, spec.get("content") or "")

    def _shown(self, parts: list[str]) -> str:
        return os.path.join(self.base, *parts)

    def _plan_directory(self, entry: Entry) -> list[Step]:
        header = self._shown(entry.parts)
        status = self._status(entry)
        found = self.coming.get(header) or _as_entry(entry.parts, status)
        if found is None:
            self.created.append(entry)
            return [Step(header, "", entry.text(), lambda: self._make(entry))]
        if found.uid != entry.uid:
            raise ItemError(f"{header} belongs to the user with uid {found.uid}, not to uid {entry.uid}: left alone.")
        if found == entry:
            return []
        return [Step(header, found.text(), entry.text(), lambda: self._correct(entry))]

    def _status(self, entry: Entry) -> os.stat_result | None:
        """Return what the directory is, or None where it is missing; a missing parent is an error in a real run."""
        try:
            with opened(self.base) as base:
                parents = opened_below(base, entry.parts[:-1], self.base, self.owners)
                with parents as parent:
                    return _directory_status(parent, entry.parts[-1], self._shown(entry.parts))
        except FileNotFoundError as error:
            coming = [made.parts for made in self.created]
            if self.check or entry.parts[:-1] in coming:
                return None
            message = f"The directory above {self._shown(entry.parts)} does not exist. Converge its owner first."
            raise ItemError(message) from error

    def _make(self, entry: Entry) -> None:
        with self._parent(entry) as parent:
            status = _directory_status(parent, entry.parts[-1], self._shown(entry.parts))
            if status is None:
                os.mkdir(entry.parts[-1], UNFINISHED_MODE, dir_fd=parent)

    def _parent(self, entry: Entry) -> Any:
        return _Parent(self.base, entry.parts[:-1], self.owners)

    def _correct(self, entry: Entry) -> None:
        with opened(self.base) as base, opened_below(base, entry.parts, self.base, self.owners) as directory:
            if os.fstat(directory).st_uid != entry.uid:
                raise ItemError(f"{self._shown(entry.parts)} was exchanged while it was looked at. Retry.")
            _set(directory, entry)

    def _hand_over(self) -> None:
        """Give the new directories to their owners, the deepest first: nobody enters one before it is complete."""
        for entry in reversed(self.created):
            with opened(self.base) as base, opened_below(base, entry.parts, self.base, self.owners) as directory:
                if not _is_unfinished(os.fstat(directory)):
                    raise ItemError(
                        f"{self._shown(entry.parts)} was exchanged while it was made. Remove it, then retry."
                    )
                _set(directory, entry)

    def _plan_seed(self, spec: dict[str, Any]) -> list[Step]:
        entry = self._entry(spec)
        only_with = split_relative(spec["only_with"])
        if entry.parts[: len(only_with)] != only_with or len(entry.parts) == len(only_with):
            raise ItemError(f"The seed {spec['path']} is not below {spec['only_with']}, with which it has to come.")
        if only_with not in [made.parts for made in self.created]:
            return []
        return [Step(self._shown(entry.parts), "", entry.content, lambda: self._write(entry))]

    def _write(self, entry: Entry) -> None:
        with self._parent(entry) as parent:
            if _exists(parent, entry.parts[-1]):  # what a killed run left: nobody else has been in there yet
                os.unlink(entry.parts[-1], dir_fd=parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(entry.parts[-1], flags, 0o600, dir_fd=parent)
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(entry.content)
                file.flush()
                _set(descriptor, entry)

    def _plan_absent(self) -> list[Step]:
        if not self.item["path"] or not self.item["trash"]:
            raise ItemError("An item with state absent needs 'path' and 'trash'.")
        if not os.path.isdir(self.base):
            return []
        return Removal(self.item, self.owners).plan(self.coming if self.check else None)


class Removal:
    """Takes one directory away: by renaming it into the trash, and by deleting it there when it is to be purged."""

    def __init__(self, item: dict[str, Any], owners: set[int]) -> None:
        self.base: str = item["base"]
        self.parts = split_relative(item["path"])
        self.owners = owners
        self.trash: str = item["trash"].rstrip("/")
        self.purge: bool = item["purge"]
        name = item["trash_name"] or f"{self.parts[-1]}-{item['owner_uid']}"
        if len(split_relative(name)) > 1:
            raise ItemError(f"trash_name '{name}' must be one plain name.")
        self.name = name
        self.grave = PURGE_PREFIX + self.name

    def plan(self, coming: dict[str, Entry] | None = None) -> list[Step]:
        """Return the steps: making the trash where it is missing and not in ``coming``, and the removal."""
        header = os.path.join(self.base, *self.parts)
        status = self._status(header)
        half_deleted = self.purge and os.path.isdir(os.path.join(self.trash, self.grave))
        if status is None and not half_deleted:
            return []
        if status and status.st_uid not in self.owners:
            raise ItemError(f"{header} belongs to the user with uid {status.st_uid}: left alone.")
        steps = self._plan_trash(coming)
        if status is None:
            return [*steps, Step(header, "half deleted by an interrupted run\n", "", self._finish)]
        before = Entry(self.parts, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid).text()
        after = "" if self.purge else f"moved to {self.trash}\n"
        return [*steps, Step(header, before, after, self._purge if self.purge else self._move)]

    def _plan_trash(self, coming: dict[str, Entry] | None) -> list[Step]:
        if self._trash_exists() or self.trash in (coming or {}):
            return []
        made = Entry([], TRASH_MODE, 0, 0)
        if coming is not None:
            coming[self.trash] = made
        return [Step(self.trash, "", made.text(), self._make_trash)]

    def _status(self, header: str) -> os.stat_result | None:
        try:
            with _Parent(self.base, self.parts[:-1], self.owners) as parent:
                return _directory_status(parent, self.parts[-1], header)
        except FileNotFoundError:
            return None

    def _trash_exists(self) -> bool:
        try:
            with opened(os.path.dirname(self.trash)) as above:
                status = _directory_status(above, os.path.basename(self.trash), self.trash)
        except FileNotFoundError as error:
            raise ItemError(f"The directory above {self.trash} does not exist. Make it, then retry.") from error
        if status and (status.st_uid or stat.S_IMODE(status.st_mode) & 0o077):
            raise ItemError(f"{self.trash} is not a private directory of root (mode 0700): nothing is moved there.")
        return status is not None

    def _make_trash(self) -> None:
        os.mkdir(self.trash, TRASH_MODE)

    def _move(self) -> None:
        with opened(self.trash) as trash:
            self._rename(trash, self._free_name(trash))

    def _free_name(self, trash: int) -> str:
        stamp = datetime.now(UTC).strftime(STAMP_FORMAT)
        name = stamped = f"{self.name}-{stamp}"
        number = 1
        while _exists(trash, name):
            number += 1
            name = f"{stamped}-{number}"
        return name

    def _purge(self) -> None:
        with opened(self.trash) as trash:
            make_grave(trash, self.grave)
            with opened_below(trash, [self.grave], self.trash, {0}) as grave:
                self._rename(grave, "moved-0")
        self._finish()

    def _finish(self) -> None:
        with opened(self.trash) as trash:
            purge_directory(trash, self.grave)

    def _rename(self, target: int, name: str) -> None:
        with _Parent(self.base, self.parts[:-1], self.owners) as parent:
            os.rename(self.parts[-1], name, src_dir_fd=parent, dst_dir_fd=target)


class _Parent:
    """The descriptor of a directory below a base, with the base's own descriptor closed along with it."""

    def __init__(self, base: str, parts: list[str], owners: set[int]) -> None:
        self._base = opened(base)
        self._arguments = (parts, base, owners)

    def __enter__(self) -> int:
        with self._base as base:
            self._below = opened_below(base, *self._arguments)
            return self._below.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._below.__exit__(*error)


def _in_turn(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        first()
        second()

    return both


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError as error:
        raise ItemError(f"'{text}' is no octal mode such as 0750.") from error
    if not 0 <= mode <= 0o7777:
        raise ItemError(f"The mode {text} is out of range.")
    return mode


def _set(descriptor: int, entry: Entry) -> None:
    """Give what is open to its owner; the mode comes last, because a change of owner may clear bits of it."""
    os.fchown(descriptor, entry.uid, entry.gid)
    os.fchmod(descriptor, entry.mode)


def _as_entry(parts: list[str], status: os.stat_result | None) -> Entry | None:
    """Return what was found, None for nothing and for what a killed run left, which is taken up as new."""
    if status is None or _is_unfinished(status):
        return None
    return Entry(parts, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _is_unfinished(status: os.stat_result) -> bool:
    return (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0, UNFINISHED_MODE)


def _exists(descriptor: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _directory_status(parent: int, name: str, shown: str) -> os.stat_result | None:
    """Return what the directory ``name`` is, None where nothing is; raise ItemError for a link or a file."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return status
    kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a directory"
    raise ItemError(f"{shown} is {kind}: nothing is done through it. Remove it, then retry.")
