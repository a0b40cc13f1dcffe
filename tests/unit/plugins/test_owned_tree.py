"""The tree module against what a tenant may plant. Needs root, because owners are what it is about."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils import purging
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError
from ansible_collections.wcp360.hosting.plugins.module_utils.owned_tree import Entry, OwnedTree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners, so it needs root")
UID, OTHER = 54321, 54322


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A directory that root alone can write to, below one that is private to this test."""
    directory = tmp_path / "home"
    directory.mkdir(mode=0o755)
    return directory


def item(base: Path, **more: Any) -> dict[str, Any]:
    """An item as the module's argument specification would complete it."""
    directories = [{"path": path, "mode": mode, "uid": None, "gid": None} for path, mode in more.pop("tree", [])]
    seeds = [{"uid": None, "gid": None, "mode": "0640", **seed} for seed in more.pop("seeds", [])]
    defaults = {"state": "present", "path": "", "trash": None, "trash_name": "", "purge": False}
    owner = {"owner_uid": UID, "owner_gid": UID}
    return {"id": "x", "base": str(base), **owner, **defaults, "directories": directories, "seeds": seeds, **more}


def converge(spec: dict[str, Any]) -> list[dict[str, str]]:
    """Plan and apply, and return the diffs."""
    steps = OwnedTree(spec, check=False).plan()
    for step in steps:
        step.apply()
    return [step.diff() for step in steps]


SITE = [("t", "0711"), ("t/web", "0750"), ("t/web/public", "2750")]
SEED = {"path": "t/web/public/index.html", "content": "hello\n", "only_with": "t/web/public"}


def test_makes_directories_and_seeds_once(base: Path) -> None:
    spec = item(base, tree=SITE, seeds=[SEED])
    predicted = [step.diff() for step in OwnedTree(spec, check=True).plan()]
    assert not (base / "t").exists()
    assert converge(spec) == predicted
    assert stat.S_IMODE((base / "t/web/public").stat().st_mode) == 0o2750
    page = base / "t/web/public/index.html"
    assert (page.read_text(), page.stat().st_uid, stat.S_IMODE(page.stat().st_mode)) == ("hello\n", UID, 0o640)
    page.unlink()
    assert converge(spec) == []
    assert not page.exists()


@pytest.mark.parametrize("stop_after", range(4))
def test_takes_up_what_a_killed_run_left(base: Path, stop_after: int) -> None:
    spec = item(base, tree=SITE, seeds=[SEED])
    for step in OwnedTree(spec, check=False).plan()[:stop_after]:
        step.apply()
    converge(spec)
    assert (base / "t/web/public/index.html").read_text() == "hello\n"
    assert {path.stat().st_uid for path in base.rglob("*")} == {UID}
    assert converge(spec) == []


@pytest.mark.parametrize("planted", ["t/web", "t/web/public"])
def test_follows_no_link(base: Path, tmp_path: Path, planted: str) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    converge(item(base, tree=[("t", "0711")]))
    (base / planted).parent.mkdir(exist_ok=True)
    os.chown((base / planted).parent, UID, UID)
    (base / planted).symlink_to(target)
    with pytest.raises(ItemError, match=f"{planted} is a symbolic link"):
        OwnedTree(item(base, tree=SITE, seeds=[SEED]), check=False).plan()
    assert (stat.S_IMODE(target.stat().st_mode), target.stat().st_uid, list(target.iterdir())) == (0o700, 0, [])


def test_link_planted_between_plan_and_apply_is_refused(base: Path, tmp_path: Path) -> None:
    converge(item(base, tree=SITE))
    (base / "t/web/public").chmod(0o777)
    steps = OwnedTree(item(base, tree=SITE), check=False).plan()
    (base / "t/web/public").rmdir()
    (base / "t/web/public").symlink_to(tmp_path)
    mode = tmp_path.stat().st_mode
    with pytest.raises(ItemError, match="symbolic link"):
        steps[0].apply()
    assert tmp_path.stat().st_mode == mode


def test_leaves_what_belongs_to_another(base: Path) -> None:
    converge(item(base, tree=SITE))
    os.chown(base / "t/web/public", OTHER, OTHER)
    with pytest.raises(ItemError, match=f"{base}/t/web/public belongs to the user with uid {OTHER}"):
        OwnedTree(item(base, tree=SITE), check=False).plan()
    os.chown(base / "t", OTHER, OTHER)
    with pytest.raises(ItemError, match="left alone"):
        OwnedTree(item(base, tree=[("t/web/new", "0750")]), check=False).plan()


