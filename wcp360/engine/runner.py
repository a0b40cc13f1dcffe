"""One execution of ansible-runner: a batch on a node, for real or in check mode.

ansible-runner's events tell people how far a run is. What a run did is read from the outcomes file alone, which
nothing that a node prints can forge.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ptyprocess
from ansible_runner.config.runner import RunnerConfig
from ansible_runner.runner import Runner
from ansible_runner.utils import get_callback_dir

from wcp360.core.errors import Unavailable
from wcp360.engine.gate import Gate
from wcp360.engine.inventory import read_node
from wcp360.engine.outcome import Report, plain, read_report
from wcp360.engine.payloads import PAYLOADS_VARIABLE, keep_payloads
from wcp360.engine.private import PrivateDirectory
from wcp360.engine.remnants import end_run
from wcp360.engine.warm import Warm

PLAYBOOK = Path("playbooks/converge.yml")
# For what belongs to tenants alone, on a node that is known: each task left out is one program less to start.
TENANTS = Path("playbooks/tenants.yml")
# How often ansible-runner looks whether it shall stop, in seconds.
LOOK = 0.25
TAIL = 2000
# ptyprocess pauses 0.1 s after it has closed a terminal, for a process that has not ended; by then ansible-runner has
# waited for its own.
ptyprocess.PtyProcess.delayafterclose = property(lambda self: 0.0, lambda self, value: None)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)

Progress = Callable[[dict[str, Any]], None]
Permit = Callable[[Report], str]


def allow(prediction: Report) -> str:
    """Let every run do what it predicted."""
    return ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: ``status`` is ansible-runner's word, ``said`` the last that Ansible printed.

    ``report`` is what it did, or would do where it only looked, ``refused`` why it was kept from it.
    """

    status: str
    rc: int | None
    report: Report
    said: str
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs batches from one state directory; ``timeout`` in seconds.

    ``playbook`` is relative to the collection's root, None for the one that fits the request; ``warm``, where given,
    starts ansible-playbook.
    """

    state_dir: Path
    timeout: float
    collection: Path
    playbook: Path | None = None
    warm: Warm | None = None

    def execute(
        self,
        run_id: str,
        batch: dict[str, Any],
        *,
        check: bool,
        cancelled: Callable[[], bool],
        progress: Progress,
        permit: Permit = allow,
    ) -> Ended:
        """Run a batch to its end, or no further than its prediction where ``check`` is set or ``permit`` refuses.

        ``permit`` gets the prediction and returns why it must not be done, or an empty string. Raises ValueError
        where the node's specification cannot be used.
        """
        node = read_node(batch["node"])
        with PrivateDirectory(self.state_dir, run_id, self.collection) as private:
            private.fill(node, batch["request"])
            with Gate(private.gate, lambda: permit(read_report(private.outcomes).part(check=True))) as gate:
                try:
                    playbook = self.playbook or (TENANTS if batch["request"]["facts"] else PLAYBOOK)
                    ended = self._run(private, playbook, check, self._ending(run_id, cancelled), _Tasks(progress))
                finally:
                    end_run(self.state_dir, run_id)
            return replace(ended, refused=gate.reason)

    def _ending(self, run_id: str, cancelled: Callable[[], bool]) -> Callable[[], bool]:
        """End all of a cancelled run: ansible-runner ends one process group, and Ansible's workers have their own."""

        def look() -> bool:
            if not cancelled():
                return False
            end_run(self.state_dir, run_id)
            return True

        return look

    def _run(
        self, private: PrivateDirectory, playbook: Path, check: bool, cancelled: Callable[[], bool], events: _Tasks
    ) -> Ended:
        payloads = keep_payloads(self.state_dir, self.collection)
        config = _Config(private, playbook, check, self.timeout, {PAYLOADS_VARIABLE: str(payloads)})
        config.prepare()
        note = private.path / "warm.note"
        if self.warm is not None:
            config.command[0:1] = self.warm.command(note) or config.command[0:1]
        runner = _Runner(config, cancel_callback=cancelled, event_handler=events)
        runner.run()
        if self.warm is not None:
            self.warm.ended(note)
        said = Path(config.artifact_dir, "stdout").read_text(encoding="utf-8", errors="replace")
        report = read_report(private.outcomes).part(check=check)
        return Ended(runner.status, runner.rc, report, plain(said[-TAIL:]).strip())


