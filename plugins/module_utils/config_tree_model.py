"""What a configuration tree is made of, and what it should be: files, owners, digests and claims.

A tree is a directory with ``current -> generations/<digest>``. Everything in a generation is either listed in its
manifest (then it belongs to an item, or is shared) or foreign, and a foreign file is carried along untouched.
"""

from __future__ import annotations

import functools
import grp
import hashlib
import json
import os
import pwd
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_directories import Directory, lasting
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError, entry_line

MANIFEST = ".manifest.json"
ITEM_PLACEHOLDER = b"@@WCP360_ITEM@@"
GENERATION_PLACEHOLDER = b"@@WCP360_GENERATION@@"
# Short enough for a response header, long enough that two configurations never share it by accident (64 bits).
DIGEST_LENGTH = 16
SHARED = ""
# Size and time of the last change of a file, by which its content is known again without reading it.
Stamp = tuple[int, ...]


def stamp_of(status: os.stat_result) -> Stamp:
    """Return by what a file is known again. Not its ctime: every hard link that comes or goes changes that."""
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Content:
    """One regular file as it is, or as it should be. ``stamp`` is empty for one that was not read from a disk."""

    data: bytes
    mode: int
    uid: int
    gid: int
    stamp: Stamp = field(default=(), compare=False)

    @property
    def attributes(self) -> str:
        """Return mode and owner in the form that diffs use."""
        return f"{self.mode:04o} {self.uid}:{self.gid}"

    def fingerprint(self) -> str:
        """Return a digest over content, mode and owner."""
        return digest_of([self.attributes.encode(), self.data])


class Unread:
    """A file of an item that the call does not list: left as it is, and read only where somebody asks for it.

    Among thousands of items one is changed as fast as among few. ``remembered`` is the stamp that it had when it held
    no path which a scratch copy would have to lead elsewhere, empty when it held one. Equal to itself alone.
    """

    def __init__(self, path: str, remembered: Stamp, read: Callable[[str], Content | None]) -> None:
        self.path = path
        self.remembered = remembered
        self._read = read

    @functools.cached_property
    def plain(self) -> bool:
        """Tell whether it still is the file that held nothing to lead elsewhere: a hand may have been at it."""
        try:
            return bool(self.remembered) and stamp_of(os.lstat(self.path)) == self.remembered
        except FileNotFoundError:
            return False

    def read(self) -> Content:
        """Return what it is now. Raises ItemError when it is gone."""
        content = self._read(self.path)
        if content is None:
            raise ItemError(f"{self.path} was taken away or exchanged while it was looked at. Retry.")
        return content

    def __getattr__(self, name: str) -> Any:
        if name not in ("data", "mode", "uid", "gid", "attributes", "fingerprint"):
            raise AttributeError(name)
        return getattr(self.read(), name)


@dataclass(frozen=True)
class ItemRecord:
    """What the manifest keeps of one item.

    ``base`` is the digest of what was asked for. ``digest`` is what the running service answers with: the same, unless
    a hand edit was put right; then it differs, because the service may have loaded the edit under the old digest.
    """

    base: str
    digest: str
    claims: tuple[str, ...] = ()


