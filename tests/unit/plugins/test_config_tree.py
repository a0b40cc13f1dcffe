"""config_tree on real directories with a real checker program that refuses what a service would refuse."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree import ConfigTree, refused_as_a_whole, removal
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_entries import Entries
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_scratch import (
    PREFIX,
    Scratch,
    remove_leftovers,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_store import REMOVED, Store
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError, ItemResult

OWNER = {"owner": str(os.geteuid()), "group": str(os.getegid())}
# Refuses a file that says "bad", naming it when it says "bad named"; two files that say "pair" are refused together.
CHECKER = """
import pathlib, sys
root = pathlib.Path(sys.argv[1])
with open(root.parents[0] / "runs", "a") as log: log.write("x")
texts = {path: path.read_text() for path in sorted(root.rglob("*.conf"))}
for path, text in texts.items():
    if "bad" in text:
        sys.exit(f"bad directive in {path}:1" if "named" in text else "bad directive somewhere")
if sum("pair" in text for text in texts.values()) > 1:
    sys.exit("two of a pair")
"""


class Tree:
    """One tree under test, called as the Ansible module calls it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.path = base / "etc" / "tree"
        self.path.parent.mkdir()
        self.program = base / "checker"
        self.program.write_text(f"#!{sys.executable}\n{CHECKER}")
        self.program.chmod(0o755)
        self.options: dict[str, Any] = {}

    def params(self, items: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        checker = {
            "service": "Checker",
            "argv": [str(self.program), "{path}"],
            "trees": [],
            "redirect": [],
            "overlay": [],
            "per_file": False,
        }
        defaults = {
            "path": str(self.path),
            "directory_mode": "0755",
            "items": items,
            "shared": None,
            "shared_id": "shared",
            "shared_claims": [],
            "entries": [],
            "scan": None,
            "checker": checker,
            "keep_generations": 3,
            "verdict": "",
        }
        return defaults | self.options | more

    def run(self, items: list[dict[str, Any]], *, check: bool = False, **more: Any) -> ConfigTree:
        tree = ConfigTree(self.params(items, **more))
        tree.plan()
        if not check:
            tree.apply()
        return tree

    def text(self, relative: str) -> str:
        return (self.path / "current" / relative).read_text()

    def files(self) -> set[str]:
        root = self.path / "current"
        found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        return found - {".manifest.json"}


def file(path: str, content: str, mode: str = "0644") -> dict[str, Any]:
    return {"path": path, "content": content, "mode": mode, **OWNER}


def item(name: str, content: str = "good", **more: Any) -> dict[str, Any]:
    one = {"id": name, "state": "present", "refuse": "", "claims": [], "files": [file(f"sites/{name}.conf", content)]}
    return one | more


def gone(name: str) -> dict[str, Any]:
    return item(name, state="absent", files=[])


def failed(tree: ConfigTree) -> dict[str, str]:
    return {key: result.msg for key, result in tree.results.items() if result.failed}


def snapshot(base: Path) -> dict[str, Any]:
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, os.readlink(path) if path.is_symlink() else "")
        for path in base.rglob("*")
        if path.name != "runs"
    }


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    return Tree(tmp_path)


def test_check_mode_predicts_and_writes_nothing(tree: Tree) -> None:
    shared = [file("generation.conf", "id @@WCP360_GENERATION@@")]
    before = snapshot(tree.base)
    predicted = tree.run([item("a"), item("b")], check=True, shared=shared)
    assert snapshot(tree.base) == before | {str(tree.base / "scratch"): snapshot(tree.base)[str(tree.base / "scratch")]}
    assert list((tree.base / "scratch").iterdir()) == []
    done = tree.run([item("a"), item("b")], shared=shared)
    assert [vars(result) for result in predicted.results.values()] == [vars(r) for r in done.results.values()]
    assert predicted.answer() == done.answer()
    assert tree.text("generation.conf") == f"id {done.after.digest}"