def find_ansible_playbook() -> Path:
    """Return the ansible-playbook of our own environment, activated or not. Raises Unavailable."""
    path = Path(sys.executable).parent / "ansible-playbook"
    if not path.exists():
        raise Unavailable(f"There is no {path}; install ansible-core into the environment that WCP360 runs in.")
    return path


def run_environment(private: PrivateDirectory) -> dict[str, str]:
    """Return what ansible-playbook finds in its environment; it differs between runs in the run's directory alone."""
    return private.environment() | {
        "ANSIBLE_CALLBACK_PLUGINS": get_callback_dir(),
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
        "AWX_ISOLATED_DATA_DIR": str(private.path / "artifacts" / private.run_id),
        "RUNNER_OMIT_EVENTS": "False",
        "RUNNER_ONLY_FAILED_EVENTS": "False",
    }


class _Config(RunnerConfig):  # type: ignore[misc]
    """ansible-runner's configuration without the caller's environment, which it would pass on and keep."""

    def __init__(
        self, private: PrivateDirectory, playbook: Path, check: bool, timeout: float, variables: dict[str, str]
    ) -> None:
        super().__init__(
            str(private.path),
            ident=private.run_id,
            playbook=str(private.collection / playbook),
            inventory=str(private.inventory),
            extravars={"wcp360_request_file": str(private.request)},
            cmdline="--diff --check" if check else "--diff",
            timeout=max(1, int(timeout)),
            quiet=True,
        )
        self._private, self._variables = private, variables

    def prepare_env(self) -> None:
        super().prepare_env()
        self.pexpect_timeout = LOOK
        self.env = run_environment(self._private) | self._variables

    def prepare_command(self) -> None:
        super().prepare_command()
        self.command[0] = str(find_ansible_playbook())


class _Runner(Runner):  # type: ignore[misc]
    """Takes up only events that Ansible's own process has written beside what it printed.

    ansible-runner finds events in the output by escape sequences, which a value can hold as well, and builds a path
    from the uuid in them.
    """

    def event_callback(self, event_data: dict[str, Any]) -> None:
        uuid = event_data.get("uuid")
        if not isinstance(uuid, str) or _UUID.fullmatch(uuid) is None:
            return
        partial = Path(self.config.artifact_dir, "job_events", f"{uuid}-partial.json")
        if partial.is_file() and not partial.is_symlink():
            super().event_callback(event_data)


class _Tasks:
    """Passes on each task as it starts and as it ends, with the counts of what has ended."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._counts = {"ok": 0, "changed": 0, "failed": 0}

    def __call__(self, event: dict[str, Any]) -> bool:
        kind, data = event.get("event"), event.get("event_data") or {}
        if kind == "playbook_on_task_start":
            self._report(data, "started")
        elif kind in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable", "runner_on_skipped"):
            self._count(kind, data.get("res") or {})
            self._report(data, "ended")
        return False  # the event need not be kept on disk

    def _count(self, kind: str, result: dict[str, Any]) -> None:
        if kind == "runner_on_ok":
            self._counts["changed" if result.get("changed") else "ok"] += 1
        elif kind != "runner_on_skipped" and not result.get("moved"):
            self._counts["failed"] += 1

    def _report(self, data: dict[str, Any], state: str) -> None:
        names = {"play": plain(str(data.get("play", "")))[:200], "task": plain(str(data.get("task", "")))[:200]}
        self._progress({**names, "state": state, **self._counts})
