from __future__ import annotations

import os
import pickle
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.engine.toy import ROOT
from wcp360.core.config import Settings
from wcp360.core.errors import Conflict, Invalid
from wcp360.engine.bell import QUEUE_FILE, Bell
from wcp360.engine.consumer import _alone, _identity, _open_queue, _prepare, _Turns
from wcp360.engine.queue import Queue


def heard(path: Path) -> list[tuple[str, str]]:
    """Take everything out of a queue."""
    said: list[tuple[str, str]] = []
    queue = Queue(path, 5)
    queue.serve({name: lambda argument, name=name: said.append((name, argument)) for name in ("converge", "preview")})
    while (task := queue.huey.dequeue()) is not None:
        queue.huey.execute(task)
    return said


def test_a_ring_is_heard_and_previews_come_first(tmp_path: Path) -> None:
    bell = Bell(Settings(state_dir=tmp_path))
    assert bell.node("web1")
    assert bell.preview("01M826NXZ44H24AJR0AZ46PQ9Z")
    assert heard(tmp_path / QUEUE_FILE) == [("preview", "01M826NXZ44H24AJR0AZ46PQ9Z"), ("converge", "web1")]


def test_a_locked_queue_is_given_up_without_an_error(tmp_path: Path) -> None:
    bell = Bell(Settings(state_dir=tmp_path))
    assert bell.node("web1")
    other = sqlite3.connect(tmp_path / QUEUE_FILE, isolation_level=None)
    other.execute("begin exclusive")
    assert not bell.node("web2")
    other.execute("rollback")
    assert bell.node("web3")
    assert heard(tmp_path / QUEUE_FILE) == [("converge", "web1"), ("converge", "web3")]


def test_a_missing_directory_is_given_up_without_an_error(tmp_path: Path) -> None:
    assert not Bell(Settings(state_dir=tmp_path / "none")).node("web1")


def test_a_ring_survives_a_fork(tmp_path: Path) -> None:
    bell = Bell(Settings(state_dir=tmp_path))
    bell.node("before")
    child = os.fork()
    if child == 0:
        os._exit(0 if bell.node("child") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert heard(tmp_path / QUEUE_FILE) == [("converge", "before"), ("converge", "child")]


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("form", ["pickle", "[]", '["a", "os.system", "x"]', '["a", 1, "x"]', "{"])
def test_a_message_that_is_not_ours_runs_nothing(tmp_path: Path, form: str) -> None:
    data = pickle.dumps(_Trap(tmp_path / "sprung")) if form == "pickle" else form.encode()
    queue = Queue(tmp_path / QUEUE_FILE, 5)
    queue.huey.storage.enqueue(data)
    with pytest.raises(Exception, match=r"not one of ours|not found in TaskRegistry|decode|Expecting"):
        queue.huey.dequeue()
    assert not (tmp_path / "sprung").exists()


def test_importing_the_bell_does_not_import_huey() -> None:
    code = "import sys, wcp360.engine.bell; sys.exit('huey' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_damaged_queue_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / QUEUE_FILE
    path.write_bytes(b"this is no database at all" * 100)
    _open_queue(path).ring("converge", "web1")
    assert heard(path) == [("converge", "web1")]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_state_directory_has_one_engine_and_it_keeps_its_name(tmp_path: Path) -> None:
    with _alone(tmp_path), pytest.raises(Conflict, match="Another engine is at work"), _alone(tmp_path):
        pass
    with _alone(tmp_path):
        assert _identity(tmp_path) == _identity(tmp_path)


def test_a_state_directory_with_a_brace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be used"):
        _prepare(tmp_path / "{{ x }}")


def test_a_ring_during_a_turn_gives_another_turn() -> None:
    turns = _Turns()
    assert turns.begin("web1")
    assert not turns.begin("web1")
    assert turns.end("web1")
    assert turns.begin("web1")
    assert not turns.end("web1")


def test_the_sweep_rings_once_for_what_is_not_begun() -> None:
    turns = _Turns()
    assert turns.forgotten("web1")
    assert not turns.forgotten("web1")
    turns.begin("web1")
    assert not turns.forgotten("web1")
    turns.end("web1")
    assert turns.forgotten("web1")


def test_the_sweep_rings_again_for_what_was_lost() -> None:
    turns = _Turns(lost_seconds=0.05)
    assert turns.forgotten("web1")
    assert not turns.forgotten("web1")
    time.sleep(0.06)
    assert turns.forgotten("web1")