def test_a_file_that_somebody_changed_is_put_right_and_named(tree: Tree) -> None:
    tree.run([item("a"), item("b")])
    one, other = (tree.path / f"current/sites/{name}.conf" for name in "ab")
    one.chmod(0o600)
    other.write_text("by hand")
    done = tree.run([item("a"), item("b")])
    assert (one.stat().st_mode & 0o777, other.read_text()) == (0o644, "good")
    told = {name: done.results[name].diff for name in "ab"}
    owner = f"{os.geteuid()}:{os.getegid()}"
    assert told["a"] == [
        {
            "before_header": str(one),
            "after_header": str(one),
            "before": f"file 0600 {owner}\n",
            "after": f"file 0644 {owner}\n",
        }
    ]
    assert [(diff["before"], diff["after"]) for diff in told["b"]] == [("by hand", "good")]


MODES = {"": 0o700, "generations": 0o750, "current": 0o777, "current/sites": 0o2755, "current/pages": 0o700}


@pytest.mark.parametrize("place", MODES)
@pytest.mark.parametrize("together", [False, True], ids=["alone", "with a change"])
def test_a_directory_that_somebody_changed_is_put_right_and_named(tree: Tree, place: str, together: bool) -> None:
    shared = [file("pages/p.html", "x")]
    tree.run([item("a"), item("b")], shared=shared)
    directory = tree.path / place
    directory.chmod(MODES[place])
    if os.geteuid() == 0:
        os.chown(directory, 1, 1)
    owner = "1:1" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"
    items = [item("a"), item("b", "other" if together else "good")]
    predicted = tree.run(items, check=True, shared=shared)
    done = tree.run(items, shared=shared)
    assert [vars(result) for result in predicted.results.values()] == [vars(one) for one in done.results.values()]
    assert done.results["shared"].changed and not done.results["a"].diff
    assert done.results["shared"].diff == [
        {
            "before_header": str(directory),
            "after_header": str(directory),
            "before": f"directory {MODES[place]:04o} {owner}\n",
            "after": f"directory 0755 {os.geteuid()}:{os.getegid()}\n",
        }
    ]
    assert (directory.stat().st_mode & 0o7777, directory.stat().st_uid) == (0o755, os.geteuid())
    assert not tree.run(items, shared=shared).changed


def test_without_shared_files_a_directory_is_told_of_with_an_item_in_it(tree: Tree) -> None:
    other = item("b", files=[file("other/b.conf", "good")])
    tree.run([item("a"), other])
    for place in MODES.keys() - {"current/pages"}:
        (tree.path / place).chmod(0o700)
    (tree.path / "current/other").chmod(0o700)
    done = tree.run([item("a", refuse="No."), gone("c"), other], check=True)
    names = {key: [diff["before_header"] for diff in result.diff] for key, result in done.results.items()}
    assert names == {
        "a": [],
        "c": [str(tree.path / "current/sites")],
        "b": [str(tree.path / place) for place in ("", "current", "current/other", "generations")],
    }
    assert not tree.run([item("a", refuse="No.")], check=True).changed, "Nobody answers for it."


def test_new_directories_have_their_mode_whatever_the_umask_is(tree: Tree) -> None:
    umask = os.umask(0o077)
    try:
        done = tree.run([item("a")], directory_mode="0711")
    finally:
        os.umask(umask)
    assert {(tree.path / place).stat().st_mode & 0o7777 for place in MODES if "pages" not in place} == {0o711}
    assert [diff["before"] for diff in done.results["a"].diff] == [""], "A file brings its directories along."