@dataclass
class Generation:
    """One generation: the managed files by relative path, who owns each of them, and the foreign files' paths.

    ``recorded`` are the fingerprints of what WCP360 wrote (what is there may have been edited since), ``raw`` those of
    the shared files before the generation's own digest was put in. ``plain`` are the stamps of files in which a scratch
    copy rewrites nothing, as long as what it rewrites is what ``rewritten`` is the digest of; one that is still to be
    written has an empty stamp. ``directories`` are those on disk, foreign ones included.
    """

    files: dict[str, Content | Unread] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    items: dict[str, ItemRecord] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    recorded: dict[str, str] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    plain: dict[str, Stamp] = field(default_factory=dict)
    directories: dict[str, Directory] = field(default_factory=dict)
    rewritten: str = ""
    base: str = ""
    digest: str = ""

    def files_of(self, owner: str) -> dict[str, Content]:
        """Return what is there of the files of one item (or the shared ones)."""
        return {path: self.files[path] for path in self.paths_of(owner) if path in self.files}

    def paths_of(self, owner: str) -> list[str]:
        """Return the relative paths that the manifest gives to one item, whether they are still there or not."""
        return self._by_owner().get(owner, [])

    def _by_owner(self) -> dict[str, list[str]]:
        if not hasattr(self, "_index"):
            self._index: dict[str, list[str]] = {}
            for path, owner in self.owners.items():
                self._index.setdefault(owner, []).append(path)
        return self._index

    def lasting_directories(self) -> set[str]:
        """Return the directories that somebody else made, or put something into."""
        return lasting(self.directories, self.owners, self.foreign)

    def hand_edits(self, owner: str) -> str:
        """Return a digest of what people changed in the files of an item, empty when they changed nothing."""
        edits = []
        for path in sorted(self.paths_of(owner)):
            now = self.files[path].fingerprint() if path in self.files else "missing"
            if now != self.recorded.get(path):
                edits += [path.encode(), now.encode()]
        return digest_of(edits) if edits else ""

    def manifest(self) -> bytes:
        """Return the manifest as it is stored beside the files."""
        files = {
            path: {
                "item": owner,
                "sum": self.recorded[path],
                "raw": self.raw.get(path, ""),
                **({"stamp": self.plain[path]} if self.plain.get(path) else {}),
            }
            for path, owner in self.owners.items()
        }
        items = {
            key: {"base": record.base, "digest": record.digest, "claims": list(record.claims)}
            for key, record in self.items.items()
        }
        document = {"version": 1, "base": self.base, "generation": self.digest, "rewrites": self.rewritten}
        # Without indentation: with it the slow encoder is used, and thousands of items cost half a second.
        return json.dumps({**document, "files": files, "items": items}, sort_keys=True).encode() + b"\n"

    def read_manifest(self, data: bytes) -> None:
        """Take owners, digests and claims from a stored manifest."""
        document = json.loads(data)
        self.base, self.digest = document["base"], document["generation"]
        self.rewritten = document.get("rewrites", "")
        for path, entry in document["files"].items():
            self.owners[path] = entry["item"]
            self.recorded[path] = entry["sum"]
            if entry["raw"]:
                self.raw[path] = entry["raw"]
            if entry.get("stamp"):
                self.plain[path] = tuple(entry["stamp"])
        for key, entry in document["items"].items():
            self.items[key] = ItemRecord(entry["base"], entry["digest"], tuple(entry["claims"]))


@dataclass
class Wanted:
    """What one item of the call asks for. ``files`` still hold the placeholders."""

    id: str
    present: bool
    claims: tuple[str, ...]
    files: dict[str, Content]


def digest_of(parts: list[bytes]) -> str:
    """Return a short digest over parts, each preceded by its length so that no two lists collide."""
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).hexdigest()[:DIGEST_LENGTH]


def digest_of_prints(prints: dict[str, str]) -> str:
    """Return the digest over paths and the fingerprints of their contents."""
    return digest_of([part for path in sorted(prints) for part in (path.encode(), prints[path].encode())])


def fingerprints(files: dict[str, Content]) -> dict[str, str]:
    """Return the fingerprint of each file."""
    return {path: content.fingerprint() for path, content in files.items()}


def wanted(spec: dict[str, Any]) -> Wanted:
    """Turn one item of the module's arguments into what it asks for. Raises ItemError with the offending value."""
    if spec.get("refuse"):
        raise ItemError(spec["refuse"])
    if spec["id"] == SHARED:
        raise ItemError("An item needs an id that is not empty.")
    present = spec["state"] == "present"
    files = wanted_files(spec.get("files") or []) if present else {}
    return Wanted(spec["id"], present, tuple(spec.get("claims") or ()) if present else (), files)


