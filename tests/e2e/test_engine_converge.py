"""The engine as its own process, on this machine as the node: changes in, files out."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.engine.panel import NODE, PROCESS, Panel
from tests.unit.engine.toy import ROOT
from wcp360.core.resources import Life, Ref
from wcp360.core.views import ChangeStatus, RecordStatus
from wcp360.engine.remnants import marked


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    return Panel.make(tmp_path)


def test_changes_are_applied_and_a_second_time_nothing_changes(panel: Panel) -> None:
    change = panel.submit("demo", "{{ lookup('pipe', 'id') }}")
    with panel.engine():
        assert panel.finished(change.id).status is ChangeStatus.SUCCEEDED
        with panel.store.write() as tx:
            tx.retry(Ref("tenant", "demo"))
            again = panel.accept(tx)
        panel.bell.node(NODE)
        assert panel.finished(again.id).status is ChangeStatus.SUCCEEDED
    assert (panel.home / "demo").read_text() == "{{ lookup('pipe', 'id') }}\n"
    assert panel.changes_made() == ["demo"]
    assert panel.runs()[0].items == []
    assert [item.resource for item in panel.runs()[1].items] == ["tenant:demo"]
    with panel.store.read() as state:
        assert state.facts(Ref("node", NODE)) == {"service_manager": "none"}
    assert not list((panel.settings.state_dir / "runs").iterdir())


def test_one_bad_item_fails_alone(panel: Panel) -> None:
    bad, good = panel.submit("bad", "refuse"), panel.submit("good", "fine")
    with panel.engine():
        assert panel.finished(good.id).status is ChangeStatus.SUCCEEDED
        failed = panel.finished(bad.id)
    assert (failed.status, failed.resources[0].reason) == (ChangeStatus.FAILED, "this is refused")
    assert panel.runs()[0].status is RecordStatus.FAILED


def test_what_needs_something_that_failed_is_not_tried(panel: Panel) -> None:
    bad = panel.submit("bad", "refuse")
    with panel.engine():
        panel.finished(bad.id)
        needy = panel.submit("needy", "x", depends=(Ref("tenant", "bad"),))
        panel.bell.node(NODE)
        failed = panel.finished(needy.id)
    assert failed.resources[0].reason == "skipped: needs tenant bad, which failed: this is refused"
    assert not (panel.home / "needy").exists()


def test_a_run_that_breaks_leaves_its_changes_waiting_with_the_reason(panel: Panel) -> None:
    change = panel.submit("demo", "crash")
    with panel.engine():
        for _ in panel.waiting():
            if "the module crashed" in panel.change(change.id).resources[0].reason:
                break
        assert panel.change(change.id).status is ChangeStatus.PENDING
        healed = panel.submit("demo", "fine")
        panel.bell.node(NODE)
        assert panel.finished(healed.id).status is ChangeStatus.SUCCEEDED
        assert panel.finished(change.id).status is ChangeStatus.SUCCEEDED


def test_a_tombstone_is_taken_away(panel: Panel) -> None:
    with panel.engine():
        panel.finished(panel.submit("demo", "here").id)
        gone = panel.submit("demo", "", life=Life.ABSENT)
        panel.bell.node(NODE)
        assert panel.finished(gone.id).status is ChangeStatus.SUCCEEDED
    assert not (panel.home / "demo").exists()
    with panel.store.read() as state:
        assert state.find(Ref("tenant", "demo")) is None


def test_a_second_engine_refuses_with_a_sentence(panel: Panel) -> None:
    with panel.engine():
        panel.finished(panel.submit("demo", "x").id)
        second = subprocess.run(
            [sys.executable, "-c", PROCESS, str(panel.base)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert second.returncode != 0
    assert "Another engine is at work on" in second.stderr


def test_sigterm_ends_a_long_run_within_five_seconds_and_leaves_it_pending(panel: Panel) -> None:
    change = panel.submit("slow", "sleep 30")
    with panel.engine() as process:
        for _ in panel.waiting():
            if len(list(marked(panel.settings.state_dir))) > 1:
                break
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - start < 5
    waiting = panel.change(change.id)
    assert waiting.status is ChangeStatus.PENDING
    assert panel.runs()[0].status is RecordStatus.FAILED
    assert "The engine was stopped" in panel.runs()[0].reason
    assert not list(marked(panel.settings.state_dir))
