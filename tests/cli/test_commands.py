"""Every command against a real server, each in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Server, call, clean_environment, free_port
from wcp360.cli import manifest_build, watch
from wcp360.cli.exits import MEANINGS, Exit
from wcp360.core.config import Settings
from wcp360.wiring import build_registry

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5yoFGzpPcqWnhqtA7a9tw1XzsmqRVRHzZZ1mAQ5Ggu"
OPERATIONS = list(build_registry(Settings()))


@pytest.fixture(scope="module")
def node(server: Server) -> str:
    """A node behind a closed port: what is asked of it is accepted and waits."""
    done = server.run(
        "node", "create", "dead", "--address", "127.0.0.1", "--port", str(free_port()), "--host-key", KEY, "--no-wait"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return "dead"


@pytest.fixture(scope="module")
def tenant(server: Server, node: str) -> str:
    done = server.run("tenant", "create", "acme", "--node", node, "--display-name", "Acme Ltd", "--no-wait")
    assert done.returncode == 0, done.stderr
    return "acme"


def test_commands_and_operations_are_the_same_set(server: Server) -> None:
    described = manifest_build.build()["operations"]
    assert {entry["operation"] for entry in described} == {operation.name for operation in OPERATIONS}
    assert len({(entry["group"], entry["verb"]) for entry in described}) == len(OPERATIONS)
    by_hand = {("change", "watch"), ("event", "watch")}
    assert by_hand == watch.HAND_WRITTEN
    for noun in {entry["group"] for entry in described}:
        text = server.run(noun, "--help").stdout
        listed = {line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line[2:3].strip()}
        wanted = {entry["verb"] for entry in described if entry["group"] == noun}
        assert listed >= wanted
        assert listed - wanted <= {verb for group, verb in by_hand if group == noun}, listed


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_command_explains_itself(server: Server, operation) -> None:
    done = server.run(operation.object, operation.verb.replace("_", "-"), "--help")
    assert done.returncode == 0
    assert operation.summary.split()[0] in done.stdout
    assert f"Examples:\n  wcp360 {operation.object} {operation.verb.replace('_', '-')}" in done.stdout
    assert ("--dry-run" in done.stdout) == (operation.kind != "query")


def test_examples_are_understood_by_the_cli(server: Server, tmp_path: Path) -> None:
    """An example may be refused by the state, never by the command line."""
    change_set = next(o for o in OPERATIONS if o.name == "change.create").example
    for entry in manifest_build.build()["operations"]:
        import shlex

        words = shlex.split(entry["example"])[1:]
        if "file.json" in words:
            path = tmp_path / "file.json"
            path.write_text(json.dumps(dict(change_set)["operations"]))
            words[words.index("file.json")] = str(path)
        extra = [] if entry["kind"] == "query" else ["--dry-run", "--no-wait"]
        done = server.run(*words, *extra)
        assert done.returncode in (Exit.OK, Exit.NOT_FOUND, Exit.CONFLICT), (words, done.stderr)


def test_the_cli_imports_neither_registry_nor_frameworks(server: Server) -> None:
    code = (
        "import sys\nfrom wcp360.cli.main import run\nrun(['tenant', 'list'])\n"
        "heavy = {'pydantic', 'peewee', 'flask', 'huey', 'ansible_runner', 'rich', 'gunicorn'}\n"
        "found = heavy & {name.split('.')[0] for name in sys.modules}\n"
        "found |= {n for n in sys.modules if n.startswith(('wcp360.core', 'wcp360.modules', 'wcp360.wiring'))}\n"
        "sys.exit(f'imported: {found}' if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=server.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nobody_answers(tmp_path: Path) -> None:
    done = call("tenant", "list", environment=clean_environment(tmp_path / "state", free_port()))
    assert done.returncode == Exit.NO_SERVER
    assert "wcp360 serve" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tenant", "lst"], Exit.USAGE, "list"),
        (["tenant", "create"], Exit.USAGE, "NAME"),
        (["tenant", "list", "--limit", "many"], Exit.USAGE, "whole number"),
        (["tenant", "create", "R00T", "--dry-run"], Exit.REFUSED, "name:"),
        (["tenant", "create", "acme2", "--display-name", "=x"], Exit.REFUSED, "display_name:"),
        (["tenant", "show", "noone"], Exit.NOT_FOUND, "noone"),
        (["tenant", "show", "../audit"], Exit.NOT_FOUND, ""),
        (["node", "create", "dead", "--connection", "local"], Exit.CONFLICT, "dead"),
        (["change", "create", "/nonexistent"], Exit.USAGE, "/nonexistent"),
        (["tenant", "delete", "acme"], Exit.USAGE, "--yes"),
    ],
)
def test_refusals_have_their_codes(server: Server, tenant: str, words: list[str], code: Exit, said: str) -> None:
    done = server.run(*words)
    assert (done.returncode, said in done.stderr) == (code, True), (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr


def test_a_token_that_is_wrong_or_open_is_not_taken(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("wcp_" + "A" * 43)
    path.chmod(0o600)
    assert server.run("tenant", "list", WCP360_TOKEN_FILE=str(path)).returncode == Exit.NOT_ALLOWED
    path.chmod(0o640)
    done = server.run("tenant", "list", WCP360_TOKEN_FILE=str(path))
    assert done.returncode == Exit.NOT_ALLOWED and "chmod 600" in done.stderr
    path.unlink()
    done = server.run("tenant", "list", WCP360_TOKEN_FILE=str(path))
    assert done.returncode == Exit.NOT_ALLOWED and str(path) in done.stderr


def test_the_token_does_not_travel_in_clear_text(server: Server) -> None:
    done = server.run("tenant", "list", WCP360_URL="http://192.0.2.1:8360")
    assert done.returncode == Exit.USAGE and "clear text" in done.stderr


def test_a_unix_socket_serves_as_well(server: Server, tenant: str) -> None:
    done = server.run("tenant", "list", WCP360_URL=f"unix://{server.state_dir}/api.sock")
    assert done.returncode == 0 and tenant in done.stdout


def test_lists_are_tables_or_json(server: Server, tenant: str) -> None:
    table = server.run("tenant", "list").stdout
    assert table.splitlines()[0].startswith("NAME") and "Acme Ltd" in table and "\x1b" not in table
    page = json.loads(server.run("tenant", "list", "--json").stdout)
    assert [item["name"] for item in page["items"]] == [tenant]


def test_fields_arrive_as_they_were_given(server: Server, node: str, tenant: str) -> None:
    done = server.run(
        "domain", "create", "fields.test", "--tenant", tenant, "--alias", "a.fields.test", "--alias", "b.fields.test",
        "--no-php", "--document-root", "app/public", "--no-wait", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = json.loads(server.run("domain", "show", "fields.test", "--json").stdout)
    assert (shown["aliases"], shown["php"], shown["document_root"]) == (
        ["a.fields.test", "b.fields.test"], False, "app/public",
    )  # fmt: skip
    assert server.run("domain", "update", "fields.test", "--no-alias", "--php", "--no-wait").returncode == 0
    shown = json.loads(server.run("domain", "show", "fields.test", "--json").stdout)
    assert (shown["aliases"], shown["php"]) == ([], True)
    done = server.run("tenant", "update", tenant, "--php-setting", "memory_limit=256M", "--no-wait")
    assert done.returncode == 0, done.stderr
    shown = json.loads(server.run("tenant", "show", tenant, "--json").stdout)
    assert shown["php_settings"] == {"memory_limit": "256M"}


def test_waiting_ends_in_time_and_says_how_to_go_on(server: Server, tenant: str) -> None:
    began = time.monotonic()
    done = server.run("tenant", "suspend", tenant, "--timeout", "2")
    assert done.returncode == Exit.NOT_FINISHED and "wcp360 change watch" in done.stderr
    assert time.monotonic() - began < 10
    change = done.stderr.split("change watch ")[1].split("`")[0]
    assert server.run("change", "watch", change, "--timeout", "1").returncode == Exit.NOT_FINISHED


def test_a_change_set_is_read_from_standard_input(server: Server, node: str) -> None:
    operations = [
        {"operation": "tenant.create", "input": {"name": "fromset", "node": node}},
        {"operation": "domain.create", "input": {"name": "fromset.test", "tenant": "fromset"}},
    ]
    done = server.run("change", "create", "-", "--no-wait", stdin=json.dumps({"operations": operations}))
    assert done.returncode == 0, done.stderr
    operations[0]["input"]["name"] = operations[1]["input"]["tenant"] = "second"
    done = server.run("change", "create", "-", "--no-wait", stdin=json.dumps(operations))
    assert done.returncode == Exit.CONFLICT, done.stderr
    assert server.run("tenant", "show", "second").returncode == Exit.NOT_FOUND


@pytest.mark.timeout(60)
def test_events_are_watched_until_interrupted(server: Server, node: str) -> None:
    argv = [sys.executable, "-u", "-m", "wcp360.cli.main", "event", "watch", "--json"]
    # A shell starts what runs in the background with SIGINT ignored, and programs inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    watching = subprocess.Popen(argv, env=server.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    try:
        time.sleep(2)
        assert server.run("tenant", "create", "watched", "--node", node, "--no-wait").returncode == 0
        assert watching.stdout is not None
        # The engine tries the dead node meanwhile, so its events may come in between.
        for line in watching.stdout:
            event = json.loads(line)
            if event["type"] == "change.accepted" and event["data"]["operation"] == "tenant.create":
                break
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == Exit.INTERRUPTED
    finally:
        if watching.poll() is None:
            watching.kill()
        watching.communicate()


def on_terminal(server: Server, words: list[str], answer: str) -> tuple[int, str]:
    """Run a command on a terminal of its own and answer its question."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "wcp360.cli.main", *words], server.environment)
    shown = b""
    answered = False
    while True:
        try:
            more = os.read(terminal, 65536)
        except OSError:
            break
        if not more:
            break
        shown += more
        if not answered and shown.rstrip().endswith(b":"):
            os.write(terminal, answer.encode() + b"\n")
            answered = True
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_delete_asks_for_the_name(server: Server, node: str) -> None:
    assert server.run("tenant", "create", "doomed", "--node", node, "--no-wait").returncode == 0
    code, shown = on_terminal(server, ["tenant", "delete", "doomed", "--no-wait"], "yes")
    assert code == Exit.INTERRUPTED and "nothing was changed" in shown
    assert json.loads(server.run("tenant", "show", "doomed", "--json").stdout)["state"] == "present"
    code, shown = on_terminal(server, ["tenant", "delete", "doomed", "--no-wait"], "doomed")
    assert code == 0, shown


def test_an_unreachable_server_with_no_key_is_refused_with_its_field(server: Server) -> None:
    done = server.run("node", "create", "web9", "--address", "127.0.0.1", "--port", str(free_port()))
    assert done.returncode == Exit.REFUSED and "address:" in done.stderr


def test_completion_knows_commands_and_options(server: Server) -> None:
    script = server.run("--show-completion", SHELL="/bin/bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert script.returncode in (0, 1)
    completed = server.run(
        COMP_WORDS="wcp360 tenant cr", COMP_CWORD="2", _WCP360_COMPLETE="complete_bash"
    )  # fmt: skip
    assert completed.stdout.split() == ["create"], completed.stderr
    completed = server.run(
        COMP_WORDS="wcp360 tenant create --dr", COMP_CWORD="3", _WCP360_COMPLETE="complete_bash"
    )  # fmt: skip
    assert completed.stdout.split() == ["--dry-run"], completed.stderr


def test_exit_codes_are_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in text
