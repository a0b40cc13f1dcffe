"""The node's lock: one holder at a time, nothing left behind, and a sentence for the one who waits in vain."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils.items import node_lock


def count_up(lock: str, counter: str, times: int) -> None:
    for _ in range(times):
        with node_lock(30, lock):
            value = int(Path(counter).read_text())
            Path(counter).write_text(str(value + 1))


def test_nobody_else_has_it_meanwhile_though_its_file_comes_and_goes(tmp_path: Path) -> None:
    lock, counter = tmp_path / "run" / "node.lock", tmp_path / "counter"
    counter.write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=count_up, args=(str(lock), str(counter), 40)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert counter.read_text() == "160"
    assert not lock.parent.exists()


def test_who_waits_in_vain_is_told_for_what(tmp_path: Path) -> None:
    lock = str(tmp_path / "run" / "node.lock")
    with node_lock(1, lock), pytest.raises(TimeoutError, match=r"it holds .*node\.lock"), node_lock(0.2, lock):
        pass
    with node_lock(0.2, lock):
        pass


def test_who_was_called_by_a_program_that_is_gone_does_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    lock, done, saved = str(tmp_path / "run" / "node.lock"), [], os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        with node_lock(1, lock):
            done.append("heard")
        os.close(reader)
        with pytest.raises(BrokenPipeError, match="Nothing was done"), node_lock(1, lock):
            done.append("not heard")
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    assert done == ["heard"]
    assert not (tmp_path / "run").exists()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "node.lock").symlink_to(target)
    with pytest.raises(OSError, match=r"node\.lock"), node_lock(0.2, str(tmp_path / "run" / "node.lock")):
        pass
    assert not target.exists()
