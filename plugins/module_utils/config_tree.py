"""One call of config_tree: what is asked for, what is taken, what changes, and the change itself."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_directories import TOP
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_entries import Entries
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_judge import Judge
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_model import (
    SHARED,
    Content,
    Generation,
    Unread,
    Wanted,
    compose,
    conflicts,
    file_diff,
    in_the_way,
    line_diff,
    mode_of,
    wanted,
    wanted_files,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_scan import foreign_claims
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_scratch import Rewriter, Scratch
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_seal import seal
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_store import CURRENT, Store, read_content
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError, ItemResult


class ConfigTree:
    """Plans a call and applies it. ``results`` come in the order of the call, the shared files' first."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.store = Store(params["path"], mode_of(params["directory_mode"]))
        self.before = self.store.load({SHARED, *(item["id"] for item in params["items"])})
        self.after = self.before
        self.entries = Entries(params["entries"])
        self.results: dict[str, ItemResult] = {}
        self.selected: dict[str, Wanted] = {}
        self.shared: dict[str, Content] | None = None
        self.verdict = ""
        self._heals = False
        if params["shared"] is not None:
            self.shared = wanted_files(params["shared"])
        if params["shared"] is not None or params["entries"]:
            self.results[params["shared_id"]] = ItemResult(params["shared_id"])

    def plan(self) -> None:
        """Find out which items go in and what differs. Raises ItemError where the whole tree cannot be converged."""
        self._read_items()
        self._make_way()
        claims = self._foreign_claims()
        self._settle(claims)
        self._ask_checker(claims)
        self.after = self._compose(self.selected)
        for key in self.selected:
            self._describe(self.results[key], key)
        common = self.results.get(self.params["shared_id"])
        if common is not None and not common.failed:
            self._describe(common, SHARED)
            for path in self.entries.changing:
                common.diff.append(file_diff(path, self.entries.present[path], self.entries.wanted[path]))
            common.diff += [line_diff(path, line, "") for path, line in self.entries.leftovers.items()]
            common.changed = bool(common.diff)
        self._describe_directories()

    def apply(self) -> None:
        """Write the new generation when anything differs, then the files by which the service finds it."""
        if self.changed:
            self._mark_plain()
            self.store.write(self.before, self.after, self.params["keep_generations"])
        common = self.results.get(self.params["shared_id"])
        if common is not None and not common.failed:
            self.entries.write()

    def _mark_plain(self) -> None:
        """Record which files the checker can read where they are, so that the next call need not copy them."""
        if self.params["checker"] is None:
            return
        rewriter = Rewriter(self.params["checker"], self.params["path"])
        self.after.rewritten = rewriter.digest
        known = self.before.rewritten == rewriter.digest
        for path, content in self.after.files.items():
            if known and isinstance(content, Unread):
                if content.plain:  # one that was edited is copied from now on, until it is written anew
                    self.after.plain[path] = content.remembered
                continue
            there = self.before.files.get(path)
            found = there if there == content else content
            found = found.read() if isinstance(found, Unread) else found
            if not rewriter.finds(found.data):
                self.after.plain[path] = found.stamp

    @property
    def changed(self) -> bool:
        """Return whether a file is to be written, changed or taken away, or a directory to be put right."""
        return self._heals or self._writes

    @property
    def _writes(self) -> bool:
        return self.before.files != self.after.files or self.before.owners != self.after.owners

    def answer(self) -> dict[str, Any]:
        """Return what the module reports beside the items."""
        return {
            "generation": self.after.digest,
            "item_generations": {key: record.digest for key, record in self.after.items.items()},
            "failed_ids": [key for key, result in self.results.items() if result.failed],
            "path": self.params["path"],
            "verdict": self.verdict,
        }

    def _read_items(self) -> None:
        for spec in self.params["items"]:
            key = spec["id"]
            if key in self.results:
                self.selected.pop(key, None)
                self.results[key].fail(f"The id {key} is listed twice in one call.")
                continue
            result = self.results[key] = ItemResult(key)
            try:
                self.selected[key] = wanted(spec)
            except ItemError as error:
                result.fail(str(error))

    def _make_way(self) -> None:
        problem = in_the_way(self.shared or (), self.before.foreign, self.before.lasting_directories())
        if problem:
            raise ItemError(problem.replace("{path}", self.store.current, 1))

    def _foreign_claims(self) -> dict[str, str]:
        if self.params["scan"] is None:
            return {}
        overlay = (self.params["checker"] or {}).get("overlay") or []
        claims = foreign_claims(self.params["scan"], [*overlay, *self.entries.overlay()], self.params["path"])
        for claim in self.params["shared_claims"]:
            if claim in claims:
                raise ItemError(
                    f"{claims[claim]} has {claim} already, and WCP360 did not write that file. "
                    "Remove it there, then retry."
                )
        return claims

    def _settle(self, claims: dict[str, str]) -> None:
        # An item that is left out keeps its last files and claims, which may then stand in another one's way.
        while found := conflicts(self.before, self.selected, claims):
            for key, problem in found.items():
                self._refuse(key, problem.replace("{path}", f"{self.params['path']}/{CURRENT}", 1))

    def _refuse(self, key: str, message: str) -> None:
        del self.selected[key]
        self.results[key].fail(message)

    def _ask_checker(self, claims: dict[str, str]) -> None:
        checker = self.params["checker"]
        changing = self._changing()
        shared_differ = self._differs(SHARED, self._compose(self.selected)) or self.entries.changing
        if checker is None or not (changing or shared_differ):
            return
        scratch = Scratch({**checker, "overlay": [*checker["overlay"], *self.entries.overlay()]}, self.params["path"])
        if not scratch.binary:
            self._not_checked(checker["service"], changing)
            return
        sealed = self._sealed(scratch)
        if sealed and sealed == self.params["verdict"]:
            return
        scratch.links = scratch.rewriter.digest == self.before.rewritten
        with scratch:
            for key, message in self._verdict(scratch, changing).items():
                if key:
                    self._refuse(key, message)
                else:
                    self._refuse_all(changing, message)
                sealed = ""
        self.verdict = sealed
        self._settle(claims)

    def _sealed(self, scratch: Scratch) -> str:
        """Return what the verdict on the selected items rests on; empty where each file is judged by itself."""
        if scratch.checker["per_file"]:
            return ""
        return seal(scratch.checker, scratch.binary, self.store.current, self._compose(self.selected).digest)

    def _verdict(self, scratch: Scratch, changing: list[str]) -> dict[str, str]:
        foreign = {}
        for path in self.before.foreign:
            content = read_content(os.path.join(self.store.current, path))
            if content is not None:
                foreign[path] = content
        quiet = {key: item for key, item in self.selected.items() if key not in changing}
        judge = Judge(scratch, functools.partial(self._compose_keys, quiet), foreign, scratch.checker["service"])
        if scratch.checker["per_file"]:
            return judge.refused_alone([key for key in changing if self.selected[key].present], self.selected)
        return judge.refused(changing, self.before)

    def _compose_keys(self, quiet: dict[str, Wanted], keys: Iterable[str]) -> Generation:
        return self._compose(quiet | {key: self.selected[key] for key in keys})

    def _compose(self, selected: dict[str, Wanted]) -> Generation:
        return compose(self.before, self.shared, selected)

    def _not_checked(self, service: str, changing: list[str]) -> None:
        reason = f"{service} is not installed yet, so its own check of the configuration was left out"
        for key in (*changing, self.params["shared_id"]):
            if key in self.results:
                self.results[key].not_checked = reason

    def _refuse_all(self, changing: list[str], message: str) -> None:
        for key in changing:
            self._refuse(key, message)
        if self.params["shared_id"] in self.results:
            self.results[self.params["shared_id"]].fail(message)
            self.shared = None

    def _changing(self) -> list[str]:
        after = self._compose(self.selected)
        return [key for key in self.selected if self._differs(key, after)]

    def _differs(self, owner: str, after: Generation) -> bool:
        return self.before.files_of(owner) != after.files_of(owner) or self.before.paths_of(owner) != after.paths_of(
            owner
        )

    def _describe(self, result: ItemResult, owner: str) -> None:
        old, new = self.before.files_of(owner), self.after.files_of(owner)
        for path in sorted({*old, *new}):
            if old.get(path) != new.get(path):
                result.diff.append(file_diff(f"{self.params['path']}/{CURRENT}/{path}", old.get(path), new.get(path)))
        result.changed = bool(result.diff)

    def _describe_directories(self) -> None:
        """Report the tree's own directories that somebody changed, each with one result: any writing heals them."""
        if not self._writes and TOP not in self.before.directories:
            return
        for path, (place, found) in self.store.drift(self.before, self.after).items():
            result = self._responsible(place)
            if result is not None:
                result.diff.append(line_diff(path, found.text(), self.store.own.text()))
                result.changed = self._heals = True

    def _responsible(self, place: str) -> ItemResult | None:
        """Return the result that tells of a directory; None where nobody answers for it, and it is left.

        It is the shared files' where the call has any, otherwise that of an item with files in it, or of any.
        """
        common = self.results.get(self.params["shared_id"])
        if common is not None:
            return None if common.failed else common
        below = f"{place}/" if place else ""
        inside = (key for key in self.selected if any(path.startswith(below) for path in self.after.paths_of(key)))
        key = next(inside, next(iter(self.selected), None))
        return None if key is None else self.results[key]


