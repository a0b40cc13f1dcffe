"""A panel in miniature: real storage, real engine process, toy roles, and resources that are files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.toy import ROOT, make_collection
from wcp360.core.config import EngineSettings, Settings
from wcp360.core.ids import new_id
from wcp360.core.listing import newest
from wcp360.core.resources import Life, Ref, RoleItem, Spec
from wcp360.core.views import ChangeStatus, ChangeView
from wcp360.engine.bell import Bell
from wcp360.storage import Ledger, SqlStore, migrate

NODE = "local"
PROCESS = """
import logging, sys
from pathlib import Path
from tests.unit.engine.panel import Panel
from wcp360.engine.consumer import serve_engine
logging.basicConfig(level="INFO", format="%(asctime)s %(name)s %(message)s")
panel = Panel(Path(sys.argv[1]))
serve_engine(panel.store, panel.ledger, panel.settings, collection=panel.collection)
"""


class FreeSpec(Spec):
    """A specification that takes what a test gives it."""

    model_config = Spec.model_config | {"extra": "allow"}


class Panel:
    """Everything below one directory; a second process opens the same by the same path."""

    def __init__(self, base: Path) -> None:
        self.base, self.home, self.collection = base, base / "home", base / "collection"
        engine = EngineSettings(sweep=0.5, lease=3, run_timeout=60, retry=0.2, warm="TEST_WARM" in os.environ)
        self.settings = Settings(state_dir=base / "state", engine=engine)
        shared = base / "database.url"
        self.store = SqlStore(shared.read_text() if shared.exists() else base / "wcp360.db")
        self.ledger = Ledger(self.store, retry=engine.retry)
        self.bell = Bell(self.settings)
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, base: Path, **node: Any) -> Panel:
        """Make a new one with one node, this machine unless ``node`` says otherwise."""
        panel = cls(base)
        panel.home.mkdir()
        panel.settings.state_dir.mkdir()
        make_collection(panel.collection)
        migrate(panel.store)
        with panel.store.write() as tx:
            ref = Ref("node", NODE)
            tx.put(ref, FreeSpec(**({"connection": "local"} | node)))
            tx.want(ref, (RoleItem("server", {"tenant": True}),), (NODE,), {})
            panel.accept(tx)
        return panel

    def accept(self, tx: Any) -> ChangeView:
        """Record a change as the door does."""
        change: ChangeView = tx.add_change(
            new_id(), operation="toy.update", given={}, actor="root", tenant=None, correlation=new_id()
        )
        return change

    def submit(self, name: str, text: str, *, life: Life = Life.PRESENT, depends: tuple[Ref, ...] = ()) -> ChangeView:
        """Accept one change of one tenant, and do not ring."""
        with self.store.write() as tx:
            self.write(tx, name, text, life=life, depends=depends)
            return self.accept(tx)

    def write(self, tx: Any, name: str, text: str, *, life: Life = Life.PRESENT, depends: tuple[Ref, ...] = ()) -> None:
        """Write one tenant and what its node shall have."""
        ref = Ref("tenant", name)
        item = {"id": str(ref), "name": name, "state": life.value, "home": str(self.home), "comment": text}
        tx.put(ref, FreeSpec(text=text), tenant=name, life=life)
        tx.want(ref, (RoleItem("tenant_accounts", item),), (NODE,), {NODE: (Ref("node", NODE), *depends)})

    def change(self, change_id: str) -> ChangeView:
        """Return a change as it is now."""
        with self.store.read() as state:
            return state.change(change_id)

    def finished(self, change_id: str, seconds: float = 90) -> ChangeView:
        """Wait for a change to finish."""
        for _ in self.waiting(seconds):
            change = self.change(change_id)
            if change.status is not ChangeStatus.PENDING:
                break
        return change

    def waiting(self, seconds: float = 90) -> Iterator[None]:
        """Yield until the time is up, or the engine is gone; then the test fails with the engine's log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and (self.process is None or self.process.poll() is None):
            yield
            time.sleep(0.05)
        pytest.fail(f"It took too long, or the engine ended.\n{self.log()}")

    def runs(self) -> list[Any]:
        """Return all runs, newest first."""
        with self.store.read() as state:
            return [state.run(row.id) for row in state.page("run", newest(100)).items]

    def log(self) -> str:
        """Return what the engine's processes printed."""
        path = self.base / "engine.log"
        return path.read_text() if path.exists() else ""

    def changes_made(self) -> list[str]:
        """Return the names of the files that were changed, one entry for each time."""
        path = self.home / "changes.log"
        return path.read_text().split() if path.exists() else []

    @contextlib.contextmanager
    def engine(self, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run an engine process; it is ended in the end."""
        with (self.base / "engine.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", PROCESS, str(self.base)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.process = process
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
