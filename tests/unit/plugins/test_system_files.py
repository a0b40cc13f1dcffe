"""The module for files of root: what it predicts is what it does, and what is in the way is left alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError
from ansible_collections.wcp360.hosting.plugins.module_utils.system_files import SystemFiles

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners, so it needs root")
DEFAULTS = {"state": "file", "content": None, "target": None, "mode": None, "gid": 0, "follow": False, "validate": []}


def item(*entries: dict[str, Any]) -> dict[str, Any]:
    """An item as the module's argument specification would complete it."""
    complete = [
        {**DEFAULTS, "unless_used": False, "besides": [], **entry, "path": str(entry["path"])} for entry in entries
    ]
    return {"id": "server:mine", "entries": complete}


def converge(*entries: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Predict twice, do it, see that nothing is left to do, and return what changed."""
    predicted, again = (_told(SystemFiles().plan(item(*entries))) for _ in range(2))
    steps = SystemFiles().plan(item(*entries))
    for step in steps:
        step.apply()
    assert predicted == again == _told(steps)
    assert SystemFiles().plan(item(*entries)) == []
    return predicted


def _told(steps: list[Any]) -> list[tuple[str, str, str]]:
    return [(step.before_header, step.before, step.after) for step in steps]


def look(path: Path) -> tuple[str, int, int]:
    found = path.lstat()
    return f"{stat.S_IMODE(found.st_mode):04o}", found.st_uid, found.st_gid


def test_all_of_a_role_is_made_and_taken_away(tmp_path: Path) -> None:
    library, unit, mask = tmp_path / "lib/mine", tmp_path / "my.service", tmp_path / "other.service"
    made = converge(
        {"path": library, "state": "directory", "mode": "0711", "gid": 33},
        {"path": library / "work.py", "content": "print(1)\n"},
        {"path": unit, "content": "[Unit]\n", "mode": "0600", "gid": 7},
        {"path": mask, "state": "link", "target": "/dev/null"},
    )
    assert made == [
        (str(tmp_path / "lib"), "", "directory 0755 0:0\n"),
        (str(library), "", "directory 0711 0:33\n"),
        (str(library / "work.py"), "", "print(1)\n"),
        (str(unit), "", "[Unit]\n"),
        (str(mask), "", "link /dev/null\n"),
    ]
    assert look(library) == ("0711", 0, 33) and look(unit) == ("0600", 0, 7) and os.readlink(mask) == "/dev/null"
    assert (library / "work.py").read_text() == "print(1)\n" and look(library / "work.py") == ("0644", 0, 0)
    gone = converge(
        {"path": library / "work.py", "state": "absent"},
        {"path": library, "state": "absent", "unless_used": True},
        {"path": unit, "state": "absent"},
        {"path": mask, "state": "absent"},
    )
    assert gone == [
        (str(library / "work.py"), "file 0644 0:0\n", ""),
        (str(library), "directory 0711 0:33\n", ""),
        (str(unit), "file 0600 0:7\n", ""),
        (str(mask), "link /dev/null\n", ""),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lib"]


def test_what_differs_is_corrected_and_named(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o700)
    file, link = tmp_path / "d/file", tmp_path / "d/link"
    file.write_text("old\n")
    link.symlink_to("/old")
    os.chown(file, 54321, 54321)
    assert converge(
        {"path": tmp_path / "d", "state": "directory"},
        {"path": file, "content": "new\n"},
        {"path": link, "state": "link", "target": "/new"},
    ) == [
        (str(tmp_path / "d"), "directory 0700 0:0\n", "directory 0755 0:0\n"),
        (f"{file} (0644 54321:54321)", "old\n", "new\n"),
        (str(link), "link /old\n", "link /new\n"),
    ]
    assert look(file) == ("0644", 0, 0)
    file.chmod(0o666)
    assert converge({"path": file, "content": "new\n"}) == [(str(file), "file 0666 0:0\n", "file 0644 0:0\n")]


def test_a_directory_in_use_stays(tmp_path: Path) -> None:
    directory, ours, theirs = tmp_path / "d", tmp_path / "d/ours", tmp_path / "d/theirs"
    directory.mkdir()
    ours.touch()
    theirs.touch()
    entry = {"path": directory, "state": "absent", "unless_used": True}
    assert converge(entry) == []
    assert [path for path, _, _ in converge({"path": ours, "state": "absent"}, entry)] == [str(ours)]
    predicted = SystemFiles().plan(item({**entry, "besides": ["theirs"]}))
    assert [step.before_header for step in predicted] == [str(directory)]  # in a preview it is still there
    with pytest.raises(ItemError, match=f"^{directory} was to be removed, but holds .*: theirs"):
        predicted[0].apply()
    theirs.unlink()
    assert len(converge(entry)) == 1 and not directory.exists()


def test_a_whole_tree_goes_without_what_links_in_it_lead_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner/link").symlink_to(kept)
    tree.chmod(0o750)
    assert converge({"path": tree, "state": "absent"}) == [(str(tree), "directory 0750 0:0\n", "")]
    assert (kept / "file").exists()


@pytest.mark.parametrize("state", ["file", "directory", "link"])
def test_what_is_in_the_way_is_left_alone(tmp_path: Path, state: str) -> None:
    place = tmp_path / "place"
    place.write_text("theirs\n") if state != "file" else place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ItemError, match=f"^{place} is in the way"):
        SystemFiles().plan(item({"path": place, "state": state, "content": "x", "target": "/dev/null"}))


def test_only_a_directory_that_may_be_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    link, dangling = tmp_path / "link", tmp_path / "dangling"
    link.symlink_to(tmp_path / "elsewhere")
    dangling.symlink_to(tmp_path / "unmounted")
    entry = {"path": link, "state": "directory"}
    with pytest.raises(ItemError, match=f"^{link} is in the way"):
        SystemFiles().plan(item(entry))
    assert converge({**entry, "follow": True}) == [(str(link), "directory 0700 0:0\n", "directory 0755 0:0\n")]
    with pytest.raises(ItemError, match=f"^{dangling} is in the way"):
        SystemFiles().plan(item({"path": dangling, "state": "directory", "follow": True}))


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.chown(tmp_path / "d", 54321, 0)
    with pytest.raises(ItemError, match="/d belongs to the user with uid 54321, not to root"):
        SystemFiles().plan(item({"path": tmp_path / "d", "state": "directory"}))


def test_a_run_that_was_killed_is_taken_up(tmp_path: Path) -> None:
    directory, file, link = tmp_path / "d", tmp_path / "file", tmp_path / "link"
    directory.mkdir(mode=0o700)
    (tmp_path / "file~").write_text("half")
    (tmp_path / "link~").symlink_to("/half")
    wanted = [
        {"path": directory, "state": "directory"},
        {"path": file, "content": "whole\n"},
        {"path": link, "state": "link", "target": "/whole"},
    ]
    converge(*wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "file", "link"]
    assert file.read_text() == "whole\n" and os.readlink(link) == "/whole" and look(directory)[0] == "0755"
    (tmp_path / "file~").write_text("half")
    assert [path for path, _, _ in converge(*wanted)] == [f"{file}~"]


def test_what_a_killed_run_left_does_not_keep_a_directory(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file~").touch()
    converge(
        {"path": tmp_path / "d/file", "state": "absent"},
        {"path": tmp_path / "d", "state": "absent", "unless_used": True},
    )
    assert list(tmp_path.iterdir()) == []


def test_what_lies_below_a_file_or_is_a_link_is_absent_like_anything_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("/nowhere")
    gone = converge(
        {"path": tmp_path / "file/below", "state": "absent"},
        {"path": tmp_path / "dangling", "state": "absent", "unless_used": True},
    )
    assert gone == [(str(tmp_path / "dangling"), "link /nowhere\n", "")]


def test_an_empty_file_has_a_difference_too(tmp_path: Path) -> None:
    assert converge({"path": tmp_path / "empty", "content": ""}) == [(str(tmp_path / "empty"), "", "file 0644 0:0\n")]


@pytest.mark.parametrize("state", ["file", "link"])
def test_a_missing_directory_is_said_in_the_preview(tmp_path: Path, state: str) -> None:
    entry = {"path": tmp_path / "no/x", "state": state, "content": "x", "target": "/x"}
    with pytest.raises(ItemError, match=r"^The directory above /.*/no/x does not exist"):
        SystemFiles().plan(item(entry))


def test_a_path_is_listed_once(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match=r"/x is listed twice\.$"):
        SystemFiles().plan(item({"path": tmp_path / "x", "content": "a"}, {"path": tmp_path / "x", "state": "absent"}))


def test_what_a_checker_refuses_is_not_written(tmp_path: Path) -> None:
    entry = {"path": tmp_path / "script", "validate": ["/bin/sh", "-n", "%s"]}
    with pytest.raises(ItemError, match=r"^/bin/sh refuses what /.*/script would hold: .*script: .*[Ss]yntax"):
        SystemFiles().plan(item({**entry, "content": "if\n"}))
    assert list(tmp_path.iterdir()) == []
    converge({**entry, "content": "true\n"})
    with pytest.raises(ItemError, match=r"^/no/checker, which checks /.*/script, cannot be asked: "):
        SystemFiles().plan(item({**entry, "content": "false\n", "validate": ["/no/checker"]}))


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/a//b", "/a/", "/", "/a/."])
def test_only_plain_paths_are_taken(path: str) -> None:
    with pytest.raises(ItemError, match="is no plain absolute path"):
        SystemFiles().plan(item({"path": path, "state": "absent"}))


@pytest.mark.parametrize(("state", "needed"), [("file", "content"), ("link", "target")])
def test_what_an_entry_lacks_is_named(tmp_path: Path, state: str, needed: str) -> None:
    with pytest.raises(ItemError, match=f"cannot be a {state} without '{needed}'"):
        SystemFiles().plan(item({"path": tmp_path / "x", "state": state}))