def refused_as_a_whole(params: dict[str, Any], message: str) -> list[ItemResult]:
    """Return the results when something is in the way of the tree itself: everything fails with that sentence."""
    common = [params["shared_id"]] if params["shared"] is not None or params["entries"] else []
    results = [ItemResult(key) for key in dict.fromkeys([*common, *(item["id"] for item in params["items"])])]
    for result in results:
        result.fail(message)
    return results


def removal(params: dict[str, Any]) -> list[ItemResult]:
    """Return what taking the whole tree away changes. Raises ItemError when it holds files that are not ours.

    Items that the call lists as absent are left out: a task before this one removed and reported them.
    """
    before = Store(params["path"]).load()
    if before.foreign:
        path = f"{params['path']}/{CURRENT}/{min(before.foreign)}"
        raise ItemError(f"{path} is in the way: WCP360 did not write it. Move it away, then retry.")
    results: dict[str, ItemResult] = {}

    def add(key: str, diff: dict[str, str]) -> None:
        results.setdefault(key, ItemResult(key, changed=True)).diff.append(diff)

    told_before = {item["id"] for item in params["items"] if item["state"] == "absent"}
    for path, owner in sorted(before.owners.items()):
        if owner not in told_before:
            add(
                owner or params["shared_id"],
                file_diff(f"{params['path']}/{CURRENT}/{path}", before.files.get(path), None),
            )
    entries = Entries(params["entries"])
    for path, content in entries.present.items():
        if content is not None:
            add(params["shared_id"], file_diff(path, content, None))
    for path, line in entries.leftovers.items():
        add(params["shared_id"], line_diff(path, line, ""))
    if there := Store(params["path"]).described():
        add(params["shared_id"], line_diff(params["path"], there, ""))
    return list(results.values())