def test_foreign_directories_stay_as_they_are(tree: Tree) -> None:
    tree.run([item("a"), item("b", files=[file("sub/b.conf", "good")])])
    current = tree.path / "current"
    for name in ("private", "private/inner", "empty", "sub/empty"):
        (current / name).mkdir()
    (current / "private/inner/key").write_text("secret")
    modes = {"private": 0o700, "private/inner": 0o1777, "empty": 0o2770, "sub/empty": 0o500}
    for name, mode in modes.items():
        (current / name).chmod(mode)
        if os.geteuid() == 0:
            os.chown(current / name, 1, 1)
            (current / name).chmod(mode)
    assert not tree.run([item("a")], check=True).changed
    done = tree.run([item("a", "other"), gone("b")])
    assert not [diff for result in done.results.values() for diff in result.diff if "directory" in diff["before"]]
    assert {name: (current / name).stat().st_mode & 0o7777 for name in modes} == modes
    assert os.geteuid() or {(current / name).stat().st_uid for name in modes} == {1}
    assert (current / "private/inner/key").read_text() == "secret"
    assert tree.run([gone("a")]).changed and not (current / "sites").exists(), "our own go with the last file"


def test_a_foreign_directory_where_one_of_ours_is_needed_is_named(tree: Tree) -> None:
    tree.run([item("a", files=[file("a.conf", "good")])])
    (tree.path / "current/sites").mkdir(mode=0o700)
    done = tree.run([item("b")])
    assert [diff["before"][:14] for diff in done.results["b"].diff] == ["", "directory 0700"]


def test_something_foreign_in_the_way_is_refused_with_its_path(tree: Tree) -> None:
    tree.run([item("a")])
    (tree.path / "current/sites/b.conf").mkdir()
    (tree.path / "current/other").symlink_to("/nowhere")
    done = tree.run([item("b"), item("c", files=[file("other/c.conf", "good")]), item("d")])
    said = "is in the way: WCP360 did not write it. Move it away, then retry."
    names = {"b": "sites/b.conf", "c": "other"}
    assert failed(done) == {key: f"{tree.path}/current/{name} {said}" for key, name in names.items()}
    with pytest.raises(ItemError, match="current/other is in the way"):
        tree.run([item("a")], shared=[file("other/x.conf", "x")])


def test_a_repeated_run_changes_nothing(tree: Tree) -> None:
    first = tree.run([item("a", "x @@WCP360_ITEM@@")], shared=[file("g.conf", "@@WCP360_GENERATION@@")])
    before = snapshot(tree.path)
    again = tree.run([item("a", "x @@WCP360_ITEM@@")], shared=[file("g.conf", "@@WCP360_GENERATION@@")])
    assert not again.changed and not any(result.changed for result in again.results.values())
    assert snapshot(tree.path) == before
    assert again.answer() == first.answer() | {"verdict": ""}, "The checker was not asked again."
    assert tree.text("sites/a.conf") == f"x {first.answer()['item_generations']['a']}"


def test_what_is_not_listed_is_left_alone_and_absent_removes(tree: Tree) -> None:
    tree.run([item("a"), item("b")])
    inode = (tree.path / "current/sites/a.conf").stat().st_ino
    tree.run([gone("b"), item("c")])
    assert tree.files() == {"sites/a.conf", "sites/c.conf"}
    assert (tree.path / "current/sites/a.conf").stat().st_ino == inode, "unchanged files are hard links"
    assert not tree.run([gone("b")]).changed


def test_only_the_last_generations_stay(tree: Tree) -> None:
    for number in range(5):
        tree.run([item("a", f"text {number}")])
    assert len(list((tree.path / "generations").iterdir())) == 3


@pytest.mark.parametrize("content", ["bad named", "bad"])
def test_a_refused_item_keeps_its_last_files_and_the_others_go_in(tree: Tree, content: str) -> None:
    tree.run([item("a", "first"), item("b", "first")])
    done = tree.run([item("a", "second"), item("b", content), item("new", content), item("d", "second")])
    assert sorted(failed(done)) == ["b", "new"]
    assert failed(done)["b"].startswith("Checker refuses the configuration: bad directive")
    assert "scratch" not in failed(done)["b"], "paths in messages are the real ones"
    assert tree.text("sites/b.conf") == "first"
    assert tree.text("sites/a.conf") == tree.text("sites/d.conf") == "second"
    assert not (tree.path / "current/sites/new.conf").exists()
    assert done.answer()["failed_ids"] == ["b", "new"]
    assert not done.results["b"].diff