def test_never_touches_a_file_in_the_way(base: Path, tmp_path: Path) -> None:
    converge(item(base, tree=[("t", "0711")]))
    precious = tmp_path / "precious"
    precious.write_text("x")
    os.link(precious, base / "t/web")
    with pytest.raises(ItemError, match="not a directory"):
        OwnedTree(item(base, tree=SITE), check=False).plan()
    assert precious.stat().st_uid == 0


@pytest.mark.parametrize("path", ["../t", "t/../../x", "/t", "t//x", "t/.", ""])
def test_refuses_paths_that_could_leave_the_base(base: Path, path: str) -> None:
    with pytest.raises(ItemError, match="no plain relative path"):
        OwnedTree(item(base, tree=[(path, "0750")]), check=False).plan()


def test_refuses_a_base_that_others_can_write_to(base: Path) -> None:
    base.chmod(0o775)
    with pytest.raises(ItemError, match="cannot be trusted"):
        OwnedTree(item(base, tree=SITE), check=False).plan()


def test_moves_to_the_trash_and_back_is_empty(base: Path) -> None:
    converge(item(base, tree=SITE, seeds=[SEED]))
    removal = item(base, state="absent", path="t", trash=str(base / ".trash"))
    predicted = [step.diff() for step in OwnedTree(removal, check=True).plan()]
    assert converge(removal) == predicted
    assert [path.name for path in base.iterdir()] == [".trash"]
    (kept,) = (base / ".trash").iterdir()
    assert (kept / "web/public/index.html").read_text() == "hello\n"
    assert converge(removal) == []


def test_purges_deep_and_linked_trees_without_following(base: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_text("x")
    converge(item(base, tree=SITE))
    (base / "t/web/link").symlink_to(target)
    descriptor = os.open(base / "t/web", os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    converge(item(base, state="absent", path="t", trash=str(base / ".trash"), purge=True))
    assert list((base / ".trash").iterdir()) == []
    assert (target / "precious").read_text() == "x"


def test_purge_goes_on_where_a_killed_run_stopped(base: Path) -> None:
    removal = item(base, state="absent", path="t", trash=str(base / ".trash"), purge=True)
    grave = base / ".trash" / f".purge-t-{UID}"
    grave.mkdir(parents=True)
    (base / ".trash").chmod(0o700)
    (grave / "moved-0").mkdir()
    (grave / "moved-0" / "file").write_text("x")
    assert len(converge(removal)) == 1
    assert list((base / ".trash").iterdir()) == []


def test_refuses_a_trash_that_others_can_read(base: Path) -> None:
    converge(item(base, tree=SITE))
    (base / ".trash").mkdir(mode=0o755)
    with pytest.raises(ItemError, match="not a private directory of root"):
        OwnedTree(item(base, state="absent", path="t", trash=str(base / ".trash")), check=False).plan()


def test_trash_is_emptied_by_age(tmp_path: Path) -> None:
    trash = tmp_path / "trash"
    trash.mkdir(mode=0o700)
    now = datetime.now(UTC)
    old, new = (f"t-1-{(now - timedelta(days=days)).strftime(purging.STAMP_FORMAT)}" for days in (8, 6))
    for name in (old, new, ".purge-x", "unknown"):
        (trash / name / "deep").mkdir(parents=True)
        (trash / name / "deep" / "file").write_text("x")
    assert purging.empty_trash(str(trash), timedelta(days=7)) == []
    assert sorted(path.name for path in trash.iterdir()) == [new, "unknown"]
    trash.chmod(0o755)
    assert "not a private directory" in purging.empty_trash(str(trash), timedelta(days=0))[0]


def test_items_of_one_call_predict_what_they_share_once(base: Path) -> None:
    for name in ("a", "b"):
        (base / name).mkdir()
        os.chown(base / name, UID, UID)
    trash = str(base / ".trash")
    specs = [item(base, state="absent", path=name, trash=trash) for name in ("a", "b")]
    specs += [item(base, tree=[("c", "0711"), (f"c/{name}", "0750")]) for name in ("x", "y")]
    coming: dict[str, Entry] = {}
    predicted = [[step.diff() for step in OwnedTree(spec, True, coming).plan()] for spec in specs]
    assert [len(diffs) for diffs in predicted] == [2, 1, 2, 1]
    assert [converge(spec) for spec in specs] == predicted
