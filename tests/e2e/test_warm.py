"""The warm way: the same as the plain one, apart from the time; nothing survives a run, and no death goes unnoticed."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import os
import pickle
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.fixtures import Host
from tests.unit.engine.panel import Panel
from tests.unit.engine.test_runner import batch
from tests.unit.engine.toy import make_collection
from wcp360.core.ids import new_id
from wcp360.core.request import build_request
from wcp360.core.resources import RoleItem
from wcp360.core.views import ChangeStatus
from wcp360.engine import runner
from wcp360.engine.consumer import _prepare, collection_root
from wcp360.engine.outcome import predicted, why_broken
from wcp360.engine.private import PrivateDirectory
from wcp360.engine.remnants import marked
from wcp360.engine.runner import Ended, Executor, find_ansible_playbook, run_environment
from wcp360.engine.warm import Warm

# What differs between any two runs of one batch.
VARYING = frozenset({"uuid", "parent_uuid", "created", "start", "end", "duration", "pid", "runner_ident"})


AT_WORK = re.compile(rb"/usr/bin/python3\0.*AnsiballZ_toy_items\.py\0")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    # A short path: the socket of a kept SSH connection has 107 characters at most (unix(7)).
    base = Path(tempfile.mkdtemp(prefix="w-"))
    (base / "home").mkdir()
    make_collection(base / "collection")
    yield base
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def plain(place: Path) -> Executor:
    return Executor(_prepare(place / "state"), 60, place / "collection")


@pytest.fixture(scope="module")
def warm(plain: Executor) -> Iterator[Executor]:
    with Warm(plain.state_dir, plain.collection, find_ansible_playbook(), run_environment) as started:
        executor = replace(plain, warm=started)
        wait_for(lambda: started.command(Path("/note")))
        yield executor


def wait_for(found: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.02)
    raise AssertionError("It took too long.")


def execute(executor: Executor, text: str, check: bool = False, run: str = "", **node: Any) -> Ended:
    given = batch(executor, text, **node)
    return executor.execute(run or new_id(), given, check=check, cancelled=lambda: False, progress=lambda data: None)


def reached_as(host: Host) -> dict[str, Any]:
    """Return how a batch says that its node is a host."""
    node = {"connection": "ssh", "address": host.address, "port": host.port, "user": host.user}
    return node | {"host_key": " ".join(host.host_key.split()[1:3]), "identity_file": host.key}


def broken(ended: Ended) -> str:
    return why_broken(ended.report, "local", ended.status, ended.rc, ended.said)


def normal(value: Any, run: str) -> Any:
    """Take from an event what differs between any two runs."""
    if isinstance(value, dict):
        kept = {key: entry for key, entry in value.items() if key not in VARYING and not key.endswith("_uuid")}
        return {key: normal(entry, run) for key, entry in kept.items()}
    if isinstance(value, list):
        return [normal(entry, run) for entry in value]
    return re.sub(r"ansible-local-\w+", "TMP", value.replace(run, "RUN")) if isinstance(value, str) else value


def observed(executor: Executor, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, check: bool) -> list[Any]:
    """Return everything that can be seen of a run: all events, what it told, how it ended and what it printed."""
    seen: list[Any] = []
    told: list[dict[str, Any]] = []
    real = runner._Tasks.__call__
    run = new_id()

    def record(self: Any, event: dict[str, Any]) -> bool:
        seen.append(normal(event, run))
        return real(self, event)

    with monkeypatch.context() as patch:
        patch.setattr(runner._Tasks, "__call__", record)
        ended = executor.execute(run, given, check=check, cancelled=lambda: False, progress=told.append)
    assert len(seen) > 5 and told
    kept = [item.model_dump() for item in predicted(ended.report)]
    seen.append(normal([ended.status, ended.rc, repr(ended.report), ended.said, told, kept], run))
    return seen


@contextlib.contextmanager
def in_the_middle(executor: Executor, text: str = "sleep 30") -> Iterator[tuple[int, int, list[Ended]]]:
    """Yield the client, the run's own process, and where the end will be found, while the module is at work."""
    ends: list[Ended] = []
    thread = threading.Thread(target=lambda: ends.append(execute(executor, text)))
    thread.start()
    try:
        wait_for(lambda: module_of(executor))
        found = [process.pid for process in marked(executor.state_dir)]
        (client,) = [pid for pid in found if b"warm_client" in command_of(pid)]
        (own,) = [pid for pid in found if parent_of(pid) == executor.warm._parent.pid]
        yield client, own, ends
    finally:
        thread.join(60)


