"""A dry run beside a real one, with a real engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.panel import Panel
from wcp360.core.ids import new_id
from wcp360.core.views import ChangeStatus, PreviewView, RecordStatus
from wcp360.engine.batch import compile_batches


class _TakenBack(Exception):
    pass


def keep_preview(panel: Panel, name: str, text: str) -> str:
    batches: dict[str, Any] = {}
    with pytest.raises(_TakenBack), panel.store.write() as tx:
        panel.write(tx, name, text)
        batches = compile_batches(tx)
        raise _TakenBack
    with panel.store.write() as tx:
        return tx.add_preview(
            new_id(), operation="toy.update", given={}, actor="root", tenant=None, correlation=new_id(), base={},
            batches=batches,
        ).id  # fmt: skip


def preview_of(panel: Panel, preview_id: str) -> PreviewView:
    with panel.store.read() as state:
        view: PreviewView = state.preview(preview_id)
    return view


def test_a_preview_made_in_the_middle_of_a_run_is_made_again_after_it(tmp_path: Path) -> None:
    panel = Panel.make(tmp_path)
    change = panel.submit("slow", "sleep 10")
    preview_id = keep_preview(panel, "slow", "sleep 10")
    with panel.engine():
        for _ in panel.waiting():
            if any(run.check and run.status is RecordStatus.SUCCEEDED for run in panel.runs()):
                break
        assert panel.change(change.id).status is ChangeStatus.PENDING
        for _ in panel.waiting():
            if preview_of(panel, preview_id).finished is not None:
                break
        assert panel.change(change.id).status is ChangeStatus.SUCCEEDED
    made = preview_of(panel, preview_id)
    assert (made.status, made.changed, made.items) == (RecordStatus.SUCCEEDED, False, [])
