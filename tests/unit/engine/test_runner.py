"""Real executions of ansible-runner on this machine, with the roles in miniature."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ptyprocess
import pytest

from tests.unit.engine.toy import make_collection
from wcp360.core.ids import new_id
from wcp360.engine.consumer import _prepare
from wcp360.engine.inventory import control_path, inventory, read_node
from wcp360.engine.outcome import predicted, why_broken
from wcp360.engine.private import PrivateDirectory
from wcp360.engine.remnants import end_remnants, marked
from wcp360.engine.runner import Ended, Executor

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPabGhbE7GfP8iAJ1sTBtKAJHHuA6bQZ6fzVgXqTsGFP"


@pytest.fixture
def executor(tmp_path: Path) -> Executor:
    (tmp_path / "home").mkdir()
    return Executor(_prepare(tmp_path / "state"), 60, make_collection(tmp_path / "collection"))


def batch(executor: Executor, text: str, **node: Any) -> dict[str, Any]:
    home = str(executor.state_dir.parent / "home")
    item = {"id": "tenant:demo", "name": "demo", "state": "present", "home": home, "comment": text}
    roles = ("tenant", "php_fpm", "nginx")
    request = {"version": 2, "facts": {}, "server": dict.fromkeys(roles, False), "tenant_accounts": [item]}
    return {
        "node": {"name": "local", "connection": "local"} | node,
        "request": request | {"php_fpm_pools": [], "nginx_sites": []},
    }


def execute(executor: Executor, text: str, check: bool = False, **node: Any) -> Ended:
    return executor.execute(
        new_id(), batch(executor, text, **node), check=check, cancelled=lambda: False, progress=lambda data: None
    )


def test_each_task_is_told_as_it_starts_and_as_it_ends(executor: Executor) -> None:
    told: list[dict[str, Any]] = []
    executor.execute(new_id(), batch(executor, "x"), check=False, cancelled=lambda: False, progress=told.append)
    ended = [row for row in told if row["state"] == "ended"]
    assert [row["state"] for row in told[: 2 * len(ended)]] == ["started", "ended"] * len(ended)
    assert [row["task"] for row in ended] == [row["task"] for row in told[: 2 * len(ended) : 2]] != []
    assert [row["ok"] + row["changed"] for row in ended] == list(range(1, len(ended) + 1))
    assert ended[-1]["changed"] and not ended[-1]["failed"]


def test_hostile_values_arrive_as_they_are_and_run_nothing(executor: Executor) -> None:
    mark = executor.state_dir.parent / "ran"
    text = f"{{{{ lookup('pipe', 'touch {mark}') }}}} \x1b[K{'A' * 8}\x1b[8D\x1b[K $HOME `id` ü"
    ended = execute(executor, text)
    assert why_broken(ended.report, "local", ended.status, ended.rc, ended.said) == ""
    assert (executor.state_dir.parent / "home" / "demo").read_text() == text + "\n"
    assert not mark.exists()
    assert predicted(execute(executor, text).report) == []


def test_no_run_pauses_after_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(ptyprocess.ptyprocess.time, "sleep", pauses.append)  # the module, so everybody's
    delays = vars(ptyprocess.PtyProcess)["delayafterclose"]
    process = ptyprocess.PtyProcess.spawn(["true"])
    process.wait()
    process.close()
    assert isinstance(delays, property) and pauses == [0.0]


def test_check_mode_writes_nothing_and_predicts(executor: Executor) -> None:
    ended = execute(executor, "x", check=True)
    (item,) = predicted(ended.report)
    assert (item.resource, item.changed, item.diff[0].after) == ("tenant:demo", True, "x\n")
    assert not (executor.state_dir.parent / "home" / "demo").exists()


def test_an_unknown_host_key_is_unreachable_and_not_done(executor: Executor) -> None:
    ended = execute(executor, "x", connection="ssh", address="127.0.0.1", port=1, host_key=KEY)
    assert "could not be reached" in why_broken(ended.report, "local", ended.status, ended.rc, ended.said)


def test_nothing_of_our_environment_reaches_a_run(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_SECRET", "s3cr3t")
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "nonsense")
    seen: list[bytes] = []

    def look() -> bool:
        for process in marked(executor.state_dir):
            for name in ("environ", "cmdline"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end at any moment
                    seen.append(Path(f"/proc/{process.pid}/{name}").read_bytes())
        command = next(executor.state_dir.glob("runs/*/artifacts/*/command"), None)
        seen.append(command.read_bytes() if command else b"")
        return False

    run = new_id()
    executor.execute(run, batch(executor, "sleep 1"), check=False, cancelled=look, progress=lambda data: None)
    everything = b"".join(seen)
    assert b"WCP360_RUN=" + run.encode() in everything
    assert b"s3cr3t" not in everything
    assert b"sleep 1" not in everything
    assert b"nonsense" not in everything
    assert not list((executor.state_dir / "runs").iterdir())


def test_cancelling_ends_workers_too(executor: Executor) -> None:
    stop = threading.Event()
    timer = threading.Timer(4, stop.set)
    timer.start()
    start = time.monotonic()
    ended = executor.execute(
        new_id(), batch(executor, "sleep 60"), check=False, cancelled=stop.is_set, progress=lambda data: None
    )
    assert ended.status == "canceled"
    assert time.monotonic() - start < 9
    assert not list(marked(executor.state_dir))


def test_a_run_that_takes_too_long_is_ended(executor: Executor) -> None:
    short = Executor(executor.state_dir, 3, executor.collection)
    ended = execute(short, "sleep 60")
    assert "run_timeout" in why_broken(ended.report, "local", ended.status, ended.rc, ended.said)
    assert not list(marked(executor.state_dir))


def test_a_directory_is_fresh_private_and_named_by_us(executor: Executor) -> None:
    run = new_id()
    with PrivateDirectory(executor.state_dir, run, executor.collection) as private:
        private.fill(read_node({"name": "local"}), {"secret": 1})
        assert private.path.stat().st_mode & 0o777 == 0o700
        assert private.request.stat().st_mode & 0o777 == 0o600
        with pytest.raises(FileExistsError), PrivateDirectory(executor.state_dir, run, executor.collection):
            pass
    assert not private.path.exists()
    with pytest.raises(ValueError, match="not the id of a run"):
        PrivateDirectory(executor.state_dir, "../x", executor.collection)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"user": "{{ x }}"}, "user"),
        ({"address": "a b"}, "address"),
        ({"interpreter": "/usr/bin/python3;id"}, "interpreter"),
        ({"identity_file": "{{ lookup('pipe','id') }}"}, "identity_file"),
        ({"name": "../x"}, "name"),
        ({"connection": "docker"}, "connection"),
        ({"connection": "ssh", "host_key": KEY}, "no address"),
        ({"connection": "ssh", "address": "10.0.0.1"}, "no valid host key"),
        ({"connection": "ssh", "address": "10.0.0.1", "host_key": "ssh-ed25519 AAAA\nx"}, "no valid host key"),
    ],
)
def test_a_node_is_checked_again_before_it_becomes_an_inventory(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_node({"name": "web1"} | values)


def test_ssh_is_pinned_to_key_and_host(tmp_path: Path) -> None:
    node = read_node({"name": "web1", "connection": "ssh", "address": "10.0.0.1", "user": "admin", "host_key": KEY})
    host = inventory(node, Path("/s"), Path("/k"))["all"]["hosts"]["web1"]
    assert host["ansible_become"] is True
    assert host["ansible_ssh_private_key_file"] == "/s/ssh/id_ed25519"
    for option in ("StrictHostKeyChecking=yes", "UserKnownHostsFile=/k", "HostKeyAlias=web1", "-F none"):
        assert option in host["ansible_ssh_common_args"]
    other = node.model_copy(update={"host_key": "ssh-ed25519 other"})
    assert control_path(node, Path("/s")) != control_path(other, Path("/s"))
    assert control_path(node, Path("/" + "x" * 90)) == "none"


def test_remnants_are_ended_and_services_are_not(tmp_path: Path) -> None:
    run = new_id()
    environ = {**os.environ, "WCP360_RUN": run, "WCP360_OUTCOMES_FILE": f"{tmp_path}/runs/{run}/outcomes.jsonl"}
    sleep = "import time; time.sleep(60)"
    worker = subprocess.Popen([sys.executable, "-c", sleep, "ansible"], env=environ, start_new_session=True)
    service = subprocess.Popen(["sleep", "60"], env=environ, start_new_session=True)
    stranger = subprocess.Popen([sys.executable, "-c", sleep, "ansible"], start_new_session=True)
    try:
        assert end_remnants(tmp_path) == 1
        assert worker.wait(5) == -9
        assert service.poll() is None
        assert stranger.poll() is None
    finally:
        for process in (worker, service, stranger):
            process.kill()
            process.wait()


def test_the_request_is_not_kept_in_an_artifact(executor: Executor) -> None:
    kept: list[str] = []

    def look() -> bool:
        for path in executor.state_dir.glob("runs/*/artifacts/*/*"):
            if path.is_file():
                kept.append(path.read_text(errors="replace"))
        return False

    executor.execute(new_id(), batch(executor, "sleep 1"), check=False, cancelled=look, progress=lambda data: None)
    assert json.dumps("sleep 1") not in "".join(kept)