def module_of(executor: Executor) -> int:
    """Return the process of an Ansible module at work on this machine, or 0."""
    return next((p.pid for p in marked(executor.state_dir) if AT_WORK.fullmatch(command_of(p.pid))), 0)


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def sockets_of(pid: int) -> set[str]:
    held = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return {name for name in held if name.startswith("socket:")}


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.mark.hosts
@pytest.mark.parametrize(
    ("text", "check"), [("{{ 7 * 7 }} ü", False), ("refuse", False), ("crash", False), ("x", True)]
)
def test_both_ways_give_the_same(
    plain: Executor, warm: Executor, ssh_host: Host, monkeypatch: pytest.MonkeyPatch, text: str, check: bool
) -> None:
    home = plain.state_dir.parent / "home"
    results = []
    for executor in (plain, warm):
        ssh_host.run(f"rm -rf {home}")
        ssh_host.run(f"mkdir -p {home}")
        given = batch(executor, text, **reached_as(ssh_host))
        results.append(observed(executor, given, monkeypatch, check))
    assert results[0] == results[1]


def request(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the panel's request for a new tenant with a site, as its modules compile them."""
    owner = {"uid": 20777, "gid": 20777, "home": "/home/twoways"}
    tenant = {"id": "tenant:twoways", "name": "twoways", "state": "present", **owner}
    site = {"id": "domain:twoways.test", "name": "twoways.test", "state": "present", "tenant": "twoways", **owner}
    items = (
        RoleItem("tenant_accounts", {**tenant, "shell": "/usr/sbin/nologin", "authorized_keys": [], "purge": False}),
        RoleItem("php_fpm_pools", {**tenant, "settings": {"memory_limit": "96M"}}),
        RoleItem(
            "nginx_sites",
            {**site, "aliases": [], "redirect": "", "document_root": "public", "php": True, "purge": False},
        ),
    )
    return build_request(items, facts)


@pytest.mark.hosts
def test_both_ways_give_the_same_for_a_request_of_the_panel(
    place: Path, ssh_host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = Executor(_prepare(place / "real"), 60, collection_root())
    node = {"name": "local", **reached_as(ssh_host)}
    with Warm(plain.state_dir, plain.collection, find_ansible_playbook(), run_environment) as started:
        look = {"node": node, "request": build_request(())}
        known = plain.execute(new_id(), look, check=True, cancelled=lambda: False, progress=lambda data: None).report
        facts = next(item["facts"] for line in known.lines for item in line["items"] or () if "facts" in item)
        given = {"node": node, "request": request(facts)}
        wait_for(lambda: started.command(Path("/note")))
        with caplog.at_level(logging.WARNING):
            ways = [observed(way, given, monkeypatch, True) for way in (plain, replace(plain, warm=started))]
    assert "plainly" not in caplog.text
    assert ways[0] == ways[1]
    kept = ways[0][-1][-1]
    assert {"tenant:twoways", "domain:twoways.test"} <= {item["resource"] for item in kept if item["diff"]}
    assert not [item["message"] for item in kept if item["failed"]]
    assert "/playbooks/tenants.yml" in repr(ways[0][0])


def test_payloads_are_kept_with_bytecode(plain: Executor) -> None:
    assert broken(execute(plain, "first")) == ""
    (kept,) = (plain.state_dir / "payloads").glob("*/*toy_items*.bytecode")
    before = kept.with_suffix("").stat()
    payload = pickle.loads(kept.with_suffix("").read_bytes())
    names = zipfile.ZipFile(io.BytesIO(base64.b64decode(payload.zip_data))).namelist()
    assert {f"{name}c" for name in names if name.endswith(".py")} <= set(names)
    assert broken(execute(plain, "second")) == ""
    assert kept.with_suffix("").stat().st_mtime_ns == before.st_mtime_ns


def test_a_run_is_found_and_told_from_the_parent(warm: Executor) -> None:
    with in_the_middle(warm, "sleep 2") as (_, own, ends):
        parent = Path(f"/proc/{warm.warm._parent.pid}/environ").read_bytes()
        assert b"WCP360_RUN" not in parent
        assert b"WCP360_RUN=" in Path(f"/proc/{own}/environ").read_bytes()
        assert {os.getsid(own), os.getpgid(own)} == {own}
        assert not sockets_of(own) & sockets_of(warm.warm._parent.pid)
    assert broken(ends[0]) == ""


def test_nothing_of_a_run_stays_in_the_parent(warm: Executor) -> None:
    secret = "planted-" + "-".join("secret") + "-7c41"
    run = new_id()
    parent = warm.warm._parent.pid
    assert broken(execute(warm, secret, run=run)) == ""
    assert (warm.state_dir.parent / "home" / "demo").read_text() == secret + "\n"
    assert warm.warm._parent.pid == parent
    memory = memory_of(parent)
    assert b"ANSIBLE_CONFIG" in memory
    assert secret.encode() not in memory
    assert f"runs/{run}".encode() not in memory


def memory_of(pid: int) -> bytes:
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(part, 16) for part in where.split("-"))
                with contextlib.suppress(OSError):
                    file.seek(start)
                    found.append(file.read(end - start))
    return b"".join(found)


def test_two_runs_at_once(warm: Executor) -> None:
    ends: list[Ended] = []
    threads = [threading.Thread(target=lambda: ends.append(execute(warm, "sleep 1"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [broken(ended) for ended in ends] == ["", ""]


@pytest.mark.parametrize("victim", ["client", "run"])
def test_a_killed_part_ends_the_run_and_all_that_is_left(warm: Executor, victim: str) -> None:
    with in_the_middle(warm) as (client, own, ends):
        start = time.monotonic()
        os.kill(client if victim == "client" else own, signal.SIGKILL)
    assert time.monotonic() - start < 5
    assert "Ansible" in broken(ends[0])
    assert not list(marked(warm.state_dir))
    assert broken(execute(warm, "x")) == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(warm: Executor, number: int) -> None:
    with in_the_middle(warm) as (client, _, ends):
        os.kill(client, number)
    assert broken(ends[0])
    assert not list(marked(warm.state_dir))


def test_cancelling_ends_workers_too(warm: Executor) -> None:
    stop = threading.Event()
    threading.Timer(2, stop.set).start()
    start = time.monotonic()
    ended = warm.execute(
        new_id(), batch(warm, "sleep 60"), check=False, cancelled=stop.is_set, progress=lambda data: None
    )
    assert ended.status == "canceled"
    assert time.monotonic() - start < 8
    assert not list(marked(warm.state_dir))


def test_a_killed_parent_ends_its_run_and_is_followed_by_another(
    warm: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    assert warm.warm is not None
    warm.warm._next = 0.0
    with in_the_middle(warm) as (_, _, ends):
        parent = warm.warm._parent.pid
        os.kill(parent, signal.SIGKILL)
    assert broken(ends[0])
    assert not list(marked(warm.state_dir))
    with caplog.at_level(logging.WARNING):
        assert broken(execute(warm, "y")) == ""
    assert "Runs start plainly for now, because the warm parent has died" in caplog.text
    wait_for(lambda: warm.warm.command(Path("/note")))
    assert warm.warm._parent.pid != parent


def test_without_its_socket_a_run_is_plain(warm: Executor, caplog: pytest.LogCaptureFixture) -> None:
    warm.warm._next = 0.0
    warm.warm._parent.socket.unlink()
    with caplog.at_level(logging.WARNING):
        assert broken(execute(warm, "plainly")) == ""
    assert "A run was started plainly, because the warm parent cannot be reached" in caplog.text
    warm.warm.start()
    wait_for(lambda: warm.warm.command(Path("/note")))


def test_a_run_that_is_configured_otherwise_is_plain(
    warm: Executor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "run_environment", lambda private: run_environment(private) | {"ANSIBLE_FORKS": "3"})
    warm.warm._next = 0.0
    with caplog.at_level(logging.WARNING):
        assert broken(execute(warm, "otherwise")) == ""
    assert "its environment differs from the parent's: ANSIBLE_FORKS" in caplog.text
    monkeypatch.undo()
    warm.warm.start()
    wait_for(lambda: warm.warm.command(Path("/note")))


def test_an_upgrade_brings_a_new_parent(warm: Executor, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parent = warm.warm._parent
    assert any(path.endswith("ansible/release.py") for path in parent._files)
    file = tmp_path / "module.py"
    file.touch()
    parent._files[str(file)] = (file.stat().st_mtime_ns, file.stat().st_ino)
    assert warm.warm.command(Path("/note"))
    file.unlink()
    warm.warm._next = 0.0
    with caplog.at_level(logging.WARNING):
        assert warm.warm.command(Path("/note")) == []
    assert f"{file} has changed" in caplog.text
    wait_for(lambda: warm.warm.command(Path("/note")))
    assert warm.warm._parent is not parent


def test_a_standard_error_that_does_not_block_is_not_handed_on(plain: Executor) -> None:
    os.set_blocking(2, False)
    try:
        with Warm(plain.state_dir, plain.collection, find_ansible_playbook(), run_environment) as started:
            wait_for(lambda: started.command(Path("/note")))
    finally:
        os.set_blocking(2, True)


def test_a_parent_that_does_not_start_says_why(plain: Executor, caplog: pytest.LogCaptureFixture) -> None:
    def elsewhere(private: PrivateDirectory) -> dict[str, str]:
        return run_environment(private) | {"ANSIBLE_CONFIG": "/", "ANSIBLE_FORKS": "many"}

    with Warm(plain.state_dir, plain.collection, find_ansible_playbook(), elsewhere) as started:
        wait_for(lambda: "cannot be used" in caplog.text)
        assert started.command(Path("/note")) == []
    assert "did not start" not in caplog.text


def test_an_unknown_ansible_is_not_used(plain: Executor, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """What a future version keeps of a run is found by the rehearsal; here it is a variable that names no file."""
    state = _prepare(tmp_path / "state")

    def odd(private: Any) -> dict[str, str]:
        return run_environment(private) | {"ANSIBLE_CONFIG": str(private.path / "missing.cfg")}

    with caplog.at_level(logging.WARNING), Warm(state, plain.collection, find_ansible_playbook(), odd) as started:
        wait_for(lambda: "the warm parent cannot be used" in caplog.text)
        assert started.command(Path("/note")) == []
        assert broken(execute(replace(plain, warm=started), "z")) == ""


def test_a_killed_engine_takes_its_parent_along_and_nothing_is_done_twice(place: Path) -> None:
    (place / "p").mkdir()  # short as well: ansible-core 2.21 has a Unix socket of its own among a run's temporary files
    panel = Panel.make(place / "p")
    with panel.engine(TEST_WARM="1") as process:
        parent = wait_for(lambda: re.findall(r"\(process (\d+)\)", panel.log()))[0]
        change = panel.submit("slow", "sleep 3")
        panel.bell.node("local")
        wait_for(lambda: len(list(marked(panel.settings.state_dir))) >= 3)
        process.kill()
        process.wait()
    wait_for(lambda: not Path(f"/proc/{parent}").exists(), 5)
    with panel.engine(TEST_WARM="1"):
        assert panel.finished(change.id).status is ChangeStatus.SUCCEEDED
        again = panel.submit("slow", "again")
        panel.bell.node("local")
        assert panel.finished(again.id).status is ChangeStatus.SUCCEEDED
    assert panel.changes_made() == ["slow", "slow"]
    assert not list(marked(panel.settings.state_dir))


def test_the_client_imports_next_to_nothing() -> None:
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print(len(sys.modules))"
    script = Path(runner.__file__).with_name("warm_client.py")
    done = subprocess.run(
        [str(find_ansible_playbook().with_name("python")), "-S", "-I", "-c", code, str(script)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 120
