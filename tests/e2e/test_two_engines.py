"""Two engines with a state directory each on one PostgreSQL: they share nodes by lease, and take over from the dead."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.test_engine_ssh import node
from tests.hosts.fixtures import Host
from tests.postgresql import Databases
from tests.unit.engine.panel import Panel
from tests.unit.engine.toy import make_collection
from wcp360.core.views import ChangeStatus, ChangeView, RecordStatus, RunView

LEASE = 3.0
# From an engine's death to what its lease says: a renewal that comes every third of it may be a bit late.
LATE = 0.7
# From a lease's end to the other engine's run: a sweep once a second, and what forms the batch.
FOUND = 10.0
LOCK = "/run/wcp360/node.lock"


@pytest.fixture
def panels(ssh_host: Host, databases: Databases) -> Iterator[tuple[Panel, Panel]]:
    """Return two panels that share nothing but the database and the node."""
    name = databases.fresh()
    bases = [Path(tempfile.mkdtemp(prefix="w-")) for _ in range(2)]
    for base in bases:
        (base / "database.url").write_text(databases.server.url(name))
    first, second = Panel.make(bases[0], **node(ssh_host)), Panel(bases[1])
    second.settings.state_dir.mkdir()
    make_collection(second.collection)
    second.home = first.home
    for panel in (first, second):
        (panel.settings.state_dir / "ssh").mkdir()
        shutil.copy(ssh_host.key, panel.settings.state_dir / "ssh" / "id_ed25519")
    ssh_host.run(f"mkdir -p {first.home}")
    yield first, second
    for panel in (first, second):
        panel.store.close()
        shutil.rmtree(panel.base)
    databases.server.drop(name)


def changed_on(host: Host, panel: Panel) -> list[str]:
    return host.run(f"cat {panel.home}/changes.log").stdout.split()


def leased_until(panel: Panel) -> datetime:
    """Return when the node's lease ends, as the database has it."""
    with panel.store.read() as state:
        row = next(iter(state.tables.lease.select().where(state.tables.lease.name == "node:local")))
    return datetime.fromisoformat(row["expires"])


def assert_lease_was_respected(killed: datetime, expires: datetime, successor: RunView) -> None:
    """The dead had the node for what was left of its lease, two thirds of it or more, and no run begins before.

    The successor lived and looked for work all the time; it takes the node soon after.
    """
    assert LEASE * 2 / 3 - LATE < (expires - killed).total_seconds() <= LEASE
    waited = (datetime.fromisoformat(successor.created) - expires).total_seconds()
    assert 0 <= waited < FOUND, f"the successor's run began {waited} seconds after the dead engine's lease ended"


def test_two_engines_share_the_work_and_do_nothing_twice(panels: tuple[Panel, Panel], ssh_host: Host) -> None:
    first, second = panels
    with first.engine(), second.engine():
        changes = []
        for number in range(4):
            changes.append(first.submit(f"shared{number}", "x"))
            panels[number % 2].bell.node("local")
        assert {first.finished(change.id).status for change in changes} == {ChangeStatus.SUCCEEDED}
    runs = sorted((run.created, run.finished) for run in first.runs())
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(runs)), "two runs at once"
    assert changed_on(ssh_host, first) == [f"shared{number}" for number in range(4)]


def test_work_is_found_without_a_bell(panels: tuple[Panel, Panel]) -> None:
    first, second = panels
    with second.engine():
        second.finished(first.submit("warm", "x").id)
        delays = []
        for number in range(2):
            accepted = time.time()
            change = first.submit(f"silent{number}", "x")
            runs = len(first.runs())
            for _ in second.waiting(30):
                if len(first.runs()) > runs:
                    break
            delays.append(time.time() - accepted)
            assert second.finished(change.id).status is ChangeStatus.SUCCEEDED
    assert max(delays) < 3, f"from submit to the run's begin without a bell: {delays}"


def test_an_engine_that_dies_before_its_run_is_replaced_when_its_lease_ends(panels: tuple[Panel, Panel]) -> None:
    first, second = panels
    with second.engine(), first.engine(WCP360_KILL_AT="engine.before_run") as dying:
        change = let_die(first, dying, second)
        killed, expires, runs = datetime.now(UTC), leased_until(first), first.runs()
        assert runs[0].finished is None, "it died outside its run"
        assert second.finished(change.id).status is ChangeStatus.SUCCEEDED
        assert_lease_was_respected(killed, expires, second.runs()[-len(runs) - 1])


def let_die(panel: Panel, dying: subprocess.Popen[bytes], other: Panel) -> ChangeView:
    """Submit changes to an engine until it dies by one; the other engine, which sweeps, may be faster."""
    for number in range(20):
        change = panel.submit(f"demo{number}", "x")
        panel.bell.node("local")
        for _ in other.waiting():
            if dying.poll() is not None:
                assert dying.returncode == -9, panel.log()
                return change
            if other.change(change.id).status is not ChangeStatus.PENDING:
                break
    raise AssertionError("The other engine was always faster.")


def test_a_module_that_still_works_for_a_dead_engine_excludes_its_successor(
    panels: tuple[Panel, Panel], ssh_host: Host
) -> None:
    first, second = panels
    with first.engine() as process:
        assert first.finished(first.submit("early", "x").id).status is ChangeStatus.SUCCEEDED
        change = first.submit("slow", "hold 20")
        first.bell.node("local")
        for _ in first.waiting():
            if ssh_host.run(f"test -e {LOCK}", check=False).returncode == 0:
                break
        leased = first.runs()[0]
        with second.engine():
            time.sleep(LEASE + 1)
            assert second.runs()[0].id == leased.id, "a living engine's node was taken from it"
            process.kill()
            process.wait()
            killed, expires = datetime.now(UTC), leased_until(second)
            for _ in second.waiting(30):
                if second.runs()[0].id != leased.id:
                    break
            assert_lease_was_respected(killed, expires, second.runs()[0])
            for _ in second.waiting(30):
                if "Another run still works on this node" in second.change(change.id).resources[0].reason:
                    break
            assert ssh_host.run(f"test -e {LOCK}", check=False).returncode == 0, "the dead engine's module works on"
            assert second.change(change.id).status is ChangeStatus.PENDING
            ended = second.finished(change.id)
    assert ended.status is ChangeStatus.SUCCEEDED and len(ended.runs) > 2
    assert changed_on(ssh_host, first) == ["early", "slow"], "nothing was done twice"
    with second.store.read() as state:
        closed = state.run(leased.id)
    assert closed.status is RecordStatus.FAILED and "died" in closed.reason
