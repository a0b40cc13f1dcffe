"""Killed in the middle of a migration, a database is at the script before or after, and the next migration ends it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from wcp360.storage import SqlStore, migrate, pending_migrations

SEED = os.environ.get("WCP360_SEED", "4711")
KILLS = 20
# The imports take much longer than the migration: the clock starts after them.
PROGRAM = """
import sys
from wcp360.storage import SqlStore, migrate
print("ready", flush=True)
for line in sys.stdin:
    migrate(SqlStore(line.strip()))
    print("done", flush=True)
"""


def begun() -> subprocess.Popen[str]:
    """Return a process that migrates the databases that it is told."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def ask(process: subprocess.Popen[str], path: Path) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{path}\n")
    process.stdin.flush()


def schema(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def test_killed_at_any_moment_a_migration_is_finished_by_the_next(tmp_path: Path) -> None:
    chance, found = random.Random(f"{SEED} migrations"), []
    whole, process = tmp_path / "whole.db", begun()
    start = time.monotonic()
    ask(process, whole)
    assert process.stdout is not None and process.stdout.readline() == "done\n"
    takes = time.monotonic() - start
    for number in range(KILLS):
        path = tmp_path / f"killed{number}.db"
        ask(process, path)
        time.sleep(chance.uniform(0, takes))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found.append(len(pending_migrations(SqlStore(path))))
        migrate(SqlStore(path))
        assert pending_migrations(SqlStore(path)) == []
        assert schema(path) == schema(whole)
        process = begun()
    process.kill()
    process.communicate()
    print(f"seed {SEED}: after each kill so many scripts were left: {found}")
    assert len(set(found)) > 1, "every kill came at the same moment"
