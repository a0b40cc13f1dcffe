"""Killed at every named point, the engine loses nothing, does nothing twice and leaves nothing running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.panel import NODE, Panel
from wcp360.core.ids import new_id
from wcp360.core.resources import Ref
from wcp360.core.views import ChangeStatus, PreviewView, RecordStatus
from wcp360.engine.batch import compile_batches
from wcp360.engine.remnants import marked

POINTS = (
    "engine.after_lease",
    "engine.after_compile",
    "engine.before_run",
    "engine.after_run",
    "engine.before_record",
    "engine.after_record",
)


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    return Panel.make(tmp_path)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_engine_loses_nothing_and_does_nothing_twice(panel: Panel, point: str) -> None:
    good, bad = panel.submit("good", "x"), panel.submit("bad", "refuse")
    with panel.engine(WCP360_KILL_AT=point) as process:
        assert process.wait(60) == -9, panel.log()
    with panel.engine():
        assert panel.finished(good.id).status is ChangeStatus.SUCCEEDED
        assert panel.finished(bad.id).resources[0].reason == "this is refused"
        for _ in panel.waiting():
            if not [run for run in panel.runs() if run.status is RecordStatus.RUNNING]:
                break
    assert panel.changes_made() == ["good"]
    _assert_nothing_left(panel)


@pytest.mark.parametrize("task", ["Converge items", "Finish"])
def test_a_killed_ansible_is_tried_again(panel: Panel, task: str) -> None:
    change = panel.submit("demo", "x")
    with panel.engine(WCP360_KILL_AT=f"task:{task}"):
        for _ in panel.waiting():
            if panel.change(change.id).resources[0].reason:
                break
        assert panel.change(change.id).status is ChangeStatus.PENDING
    with panel.engine():
        assert panel.finished(change.id).status is ChangeStatus.SUCCEEDED
    assert panel.changes_made() == ["demo"]
    _assert_nothing_left(panel)


def test_an_engine_killed_in_the_middle_of_a_run_leaves_no_second_one(panel: Panel) -> None:
    change = panel.submit("slow", "sleep 4")
    with panel.engine() as process:
        for _ in panel.waiting():
            if len(list(marked(panel.settings.state_dir))) > 1:
                break
        process.kill()
        process.wait()
    with panel.engine():
        assert panel.finished(change.id).status is ChangeStatus.SUCCEEDED
    assert panel.changes_made() == ["slow"]
    _assert_nothing_left(panel)


def test_a_preview_changes_nothing_and_says_what_the_run_then_does(panel: Panel) -> None:
    preview = _keep_preview(panel, "demo", "x")
    with panel.engine():
        panel.bell.preview(preview.id)
        made = _made(panel, preview.id)
        assert (made.status, made.changed) == (RecordStatus.SUCCEEDED, True)
        assert panel.changes_made() == []
        change = panel.submit("demo", "x")
        panel.bell.node(NODE)
        panel.finished(change.id)
    real = next(run for run in panel.runs() if "tenant:demo" in run.resources and not run.check)
    assert real.items == made.items


def test_a_preview_survives_its_engine(panel: Panel) -> None:
    preview = _keep_preview(panel, "demo", "x")
    with panel.engine(WCP360_KILL_AT="preview.before_finish") as process:
        assert process.wait(60) == -9, panel.log()
    with panel.engine():
        assert _made(panel, preview.id).status is RecordStatus.SUCCEEDED
    assert panel.changes_made() == []
    _assert_nothing_left(panel)


class _TakenBack(Exception):
    pass


def _keep_preview(panel: Panel, name: str, text: str) -> PreviewView:
    batches: dict[str, Any] = {}
    with pytest.raises(_TakenBack), panel.store.write() as tx:
        panel.write(tx, name, text)
        batches = compile_batches(tx)
        raise _TakenBack
    with panel.store.write() as tx:
        assert tx.find(Ref("tenant", name)) is None
        return tx.add_preview(
            new_id(), operation="toy.update", given={}, actor="root", tenant=None, correlation=new_id(), base={},
            batches=batches,
        )  # fmt: skip


def _made(panel: Panel, preview_id: str) -> PreviewView:
    for _ in panel.waiting():
        with panel.store.read() as state:
            preview: PreviewView = state.preview(preview_id)
        if preview.finished is not None:
            break
    return preview


def _assert_nothing_left(panel: Panel) -> None:
    state_dir = panel.settings.state_dir
    assert not list((state_dir / "runs").iterdir())
    assert not list(marked(state_dir))
    assert all(run.status in (RecordStatus.SUCCEEDED, RecordStatus.FAILED) for run in panel.runs())
