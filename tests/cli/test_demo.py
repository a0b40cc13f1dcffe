"""What stands in the demo's way, and how it knows its own server. The whole demo is `make demo`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from wcp360.cli import demo_machine
from wcp360.cli.demo_machine import Record

needs_port = pytest.mark.skipif(os.geteuid() != 0, reason="only root may take port 80")


@pytest.fixture
def port_80() -> None:
    if demo_machine._is_taken(socket.AF_INET, "0.0.0.0"):
        pytest.skip("port 80 of this machine is in use")


@needs_port
def test_a_taken_port_is_refused_with_its_owner(port_80: None) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 80))
        taken.listen()
        reason = demo_machine.in_the_way("nobody-has-this-name")
    assert reason.startswith("Port 80 is taken by") and f"(pid {os.getpid()})" in reason
    assert demo_machine.in_the_way("nobody-has-this-name") == ""


@needs_port
def test_a_user_that_it_did_not_make_is_refused(port_80: None) -> None:
    assert "user 'daemon'" in demo_machine.in_the_way("daemon")


def test_a_process_id_that_was_used_again_is_not_its_server(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(demo_machine, "BASE", tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        record = Record(pid=process.pid, born=demo_machine._born(process.pid))
        record.save()
        assert Record.load() == record and record.running()
        assert not Record(pid=process.pid, born="1").running()
        process.kill()
        process.wait()
    assert not record.running()


def test_settings_of_other_servers_do_not_reach_it(monkeypatch) -> None:
    monkeypatch.setenv("WCP360_STATE_DIR", "/somewhere/else")
    monkeypatch.setenv("WCP360_KILL_AT", "engine.after_run")
    settings = {name for name in Record().environment() if name.startswith("WCP360_")}
    assert settings == {"WCP360_CONFIG"}
