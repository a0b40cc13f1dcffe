"""What a deleted account leaves: a repetition finishes what a killed run began, and nobody else's files go."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils import accounts, call_accounts, leftovers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners, so it needs root")
UID, OTHER = 54_331, 54_332
MARKER = "wcp360-tenants"


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing in between handles it."""


class Done(Exception):
    """Carries what a module ends with."""


class Call:
    """Stands for AnsibleModule, as a step of a call that holds the node's lock."""

    has_lock, _diff = True, False

    def __init__(self, items: list[dict[str, Any]], check: bool) -> None:
        self.params = {"group": MARKER, "sftp_group": "wcp360-sftp", "home_base": "/home", "items": items}
        self.check_mode = check

    def exit_json(self, **result: Any) -> NoReturn:
        raise Done(result)


class Node:
    """The users of a node, with the programs that take them away, and the directories in which they leave files."""

    def __init__(self, root: Path) -> None:
        self.users: dict[str, int] = {"alpha": UID}
        self.groups: dict[str, int] = {"alpha": UID}
        self.killed_at = ""
        self.crontabs, self.mail, self.linger, self.tmp, self.shm = (
            root / name for name in ("crontabs", "mail", "linger", "tmp", "shm")
        )
        for directory in (self.crontabs, self.mail, self.linger, self.tmp, self.shm):
            directory.mkdir()

    def user(self, name: str) -> Any:
        uid = self.users.get(name)
        names = {"pw_name": name, "pw_gecos": "", "pw_dir": f"/home/{name}", "pw_shell": "/usr/sbin/nologin"}
        return uid and SimpleNamespace(pw_uid=uid, pw_gid=uid, **names)

    def user_of(self, uid: int) -> str:
        return next((name for name, number in self.users.items() if number == uid), "")

    def group(self, name: str) -> Any:
        gid = self.groups.get(name)
        return gid and SimpleNamespace(gr_gid=gid, gr_mem=[])

    def run(self, argv: list[str]) -> None:
        if argv[0] == "userdel":
            del self.users[argv[-1]]
        if argv[0] == "groupdel":
            del self.groups[argv[-1]]
        if argv[0] == self.killed_at:
            raise Killed

    def leave(self, path: Path, uid: int = UID) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        os.chown(path, uid, uid)
        if path.parent not in (self.crontabs, self.mail, self.linger, self.tmp, self.shm):
            os.chown(path.parent, uid, uid)
        return path


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    made = Node(tmp_path)
    monkeypatch.setattr(leftovers, "NAMED_IN", tuple(map(str, (made.crontabs, made.mail, made.linger))))
    monkeypatch.setattr(leftovers, "SHARED", tuple(map(str, (made.tmp, made.shm))))
    monkeypatch.setattr(accounts, "end_processes", lambda *_: [])
    monkeypatch.setattr(accounts, "_user", made.user)
    monkeypatch.setattr(accounts, "_user_of", made.user_of)
    monkeypatch.setattr(accounts, "_group", made.group)
    monkeypatch.setattr(accounts, "_group_of", lambda gid: "")
    monkeypatch.setattr(accounts, "_members", lambda group: list(made.users) if group == MARKER else [])
    monkeypatch.setattr(accounts, "_shadow", lambda name: [name, "!", "", "", "", "", "", "", ""])
    monkeypatch.setattr(accounts, "_run", made.run)
    yield made


@pytest.fixture
def left(node: Node) -> list[Path]:
    """One of everything that the account alpha leaves."""
    named = [node.leave(node.crontabs / "alpha"), node.leave(node.mail / "alpha"), node.leave(node.linger / "alpha", 0)]
    return [*named, node.leave(node.tmp / "file"), node.leave(node.tmp / "of-alpha/file"), node.leave(node.shm / "x")]


def item(name: str = "alpha", **more: Any) -> dict[str, Any]:
    fields = {"id": name, "name": name, "state": "absent", "uid": UID, "gid": UID, "comment": "", "refuse": ""}
    return {**fields, "home": f"/home/{name}", "shell": "/usr/sbin/nologin", "authorized_keys": [], **more}


def converge(*items: dict[str, Any], check: bool = False) -> list[dict[str, Any]]:
    with pytest.raises(Done) as done:
        call_accounts.run(Call(list(items), check))
    results: list[dict[str, Any]] = done.value.args[0]["items"]
    return results


def headers(result: dict[str, Any]) -> list[str]:
    return [diff["before_header"] for diff in result["diff"]]


def files(node: Node) -> list[str]:
    """Return what lies in the directories, without the directories that are in them."""
    root = node.tmp.parent
    return sorted(str(path.relative_to(root)) for path in root.glob("*/**/*") if path.is_file())