def test_halving_is_fast_for_one_bad_item_among_many(tree: Tree) -> None:
    items = [item(f"n{number}") for number in range(200)]
    items[137] = item("n137", "bad")
    done = tree.run(items)
    assert list(failed(done)) == ["n137"]
    assert len(tree.files()) == 199


def test_only_one_of_two_that_do_not_go_together_is_refused(tree: Tree) -> None:
    done = tree.run([item("a", "pair"), item("b", "pair"), item("c")])
    assert list(failed(done)) == ["b"]


def test_a_tree_that_is_refused_as_a_whole_stays_as_it_is(tree: Tree) -> None:
    tree.run([item("a", "first")], shared=[file("g.conf", "good")])
    done = tree.run([item("a", "second")], shared=[file("g.conf", "bad")])
    assert sorted(failed(done)) == ["a", "shared"]
    assert "even without the items that change" in failed(done)["a"]
    assert (tree.text("sites/a.conf"), tree.text("g.conf")) == ("first", "good")


def test_a_foreign_file_is_carried_along_and_refused_when_in_the_way(tree: Tree) -> None:
    tree.run([item("a")])
    foreign = tree.path / "current/sites/mine.conf"
    foreign.write_text("by hand")
    done = tree.run([item("mine"), item("b")])
    assert failed(done) == {"mine": f"{foreign} is in the way: WCP360 did not write it. Move it away, then retry."}
    assert tree.text("sites/mine.conf") == "by hand"
    assert tree.text("sites/b.conf") == "good"


def test_a_hand_edit_is_left_alone_until_its_item_is_converged(tree: Tree) -> None:
    first = tree.run([item("a", "x @@WCP360_ITEM@@"), item("b")], shared=[file("g.conf", "@@WCP360_GENERATION@@")])
    edited = tree.path / "current/sites/a.conf"
    edited.write_text("edited")
    second = tree.run([item("b", "other")], shared=[file("g.conf", "@@WCP360_GENERATION@@")])
    assert tree.text("sites/a.conf") == "edited"
    drift = tree.run([item("a", "x @@WCP360_ITEM@@")], check=True)
    assert drift.results["a"].diff[0]["before"] == "edited"
    healed = tree.run([item("a", "x @@WCP360_ITEM@@")])
    # The service may have loaded the edit under the old digest: only a new one makes it load the file again.
    digests = [run.answer()["item_generations"]["a"] for run in (first, second, healed)]
    assert digests[0] == digests[1] != digests[2]
    assert second.after.digest != healed.after.digest
    assert tree.text("sites/a.conf") == f"x {digests[2]}"
    assert not tree.run([item("a", "x @@WCP360_ITEM@@")]).changed


def test_healing_a_file_without_digests_makes_a_new_generation_too(tree: Tree) -> None:
    first = tree.run([item("a")], shared=[file("g.conf", "@@WCP360_GENERATION@@")])
    (tree.path / "current/sites/a.conf").write_text("edited")
    healed = tree.run([item("a")], shared=[file("g.conf", "@@WCP360_GENERATION@@")])
    assert first.after.digest != healed.after.digest
    assert tree.text("g.conf") == healed.after.digest
    assert not tree.run([item("a")], shared=[file("g.conf", "@@WCP360_GENERATION@@")]).changed


def test_shared_files_of_the_last_call_stay_with_the_new_digest(tree: Tree) -> None:
    tree.run([item("a")], shared=[file("g.conf", "id @@WCP360_GENERATION@@")])
    done = tree.run([item("b")])
    assert tree.text("g.conf") == f"id {done.after.digest}"
    assert not tree.run([item("b")], shared=[file("g.conf", "id @@WCP360_GENERATION@@")]).changed