def file_diff(path: str, old: Content | Unread | None, new: Content | Unread | None) -> dict[str, str]:
    """Return the difference of one file, None for one that is not there, in the form that Ansible prints."""
    same = old is not None and new is not None and old.attributes == new.attributes
    before_header = path if same or old is None else f"{path} ({old.attributes})"
    after_header = path if same or new is None else f"{path} ({new.attributes})"
    before = old.data.decode("utf-8", "replace") if old else ""
    after = new.data.decode("utf-8", "replace") if new else ""
    if before == after:  # mode or owner alone, or an empty file: two equal sides would not show as a difference
        before_header = after_header = path
        before, after = (entry_line("file", one.mode, one.uid, one.gid) if one else "" for one in (old, new))
    return {"before_header": before_header, "after_header": after_header, "before": before, "after": after}


def line_diff(path: str, before: str, after: str) -> dict[str, str]:
    """Return the difference of something that a line stands for, such as a directory."""
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def wanted_files(specs: list[dict[str, Any]]) -> dict[str, Content]:
    """Turn file arguments into contents by relative path. Raises ItemError."""
    files: dict[str, Content] = {}
    for spec in specs:
        path = checked_path(spec["path"])
        if path in files:
            raise ItemError(f"The file {path} is listed twice.")
        if spec.get("content") is None:
            raise ItemError(f"The file {path} has no content: give a template or content.")
        mode, uid, gid = mode_of(spec["mode"]), _uid(spec["owner"]), _gid(spec["group"])
        files[path] = Content(spec["content"].encode("utf-8", "surrogateescape"), mode, uid, gid)
    return files


def checked_path(path: str) -> str:
    """Return the path when it stays inside of the tree. Raises ItemError otherwise."""
    parts = path.split("/")
    if not re.fullmatch(r"[A-Za-z0-9._@+/-]{1,4096}", path, re.ASCII) or any(part in ("", ".", "..") for part in parts):
        raise ItemError(f"The file path {path!r} is not one inside of the tree: give a relative path without '..'.")
    if any(len(part) > 255 for part in parts):
        raise ItemError(f"The file path {path!r} has a part longer than the 255 bytes that a file system takes.")
    if parts[0] == MANIFEST:
        raise ItemError(f"The file path {path!r} is kept for the tree's own record.")
    return path


def mode_of(mode: str) -> int:
    """Return an octal mode as a number. Raises ItemError."""
    if not re.fullmatch(r"0?[0-7]{3}", mode, re.ASCII):
        raise ItemError(f"The mode {mode!r} is not an octal one such as '0644'.")
    return int(mode, 8)


