"""Several processes on one database, killed ones and forked ones among them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wcp360.core.listing import newest
from wcp360.core.views import ChangeStatus
from wcp360.storage import Ledger, SqlStore, migrate
from wcp360.storage.dialect import SqliteDialect

from .helpers import content_hash, converge, rows
from .worker import REF

WORKER = Path(__file__).with_name("worker.py")
PROCESSES, TIMES = 8, 25


def start(job: str, store: SqlStore, argument: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), job, str(store.dialect.database.database), str(argument)]
    root = str(Path(__file__).parents[3])
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root})


def test_eight_processes_lose_no_update(store: SqlStore) -> None:
    engine = start("apply", store, 0)
    writers = [start("increment", store, TIMES) for _ in range(PROCESSES)]
    assert [writer.wait(timeout=240) for writer in writers] == [0] * PROCESSES
    assert engine.poll() is None, "the engine's side failed"
    engine.kill()
    engine.wait()
    quick = Ledger(store, retry=0.01)
    quick.abandon_runs("web1", "the engine was killed")
    time.sleep(0.05)
    converge(quick)
    total = PROCESSES * TIMES
    with store.read() as state:
        assert state.get(REF).spec == {"count": total} and state.get(REF).revision == total
        assert state.targets()[0].applied_items[0].value == {"count": total}
        changes = state.page("change", newest(9999)).items
        assert len(changes) == total and {change.status for change in changes} == {ChangeStatus.SUCCEEDED}
        assert state.verify_audit().intact and len(state.audit(limit=9999, after=0)) == total
        events = state.events(tenants=None, limit=99999, after=0)
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        finished = [event.data["change"] for event in events if event.type == "change.finished"]
        assert sorted(finished) == sorted(change.id for change in changes)
    with store.write() as unit:
        assert unit.allocate("uid", 1, 10**6) == total + 1


def test_a_reader_of_events_misses_none_while_many_write(store: SqlStore) -> None:
    writers = [start("increment", store, 20) for _ in range(4)]
    seen: list[int] = []
    while any(writer.poll() is None for writer in writers):
        with store.read() as state:
            seen += [event.id for event in state.events(tenants=None, limit=50, after=seen[-1] if seen else 0)]
        time.sleep(0.01)
    with store.read() as state:
        seen += [event.id for event in state.events(tenants=None, limit=500, after=seen[-1] if seen else 0)]
    assert seen == list(range(1, 81)) and [writer.returncode for writer in writers] == [0] * 4


def test_a_lease_has_one_owner(store: SqlStore) -> None:
    jobs = [start("leases", store, 30) for _ in range(PROCESSES)]
    assert sum(int(job.communicate(timeout=120)[0]) for job in jobs) == 30


def written(store: SqlStore) -> int:
    with store.read() as state:
        found = state.find(REF)
        return found.spec["count"] if found else 0


def test_killed_writers_leave_whole_transactions_only(store: SqlStore) -> None:
    rng = random.Random(7)
    for _ in range(12):
        before = written(store)
        writer = start("increment", store, 10_000)
        while written(store) == before:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.1)
        writer.kill()
        writer.wait()
    count = written(store)
    with store.read() as state:
        assert count >= 12
        assert len(state.audit(limit=99999, after=0)) == count and state.verify_audit().intact
        assert len(state.events(tenants=None, limit=99999, after=0)) == count
        assert len(state.page("change", newest(99_999)).items) == count
    if isinstance(store.dialect, SqliteDialect):
        assert rows(store, "PRAGMA integrity_check") == [("ok",)] and rows(store, "PRAGMA foreign_key_check") == []


def test_threads_share_a_store(store: SqlStore) -> None:
    from .worker import increment

    threads = [threading.Thread(target=increment, args=(store, 20)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as state:
        assert state.get(REF).spec == {"count": 160}


def test_a_store_survives_a_fork(store: SqlStore) -> None:
    from .worker import increment

    increment(store, 1)
    child = os.fork()
    if child == 0:
        try:
            increment(store, 5)
        finally:
            os._exit(0)
    increment(store, 5)
    assert os.waitpid(child, 0)[1] == 0
    with store.read() as state:
        assert state.get(REF).spec == {"count": 11}


SLOW = """
import time

from peewee import SQL


def up(migrator, db):
    print("begun", flush=True)
    db.execute_sql("CREATE TABLE extra (id INTEGER PRIMARY KEY)")
    for number in range(50):
        db.execute_sql("INSERT INTO extra (id) VALUES (%d)" % number)
        time.sleep(0.02)
    db.execute_sql("ALTER TABLE resource ADD COLUMN note TEXT")
"""


def directory_with(tmp_path: Path, **scripts: str) -> Path:
    directory = tmp_path / "migrations"
    directory.mkdir()
    original = Path(migrate.__globals__["DIRECTORY"])
    for path in original.glob("[0-9]*.py"):
        (directory / path.name).write_text(path.read_text())
    for name, text in scripts.items():
        (directory / f"{name.removeprefix('_')}.py").write_text(text)
    return directory


def test_a_migration_that_is_killed_is_not_half_there(store: SqlStore, tmp_path: Path) -> None:
    directory = directory_with(tmp_path, _0099_slow=SLOW)
    with store.write() as unit:
        unit.allocate("uid", 1, 9)
    before = content_hash(store)
    rng = random.Random(3)
    for _ in range(5):
        job = start("migrate", store, directory)
        assert job.stdout is not None and job.stdout.readline() == "begun\n"
        time.sleep(rng.random() * 0.8)
        assert job.poll() is None, "it was over before it could be killed"
        job.kill()
        job.wait()
        store.close()
        assert content_hash(store) == before
    assert migrate(store, directory) == ["0099_slow"]
    assert rows(store, "SELECT COUNT(*) FROM extra") == [(50,)]
    assert rows(store, "SELECT value FROM counter WHERE name = 'uid'") == [(1,)]
    assert rows(store, "SELECT note FROM resource") == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_migrate_at_once_and_one_does_it(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    directory = directory_with(tmp_path, _0099_slow=SLOW)
    where = f"sqlite:///{tmp_path}/deep/new.db"
    if kind == "postgresql":
        server = request.getfixturevalue("databases").server
        where = server.url(server.create())
    store = SqlStore(where)
    every = len(list(directory.glob("[0-9]*.py")))
    jobs = [start("migrate", store, directory) for _ in range(6)]
    assert sorted(int(job.communicate(timeout=120)[0].split()[-1]) for job in jobs) == [0, 0, 0, 0, 0, every]
    assert [job.returncode for job in jobs] == [0] * 6