def test_a_claim_belongs_to_one_item(tree: Tree) -> None:
    tree.run([item("a", claims=["x.test", "y.test"])])
    assert failed(tree.run([item("b", claims=["y.test"])])) == {"b": "y.test belongs to a already."}
    both = tree.run([item("a", claims=["x.test"], files=[file("sites/a.conf", "2")]), item("b", claims=["y.test"])])
    assert not failed(both)
    moved = tree.run([gone("a"), item("c", claims=["x.test"])])
    assert not failed(moved)


def test_a_claim_stays_with_an_item_that_is_refused(tree: Tree) -> None:
    tree.run([item("a", claims=["x.test"])])
    done = tree.run([item("a", "bad named", claims=[]), item("b", claims=["x.test"])])
    assert sorted(failed(done)) == ["a", "b"]
    assert tree.files() == {"sites/a.conf"}


def test_a_foreign_claim_names_its_file(tree: Tree, tmp_path: Path) -> None:
    main, other = tmp_path / "main.cfg", tmp_path / "other.cfg"
    main.write_text("include *.cfg;\n# server_name commented.test;\n")
    other.write_text("server_name Taken.test more.test;")
    scan = {"start": str(main), "include": r"include\s+([^;]+);", "claims": [r"server_name\s+([^;]+);"]}
    done = tree.run([item("a", claims=["taken.test"]), item("b", claims=["commented.test"])], scan=scan)
    assert list(failed(done)) == ["a"] and str(other) in failed(done)["a"]
    with pytest.raises(ItemError, match=r"other\.cfg has more\.test already"):
        tree.run([item("a")], scan=scan, shared_claims=["more.test"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"files": [file("../x", "")]}, "'../x'"),
        ({"files": [file("/x", "")]}, "'/x'"),
        ({"files": [file("a\nb", "")]}, "a\\\\nb"),
        ({"files": [file("a" * 256, "")]}, "255 bytes"),
        ({"files": [file(".manifest.json", "")]}, "record"),
        ({"files": [file("x", "", mode="9")]}, "'9'"),
        ({"files": [file("x", "") | {"owner": "nobody-here"}]}, "nobody-here"),
        ({"files": [file("sites/a.conf", "")]}, "belongs to a already"),
        ({"refuse": "because"}, "because"),
    ],
)
def test_a_bad_item_fails_alone(tree: Tree, change: dict[str, Any], word: str) -> None:
    done = tree.run([item("a"), item("x", **change)])
    assert list(failed(done)) == ["x"]
    assert word.replace("\\\\", "\\") in failed(done)["x"]
    assert tree.files() == {"sites/a.conf"}


def test_a_missing_checker_is_said_and_not_taken_for_fine(tree: Tree) -> None:
    tree.program.unlink()
    done = tree.run([item("a")], check=True)
    reason = "Checker is not installed yet, so its own check of the configuration was left out"
    assert done.results["a"].not_checked == reason
    assert done.results["a"].diff


def test_a_path_that_is_not_ours_is_refused(tree: Tree) -> None:
    tree.path.mkdir()
    (tree.path / "x").write_text("")
    with pytest.raises(ItemError, match="is in the way"):
        tree.run([item("a")])


def test_entries_are_written_last_and_a_foreign_one_is_refused(tree: Tree) -> None:
    path = tree.base / "conf.d" / "entry.conf"
    entry = file(str(path), "# ours\ninclude;")
    done = tree.run([item("a")], entries=[entry])
    assert path.read_text() == "# ours\ninclude;"
    assert done.results["shared"].diff[0]["after_header"].startswith(str(path))
    path.write_text("# ours\nedited")
    assert tree.run([item("a")], entries=[entry]).results["shared"].changed
    path.write_text("# somebody else's")
    with pytest.raises(ItemError, match=r"entry\.conf is in the way"):
        tree.run([item("a")], entries=[entry])
    assert path.read_text() == "# somebody else's"


