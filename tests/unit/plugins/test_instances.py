"""instances on real processes of a small service that says its generation, and misbehaves on demand."""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.wcp360.hosting.plugins.module_utils import instances, instances_process, items
from ansible_collections.wcp360.hosting.plugins.module_utils.instances_words import printable
from ansible_collections.wcp360.hosting.plugins.modules.instances import ARGUMENTS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Only root can start processes under other uids.")

# Reads its configuration at the start and on HUP: "<generation> [delay S|die|deaf]".
SERVICE = """
import http.server, signal, sys, threading, time
config, port = sys.argv[1], int(sys.argv[2])
state = {"generation": ""}
def read(*_):
    words = open(config).read().split()
    if "die" in words:
        sys.exit("service: cannot use this \\x1b[31mconfiguration")
    if "deaf" in words and state["generation"]:
        return
    if "delay" in words and state["generation"]:
        threading.Timer(1.0, state.update, [{"generation": words[0]}]).start()
        return
    state["generation"] = words[0]
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.send_header("X-Wcp360-Generation", state["generation"])
        self.end_headers()
    def log_message(self, *_): pass
signal.signal(signal.SIGHUP, read)
read()
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


class Exit(Exception):
    """What the module would have printed."""


class Module:
    """As much of AnsibleModule as the shared code uses."""

    def __init__(self, params: dict[str, Any], check: bool) -> None:
        checked = ArgumentSpecValidator(ARGUMENTS).validate(params)
        assert not checked.error_messages, checked.error_messages
        self.params = checked.validated_parameters
        self.check_mode = check
        self._diff = True

    def exit_json(self, **result: Any) -> None:
        raise Exit(result)

    fail_json = exit_json


class Services:
    """Services under test, each with its own configuration file and port."""

    def __init__(self, base: Path) -> None:
        self.base = base
        (base / "service.py").write_text(textwrap.dedent(SERVICE))
        self.ports: dict[str, int] = {}

    def port(self, name: str) -> int:
        if name not in self.ports:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.ports[name] = free.getsockname()[1]
        return self.ports[name]

    def configure(self, name: str, text: str) -> None:
        (self.base / f"{name}.conf").write_text(text)

    def item(self, name: str, generation: str = "", **more: Any) -> dict[str, Any]:
        argv = [
            sys.executable,
            "-I",
            str(self.base / "service.py"),
            str(self.base / f"{name}.conf"),
            str(self.port(name)),
        ]
        command = {"argv": argv, "output": str(self.base / f"{name}.log")}
        own = {"id": name, "name": name, "generation": generation, "ask": {"http": {"port": self.port(name)}}}
        return own | {"command": command} | more

    def run(self, *given: dict[str, Any], check: bool = False, **more: Any) -> list[dict[str, Any]]:
        module = Module({"items": list(given), "manager": "none", "wait": 5, **more}, check)
        with pytest.raises(Exit) as ended:
            instances.converge(module)
        result: list[dict[str, Any]] = ended.value.args[0]["items"]
        return result

    def pid(self, name: str) -> int:
        return int((self.base / "records" / f"{name}.pid").read_text().split()[0])


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr(instances_process, "RECORDS", str(tmp_path / "records"))
    monkeypatch.setattr(items, "node_lock", functools.partial(items.node_lock, path=str(tmp_path / "lock")))
    made = Services(tmp_path)
    yield made
    made.run(*[made.item(name, state="absent") for name in made.ports])


def text(result: dict[str, Any]) -> tuple[str, str]:
    entry = result["diff"][0]
    return entry["before"].strip(), entry["after"].strip()


def test_start_reload_stop_and_each_preview(services: Services) -> None:
    services.configure("web", "g1")
    steps = [
        (services.item("web", "g1"), ("stopped", "running, generation g1")),
        (services.item("web", "g2"), ("running, generation g1", "running, generation g2")),
        (services.item("web", state="stopped"), ("running", "stopped")),
    ]
    for item, expected in steps:
        services.configure("web", item.get("generation") or "g2")
        [preview] = services.run(dict(item), check=True)
        [done] = services.run(dict(item))
        assert preview == done and done["changed"] and not done["failed"], done
        assert text(done) == expected
        [again] = services.run(dict(item))
        assert not again["changed"] and not again["diff"]


def test_reload_keeps_the_process_and_a_preview_touches_nothing(services: Services) -> None:
    services.configure("web", "g1")
    services.run(services.item("web", "g1"))
    pid = services.pid("web")
    services.configure("web", "g2")
    services.run(services.item("web", "g2"), check=True)
    assert not services.run(services.item("web", "g1"))[0]["changed"]
    services.run(services.item("web", "g2"))
    assert services.pid("web") == pid


def test_generation_comes_from_the_configuration_by_id(services: Services) -> None:
    services.configure("web", "g7")
    [done] = services.run(services.item("web"), generations={"web": "g7"})
    assert text(done)[1] == "running, generation g7"
    [refused] = services.run(services.item("other"), failed_ids=["other"])
    assert refused["failed"] and "refused" in refused["msg"] and "other" not in os.listdir(services.base / "records")


def test_reload_that_kills_the_service_fails_with_its_last_words(services: Services) -> None:
    services.configure("web", "g1")
    services.configure("well", "g1")
    services.run(services.item("web", "g1"), services.item("well", "g1"))
    services.configure("web", "g2 die")
    services.configure("well", "g2")
    bad, good = services.run(services.item("web", "g2"), services.item("well", "g2"))
    assert bad["failed"] and not bad["changed"] and "cannot use this" in bad["msg"] and "\x1b" not in bad["msg"]
    assert good["changed"] and not good["failed"]
    services.configure("web", "g3")
    [healed] = services.run(services.item("web", "g3"))
    assert healed["changed"] and not healed["failed"]


def test_reload_that_leads_nowhere_fails(services: Services) -> None:
    services.configure("web", "g1")
    services.run(services.item("web", "g1"))
    services.configure("web", "g2 deaf")
    [done] = services.run(services.item("web", "g2", wait=0.5))
    assert done["failed"] and "does not answer with generation g2" in done["msg"]


def test_many_reloads_take_about_as_long_as_one(services: Services) -> None:
    names = [f"s{number}" for number in range(12)]
    for name in names:
        services.configure(name, "g1")
    assert not any(result["failed"] for result in services.run(*[services.item(name, "g1", wait=20) for name in names]))
    for name in names:
        services.configure(name, "g2 delay")
    begun = time.monotonic()
    assert not any(result["failed"] for result in services.run(*[services.item(name, "g2") for name in names]))
    assert time.monotonic() - begun < 6, "They were waited for one after the other."


def test_record_of_another_process_is_not_believed(services: Services) -> None:
    services.configure("web", "g1")
    services.run(services.item("web", "g1"))
    pid = services.pid("web")
    (services.base / "records" / "web.pid").write_text(f"{os.getppid()} 1\n")
    try:
        [done] = services.run(services.item("web", state="stopped"))
        assert not done["changed"], "A process of somebody else was taken for the service."
    finally:
        os.kill(pid, signal.SIGKILL)


def test_it_runs_as_the_uid_with_a_clean_environment(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    services.base.chmod(0o755)
    services.configure("web", "g1")
    item = services.item("web", "g1")
    item["command"] |= {"argv": ["/bin/sleep", "60"], "uid": 54321, "gid": 54321}
    item |= {"ask": None, "generation": ""}
    [done] = services.run(item)
    assert not done["failed"], done
    about = Path(f"/proc/{services.pid('web')}")
    assert about.stat().st_uid == 54321
    assert {line.split("=")[0] for line in (about / "environ").read_text().split("\0") if line} == {
        "PATH",
        "LANG",
        "HOME",
    }
    assert len(list((about / "fd").iterdir())) == 3
    services.run(item | {"state": "absent"})
    assert not (services.base / "records" / "web.pid").exists()


def test_socket_is_not_bound_where_others_can_write(services: Services) -> None:
    services.base.chmod(0o777)
    services.configure("web", "g1")
    item = services.item("web", "g1")
    item["command"] |= {"sockets": [{"path": str(services.base / "x.sock")}], "sockets_variable": "SOCKETS"}
    [done] = services.run(item | {"wait": 0.3})
    assert done["failed"] and "others than root" in done["msg"]


def test_missing_program_is_predicted_and_said(services: Services) -> None:
    item = services.item("web", "g1", executable="/usr/sbin/not-installed")
    [preview] = services.run(dict(item), check=True)
    assert preview["changed"] and "not installed yet" in preview["not_checked"]
    [done] = services.run(dict(item))
    assert done["failed"] and "/usr/sbin/not-installed" in done["msg"]


def test_last_words_are_one_safe_line() -> None:
    assert printable("one\x1b[2J\r\n\n two\u202e\n") == "one?[2J / two?"