def _uid(owner: str) -> int:
    if re.fullmatch(r"[0-9]{1,10}", owner, re.ASCII):
        return int(owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise ItemError(f"The owner {owner!r} is no user of this machine: create it first or give a number.") from None


def _gid(group: str) -> int:
    if re.fullmatch(r"[0-9]{1,10}", group, re.ASCII):
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ItemError(f"The group {group!r} is no group of this machine: create it first or give a number.") from None


def conflicts(before: Generation, selected: dict[str, Wanted], foreign: dict[str, str]) -> dict[str, str]:
    """Return a sentence for each selected item that wants a file or claim which something else has.

    ``foreign`` maps a claim to the foreign file that has it. Items that are not selected keep what they have.
    """
    holders = {f"file {path}": owner for path, owner in before.owners.items() if owner not in selected}
    for key, record in before.items.items():
        if key not in selected:
            holders.update({f"claim {claim}": key for claim in record.claims})
    found = {}
    lasting = before.lasting_directories()
    for key, item in selected.items():
        problem = in_the_way(item.files, before.foreign, lasting) or _conflict(item, holders, foreign)
        if problem:
            found[key] = problem
        else:
            holders.update({f"file {path}": key for path in item.files})
            holders.update({f"claim {claim}": key for claim in item.claims})
    return found


def in_the_way(paths: Iterable[str], foreign: set[str], directories: set[str]) -> str:
    """Return a sentence about something foreign where a file, or a directory above it, is to be; empty for nothing.

    ``{path}`` in it stands for the generation's path.
    """
    for path in paths:
        found = path if path in directories else next((one for one in _and_above(path) if one in foreign), "")
        if found:
            return f"{{path}}/{found} is in the way: WCP360 did not write it. Move it away, then retry."
    return ""


def _and_above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _conflict(item: Wanted, holders: dict[str, str], foreign: dict[str, str]) -> str:
    for path in item.files:
        holder = holders.get(f"file {path}")
        if holder is not None:
            return f"The file {path} belongs to {holder or 'the shared files'} already."
    for claim in item.claims:
        if claim in foreign:
            file = foreign[claim]
            return f"{claim} is served by {file} already, which WCP360 did not write. Remove it there, then retry."
        holder = holders.get(f"claim {claim}")
        if holder is not None:
            return f"{claim} belongs to {holder} already."
    return ""


def item_record(item: Wanted, before: Generation) -> ItemRecord:
    """Return the record of an item that goes in."""
    base = digest_of_prints(fingerprints(item.files))
    last = before.items.get(item.id)
    edits = before.hand_edits(item.id)
    if last and last.base == base:
        return ItemRecord(
            base, digest_of([last.digest.encode(), edits.encode()]) if edits else last.digest, item.claims
        )
    return ItemRecord(base, base, item.claims)


def compose(before: Generation, shared: dict[str, Content] | None, selected: dict[str, Wanted]) -> Generation:
    """Return the generation that results from ``before`` when the selected items, and the shared files, go in."""
    after = Generation(foreign=before.foreign)
    for path, owner in before.owners.items():
        if owner != SHARED and owner not in selected:
            after.owners[path], after.recorded[path] = owner, before.recorded[path]
            if path in before.files:
                after.files[path] = before.files[path]
    after.items = {key: record for key, record in before.items.items() if key not in selected}
    for item in selected.values():
        if item.present:
            _put(after, item, item_record(item, before))
    _seal(after, before, shared, selected)
    return after


def _put(after: Generation, item: Wanted, record: ItemRecord) -> None:
    after.items[item.id] = record
    for path, content in item.files.items():
        after.owners[path] = item.id
        after.files[path] = _filled(content, ITEM_PLACEHOLDER, record.digest)
        after.recorded[path] = after.files[path].fingerprint()


def _seal(
    after: Generation, before: Generation, shared: dict[str, Content] | None, selected: dict[str, Wanted]
) -> None:
    raw = _raw_shared(before) if shared is None else shared
    after.raw = {**before.raw} if shared is None else fingerprints(shared)
    after.base = after.digest = digest_of_prints({**after.recorded, **after.raw})
    if after.base == before.base:
        healed = [*selected, *([] if shared is None else [SHARED])]
        edits = "".join(before.hand_edits(owner) for owner in sorted(healed))
        after.digest = digest_of([before.digest.encode(), edits.encode()]) if edits else before.digest
    for path, content in raw.items():
        after.owners[path] = SHARED
        after.files[path] = _filled(content, GENERATION_PLACEHOLDER, after.digest)
        after.recorded[path] = after.files[path].fingerprint()


def _raw_shared(before: Generation) -> dict[str, Content]:
    mark = before.digest.encode() or GENERATION_PLACEHOLDER
    return {
        path: replace(content, data=content.data.replace(mark, GENERATION_PLACEHOLDER))
        for path, content in before.files_of(SHARED).items()
    }


def _filled(content: Content, placeholder: bytes, digest: str) -> Content:
    return replace(content, data=content.data.replace(placeholder, digest.encode()))