def test_what_a_killed_run_left_beside_an_entry_goes(tree: Tree) -> None:
    path = tree.base / "entry.conf"
    entry, left = file(str(path), "# ours"), tree.base / "entry.conf~"
    tree.run([item("a")], entries=[entry])
    left.write_text("half")
    left.chmod(0o600)
    line = f"file 0600 {os.geteuid()}:{os.getegid()}\n"
    done = tree.run([item("a")], entries=[entry])
    told = [(diff["before_header"], diff["before"], diff["after"]) for diff in done.results["shared"].diff]
    assert told == [(str(left), line, "")] and not left.exists()
    left.symlink_to("/half")
    results = removal(tree.params([], entries=[entry]))
    names = [diff["before_header"].partition(" ")[0] for diff in results[-1].diff]
    assert names == [str(path), str(left), str(tree.path)]
    Entries([entry]).remove()
    assert not path.exists() and not left.is_symlink()


def test_removal_takes_everything_and_refuses_foreign_files(tree: Tree) -> None:
    entry = file(str(tree.base / "entry.conf"), "# ours")
    tree.run([item("a"), item("b")], entries=[entry])
    (tree.path / "current/mine").write_text("")
    with pytest.raises(ItemError, match="current/mine is in the way"):
        removal(tree.params([], entries=[entry]))
    (tree.path / "current/mine").unlink()
    results = removal(tree.params([], entries=[entry]))
    assert [result.id for result in results] == ["a", "b", "shared"]
    assert results[-1].diff[-1]["before_header"] == str(tree.path)
    Entries([entry]).remove()
    Store(str(tree.path)).remove()
    assert not tree.path.exists() and not (tree.base / "entry.conf").exists()
    assert removal(tree.params([], entries=[entry])) == []


def test_the_removal_of_a_tree_without_files_is_a_change(tree: Tree) -> None:
    tree.run([item("a")])
    tree.run([gone("a")])
    assert [(result.id, result.changed) for result in removal(tree.params([]))] == [("shared", True)]
    os.rename(tree.path, f"{tree.path}{REMOVED}")  # ended in the middle of it
    assert [(result.id, result.changed) for result in removal(tree.params([]))] == [("shared", True)]
    Store(str(tree.path)).remove()
    assert removal(tree.params([])) == []


def test_the_checker_sees_trees_with_paths_that_lead_into_the_copy(tree: Tree, tmp_path: Path) -> None:
    etc = tmp_path / "etc" / "service"
    etc.mkdir()
    (etc / "main.conf").write_text(f"log {tmp_path}/log/x.log; include {etc}/*; root /srv{etc}; bad")
    (etc / "dangling").symlink_to("/nowhere")
    probe = tmp_path / "see"
    probe.write_text('#!/bin/sh\ncat $1/etc-main >/dev/null 2>&1; cat "$2" >&2; ls -d "$1"*/log >&2; exit 1')
    probe.chmod(0o755)
    checker = {
        "service": "S",
        "argv": [str(probe), "{root}" + str(tmp_path), "{root}" + str(etc / "main.conf")],
        "trees": [str(etc)],
        "redirect": [str(tmp_path / "log")],
        "per_file": False,
        "overlay": [{"path": str(etc / "extra.conf"), "content": "x {path}", "absent": False, "unless": "include"}],
    }
    done = tree.run([item("a")], checker=checker)
    said = failed(done)["a"]
    assert f"log {tmp_path}/log/x.log; include {etc}/*; root /srv{etc}; bad" in said
    assert not (tmp_path / "log").exists(), "the real directory is not made"
    assert (etc / "main.conf").read_text().startswith("log")


