"""init, serve, migrate, doctor, config: real processes on state directories of their own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Server, call, clean_environment, free_port, start, wait_until
from wcp360.cli import place
from wcp360.cli.exits import Exit
from wcp360.core.config import DEFAULT_FILE, DEFAULT_STATE_DIR, ApiSettings


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return clean_environment(tmp_path / "state", free_port())


def digest(directory: Path) -> dict[str, str]:
    """Return what every file but SQLite's own working files holds."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_the_defaults_are_those_of_the_server() -> None:
    assert (ApiSettings().host, ApiSettings().port) == (place.HOST, place.PORT)
    assert (place.CONFIG_FILE, place.STATE_DIR) == (DEFAULT_FILE, DEFAULT_STATE_DIR)


def test_init_twice_changes_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    first = call("init", environment=environment)
    assert first.returncode == 0, first.stderr
    state = tmp_path / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "root.token").stat().st_mode) == 0o600
    assert stat.S_IMODE((state / "ssh" / "id_ed25519").stat().st_mode) == 0o600
    token = (state / "root.token").read_text().strip()
    assert token not in first.stdout + first.stderr
    before = digest(state)
    second = call("init", environment=environment)
    assert second.returncode == 0 and "nothing was changed" in second.stdout
    assert digest(state) == before


def test_a_lost_token_is_replaced_and_the_old_one_revoked(environment: dict[str, str], tmp_path: Path) -> None:
    from wcp360.storage import SqlStore, Tokens

    assert call("init", environment=environment).returncode == 0
    path = tmp_path / "state" / "root.token"
    old = path.read_text().strip()
    path.unlink()
    assert call("init", environment=environment).returncode == 0
    tokens = Tokens(SqlStore(tmp_path / "state" / "wcp360.db"))
    assert tokens.verify(old) is None and tokens.verify(path.read_text().strip()) is not None


def test_serve_wants_init_first(environment: dict[str, str]) -> None:
    done = call("serve", environment=environment)
    assert done.returncode == Exit.CONFLICT and "wcp360 init" in done.stderr


def test_a_second_server_on_the_same_state_refuses(server: Server) -> None:
    done = server.run("serve")
    assert done.returncode == Exit.CONFLICT and str(server.process.pid) in done.stderr
    # Also on another port: it is the state that two would spoil.
    other = call("serve", environment=server.environment | {"WCP360_API__PORT": "1"})
    assert other.returncode == Exit.CONFLICT and str(server.state_dir) in other.stderr
    assert server.process.poll() is None and server.run("audit", "verify").returncode == 0


def _children(log: Path) -> dict[str, int]:
    found = {}
    for line in log.read_text(errors="replace").splitlines():
        if '"wcp360.serve"' in line and "started with pid" in line:
            entry = json.loads(line)
            found[entry["role"]] = entry["pid"]
    return found


def _alive(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z"


def test_a_child_that_dies_is_started_again_and_said(environment: dict[str, str], tmp_path: Path) -> None:
    assert call("init", "--without-node", environment=environment).returncode == 0
    log = tmp_path / "serve.log"
    process = start(environment, log)
    try:
        wait_until(lambda: call("audit", "verify", environment=environment).returncode == 0, 60, "the start")
        assert "is root on its nodes" in log.read_text()
        first = _children(log)["api"]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: _children(log)["api"] != first, 20, "the restart")
        assert "api ended with signal 9" in log.read_text()
        wait_until(lambda: call("audit", "verify", environment=environment).returncode == 0, 60, "the API's return")
        process.terminate()
        assert process.wait(5) == 0
        wait_until(lambda: not any(_alive(pid) for pid in _children(log).values()), 1, "the end of the children")
    finally:
        process.kill()
        process.wait()


def test_the_supervisor_keeps_nothing_in_memory_that_it_does_not_need() -> None:
    code = "import sys; before = set(sys.modules); import wcp360.cli.supervisor; print(*set(sys.modules) - before)"
    shown = subprocess.run([sys.executable, "-Pc", code], capture_output=True, text=True, check=True).stdout
    assert {name.partition(".")[0] for name in shown.split()} - sys.stdlib_module_names == {"wcp360"}
    assert {name for name in shown.split() if "wcp360" in name} == {"wcp360", "wcp360.cli", "wcp360.cli.supervisor"}


def test_a_second_server_on_one_state_is_refused(server: Server) -> None:
    done = call("serve", environment=server.environment)
    assert done.returncode == Exit.CONFLICT and f"(pid {server.process.pid})" in done.stderr, done


def test_children_die_with_their_supervisor(environment: dict[str, str], tmp_path: Path) -> None:
    assert call("init", "--without-node", environment=environment).returncode == 0
    log = tmp_path / "serve.log"
    process = start(environment, log)
    wait_until(lambda: call("audit", "verify", environment=environment).returncode == 0, 60, "the start")
    children = _children(log)
    process.kill()
    process.wait()
    wait_until(lambda: not any(_alive(pid) for pid in children.values()), 8, "the end of the children")
    assert call("audit", "verify", environment=environment).returncode == Exit.NO_SERVER


def test_doctor_says_what_to_do(server: Server, environment: dict[str, str]) -> None:
    done = server.run("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert findings["database"]["level"] == "ok" and findings["server"]["level"] == "ok"
    assert all(finding["advice"] for finding in findings.values() if finding["level"] != "ok")
    bare = call("doctor", environment=environment)
    assert bare.returncode == Exit.FAILED and "Run `wcp360 init`." in bare.stdout


def test_unknown_keys_are_refused_and_secrets_masked(environment: dict[str, str]) -> None:
    assert call("config", "check", environment=environment).returncode == 0
    wrong = call("config", "check", environment=environment | {"WCP360_API__PROT": "1"})
    assert wrong.returncode == Exit.REFUSED and "api.prot" in wrong.stderr
    shown = call("config", "show", environment=environment | {"WCP360_STORAGE__URL": "sqlite:////x/s3cret.db"})
    assert "s3cret" not in shown.stdout and 'url = "**********"' in shown.stdout


def test_migrate_says_when_there_is_nothing_to_do(server: Server) -> None:
    done = server.run("migrate")
    assert done.returncode == 0 and "up to date" in done.stdout


def test_every_line_of_the_log_is_json_the_engine_s_too(server: Server) -> None:
    log = server.state_dir.parent / "serve.log"
    wait_until(lambda: "The engine serves" in log.read_text(errors="replace"), 30, "the engine's start")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["logger"] for line in lines} >= {"wcp360.serve", "wcp360.engine"}