def test_a_deletion_takes_what_the_account_left(node: Node, left: list[Path]) -> None:
    predicted = converge(item(), check=True)
    assert all(path.exists() for path in left) and "alpha" in node.users
    assert converge(item()) == predicted
    assert headers(predicted[0]) == ["account alpha", "files left by alpha"]
    assert (files(node), node.users, node.groups) == ([], {}, {})
    assert not converge(item())[0]["changed"]


@pytest.mark.parametrize("program", ["userdel", "groupdel"])
def test_a_repetition_finishes_what_a_killed_run_began(node: Node, left: list[Path], program: str) -> None:
    node.killed_at = program
    with pytest.raises(Killed):
        call_accounts.run(Call([item()], check=False))
    node.killed_at = ""
    assert "alpha" not in node.users and all(path.exists() for path in left)
    predicted = converge(item(), check=True)
    assert headers(predicted[0])[-1] == "files left by alpha" and all(path.exists() for path in left)
    assert converge(item()) == predicted
    assert (files(node), node.groups) == ([], {})
    assert converge(item(), check=True) == converge(item())
    assert not converge(item())[0]["changed"]


def test_another_user_that_has_the_uid_by_now_keeps_its_files(node: Node, left: list[Path]) -> None:
    node.users = {"other": UID}
    node.leave(node.crontabs / "other")
    predicted = converge(item(), check=True)
    assert converge(item()) == predicted
    assert files(node) == ["crontabs/other", "shm/x", "tmp/file", "tmp/of-alpha/file"]


def test_an_earlier_item_that_takes_the_uid_is_foreseen(node: Node, left: list[Path]) -> None:
    node.users, node.groups = {}, {}
    new = item("beta", state="present")
    (_made, predicted) = converge(new, item(), check=True)
    node.users = {"beta": UID}
    assert converge(item()) == [predicted]
    assert "tmp/file" in files(node) and "crontabs/alpha" not in files(node)


def test_what_bears_the_name_and_is_another_s_stays(node: Node) -> None:
    node.users, node.groups = {}, {}
    node.leave(node.mail / "alpha", OTHER)
    node.leave(node.tmp / "file", OTHER)
    (node.crontabs / "alpha").mkdir()
    (node.linger / "alpha").symlink_to(node.mail)
    assert converge(item(), check=True) == converge(item())
    assert not converge(item())[0]["changed"] and files(node) == ["mail/alpha", "tmp/file"]
    assert (node.crontabs / "alpha").is_dir() and (node.linger / "alpha").is_symlink()


def test_without_a_uid_nobody_knows_what_was_the_account_s(node: Node, left: list[Path]) -> None:
    node.users = {}
    predicted = converge(item(uid=None, gid=None), check=True)
    assert converge(item(uid=None, gid=None)) == predicted
    assert len(files(node)) == len(left) - 1 and not (node.linger / "alpha").exists()


def test_what_cannot_be_removed_is_named_and_tried_again(
    node: Node, left: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> NoReturn:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    with monkeypatch.context() as patch:
        patch.setattr(leftovers, "purge_directory", busy)
        (failed,) = converge(item())
        assert (
            failed["failed"]
            and not failed["retry"]
            and f"{node.tmp}/of-alpha (Device or resource busy)" in failed["msg"]
        )
        (held,) = files(node)
        assert held.startswith(f"tmp/.wcp360-{UID}-") and held.endswith("/moved-0/file") and "alpha" not in node.users
        (again,) = converge(item())
        assert again["failed"] and files(node) == [held]
    predicted = converge(item(), check=True)
    assert converge(item()) == predicted
    assert list(node.tmp.iterdir()) == [] and not converge(item())[0]["changed"]


def test_a_directory_that_cannot_be_moved_leaves_no_grave(
    node: Node, left: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(leftovers.os, "rename", full)
    (failed,) = converge(item())
    assert failed["failed"] and failed["retry"]
    assert files(node) == ["tmp/of-alpha/file"] and [path.name for path in node.tmp.iterdir()] == ["of-alpha"]


def test_only_root_s_directories_are_graves(node: Node) -> None:
    node.users, node.groups = {}, {}
    (node.tmp / f".wcp360-{UID}-a").mkdir()
    planted = node.tmp / f".wcp360-{UID}-b"
    planted.mkdir()
    os.chown(planted, OTHER, OTHER)
    (node.tmp / f".wcp360-{UID}-c").symlink_to(planted)
    (node.tmp / f".wcp360-{UID}0-d").mkdir()
    converge(item())
    assert sorted(path.name[-1] for path in node.tmp.iterdir()) == ["b", "c", "d"]


def test_names_of_files_are_shown_as_text(node: Node) -> None:
    for name in (b"of\nalpha", b"\xff"):
        path = os.path.join(os.fsencode(node.tmp), name)
        os.close(os.open(path, os.O_CREAT))
        os.chown(path, UID, UID)
    (result,) = converge(item())
    assert result["diff"][1]["before"] == f"'{node.tmp}/of\\nalpha'\n'{node.tmp}/\\udcff'\n"
    assert list(node.tmp.iterdir()) == []