def test_only_what_leads_elsewhere_is_copied_for_the_checker(tree: Tree, tmp_path: Path) -> None:
    log = tmp_path / "log" / "one.log"
    log.parent.mkdir()
    tree.program.write_text('#!/bin/sh\nfind "$1/" -type l -name "*.conf" -printf "%f " >"$(dirname "$0")/linked"\n')
    checker = tree.params([])["checker"] | {"redirect": [str(log.parent), str(tmp_path / "run")], "keep": [str(log)]}

    def linked(name: str, text: str = f"log {log};") -> str:
        tree.run([item(name, text)], checker=checker)
        return "".join(sorted((tmp_path / "linked").read_text().split()))

    assert linked("a") == "", "The log is not there yet, so the checker would make it."
    assert linked("b") == ""
    log.touch()
    assert linked("c") == "", "What is led elsewhere has changed, so all is looked at once more."
    assert linked("d", f"pid {tmp_path}/run/pid;") == "a.confb.confc.conf"
    assert linked("e") == "a.confb.confc.conf"


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def exchanged(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def with_an_old_date(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, (1, 1))


@pytest.mark.parametrize("edit", [in_place, exchanged, with_an_old_date])
def test_a_file_that_somebody_edited_is_not_linked_for_the_checker(
    tree: Tree, edit: Callable[[Path, str], None]
) -> None:
    log = tree.base / "log" / "x.log"
    copied = f'find "$1/" -name a.conf -printf "%y " -exec cat {{}} + >"{tree.base}/seen"'
    tree.program.write_text(f"#!/bin/sh\n{copied}\n")
    checker = tree.params([])["checker"] | {"redirect": [str(log.parent)]}
    tree.run([item("a"), item("b")], checker=checker)
    tree.run([item("b", "second")], checker=checker)
    assert (tree.base / "seen").read_text() == "l good"
    edit(tree.path / "current/sites/a.conf", f"log {log};")
    for content in ("third", "fourth"):  # the generation after it knows no better
        tree.run([item("b", content)], checker=checker)
        seen = (tree.base / "seen").read_text()
        assert seen.startswith("f log ") and f"log {log}" not in seen
    tree.run([item("a")], checker=checker)
    tree.run([item("b", "fifth")], checker=checker)
    assert (tree.base / "seen").read_text() == "l good", "Healed, it is linked again."


def test_the_record_of_an_earlier_version_is_not_trusted(tree: Tree) -> None:
    tree.run([item("a"), item("b")])
    manifest = tree.path / "current/.manifest.json"
    document = json.loads(manifest.read_text())
    document["rewritten"] = document.pop("rewrites")
    for entry in document["files"].values():
        entry["plain"] = 1
        del entry["stamp"]
    manifest.write_text(json.dumps(document))
    assert not tree.run([item("a")], check=True).changed
    tree.run([item("b", "other")])
    assert "stamp" in json.loads(manifest.read_text())["files"]["sites/a.conf"]


@pytest.mark.parametrize("moment", ["before it is open", "before it is locked"])
def test_a_scratch_directory_is_never_one_that_another_run_took_away(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    module = "ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_scratch"
    places = tree.base / "scratch"
    monkeypatch.setattr(f"{module}._parent", lambda: str(places))
    seen: list[set[str]] = []

    def sweeping(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            if len(seen) < 3 and (name == "flock" or str(words[0]).startswith(str(places / PREFIX))):
                monkeypatch.setattr(target, real)
                seen.append(set(os.listdir(places)))
                remove_leftovers()
                monkeypatch.setattr(target, call)
            return real(*words, **more)

        target = f"{module}.fcntl.flock" if name == "flock" else f"{module}.os.open"
        monkeypatch.setattr(target, call)
        return call

    if moment == "before it is open":
        sweeping("open", os.open)
    else:
        sweeping("flock", fcntl.flock)
    with Scratch(tree.params([])["checker"], str(tree.path)) as scratch:
        assert len(set.union(*seen)) == 3, "Three were taken away."
        assert os.path.samestat(os.fstat(scratch._lock), os.stat(scratch.root))
        assert stat.S_IMODE(os.stat(scratch.root).st_mode) == 0o700
        remove_leftovers()
        assert os.path.isdir(scratch.root)
    assert os.listdir(places) == []


@pytest.mark.parametrize(
    ("moved", "asked"),
    [("nothing", False), ("another item", True), ("a file", True), ("a link's end", True), ("an edit by hand", True)],
)
def test_a_verdict_holds_while_nothing_it_rests_on_has_moved(
    tree: Tree, tmp_path: Path, moved: str, asked: bool
) -> None:
    etc = tmp_path / "etc" / "service"
    etc.mkdir()
    (tmp_path / "far").write_text("1")
    (etc / "near").symlink_to(tmp_path / "far")
    log = tmp_path / "asked"
    tree.program.write_text(f"#!/bin/sh\nprintf x >>{log}\n")
    checker = tree.params([])["checker"] | {"trees": [str(etc)]}
    tree.run([item("a"), item("b")], checker=checker)
    verdict = tree.run([item("a", "other")], check=True, checker=checker).answer()["verdict"]
    before = len(log.read_text())
    if moved == "a file":
        (etc / "new").write_text("")
    elif moved == "a link's end":
        (tmp_path / "far").write_text("2")
    elif moved == "an edit by hand":
        (tree.path / "current/sites/b.conf").write_text("edited")
    content = "third" if moved == "another item" else "other"
    done = tree.run([item("a", content)], checker=checker, verdict=verdict)
    assert not failed(done) and tree.text("sites/a.conf") == content
    assert (len(log.read_text()) > before) is asked


def test_what_was_refused_has_no_verdict(tree: Tree) -> None:
    assert tree.run([item("a"), item("b", "bad named")], check=True).answer()["verdict"] == ""
    assert tree.run([item("a")], check=True).answer()["verdict"]


def test_what_is_rewritten_has_one_digest_in_all_processes() -> None:
    code = f"""
import sys; sys.path[:] = {sys.path!r}
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_scratch import Rewriter
print(Rewriter({{"trees": ["/etc/a", "/etc/b"], "redirect": ["/var/log", "/var/run", "/run"]}}, "/etc/c").digest)
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=True
        ).stdout
        for seed in range(8)
    }
    assert len(found) == 1


@pytest.mark.timeout(120)
def test_at_every_instant_the_current_generation_passes_and_leftovers_go(tree: Tree, tmp_path: Path) -> None:
    tree.run([item(f"n{number}", "start") for number in range(30)])
    script = tmp_path / "writer.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path[:0] = {sys.path!r}
            from pathlib import Path
            from tests.unit.plugins.test_config_tree import Tree, item
            tree = Tree.__new__(Tree)
            tree.base, tree.path = Path({str(tree.base)!r}), Path({str(tree.path)!r})
            tree.program, tree.options = Path({str(tree.program)!r}), {{"checker": None}}
            for turn in range(100000):
                tree.run([item(f"n{{number}}", f"turn {{turn}}") for number in range(30)])
            """
        )
    )
    for round_number in range(8):
        with subprocess.Popen([sys.executable, str(script)], cwd=Path(__file__).parents[3]) as process:
            time.sleep(0.9 + 0.037 * round_number)
            process.send_signal(signal.SIGKILL)
        texts = {tree.text(f"sites/n{number}.conf") for number in range(30)}
        assert len(texts) == 1, "the current generation is one whole generation"
    tree.run([item("n0", "after")])
    assert not [name for name in os.listdir(tree.path) if name.startswith(".staging-")]
    assert len(list((tree.path / "generations").iterdir())) <= 3


def test_results_are_told_in_the_order_of_the_call(tree: Tree) -> None:
    done = tree.run([item("b"), item("a")], shared=[file("g.conf", "x")])
    assert [type(result) for result in done.results.values()] == [ItemResult] * 3
    assert list(done.results) == ["shared", "b", "a"]


def test_what_is_in_the_way_of_the_whole_tree_fails_every_item(tree: Tree) -> None:
    params = tree.params([item("a"), item("b")], shared=[file("g.conf", "x")])
    results = refused_as_a_whole(params, "it is in the way")
    assert [(result.id, result.failed, result.msg) for result in results] == [
        (key, True, "it is in the way") for key in ("shared", "a", "b")
    ]
