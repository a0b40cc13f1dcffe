"""The inventory plugin against panels that answer as they should, and as they should not."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils.panel_api import PanelError, place_of
from ansible_collections.wcp360.hosting.plugins.module_utils.panel_nodes import connection

from tests.api.panel import Panel, running
from tests.ecosystem.tools import run

TOKEN = "wcp_0123456789abcdef"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5yoFGzpPcqWnhqtA7a9tw1XzsmqRVRHzZZ1mAQ5Ggu"
NODE = {
    "name": "web1",
    "status": "applied",
    "connection": "ssh",
    "address": "192.0.2.10",
    "port": 22,
    "user": "root",
    "host_key": KEY,
    "identity_file": "",
    "interpreter": "/usr/bin/python3",
}


class Answers(BaseHTTPRequestHandler):
    """A panel that answers what a test wants, page by page."""

    def do_GET(self) -> None:
        """Answer one page."""
        server: Any = self.server
        server.seen.append((self.path, self.headers.get("Authorization")))
        path, _, query = self.path.partition("?")
        pages = server.answers.get(path)
        body: Any = {"title": "Not found", "detail": "Nothing is there."}
        if pages is not None:
            number = int(query.partition("cursor=p")[2] or 0)
            body = {"items": pages[number], "next": f"p{number + 1}" if number + 1 < len(pages) else None}
        payload = server.raw or json.dumps(body).encode()
        self.send_response(200 if pages is not None else 404)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *words: Any) -> None:
        """Print nothing."""


@contextmanager
def answering(answers: dict[str, Any], *, raw: bytes = b"", tls: Path | None = None) -> Iterator[Any]:
    """Serve answers on a free port of this machine."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.answers, server.raw, server.seen = answers, raw, []
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def write(directory: Path, **options: Any) -> Path:
    """Write the inventory's file and a token file."""
    token = directory / "token"
    token.write_text(TOKEN + "\n")
    path = directory / "wcp360.yml"
    path.write_text(json.dumps({"plugin": "wcp360.hosting.wcp360", "token_file": str(token), **options}))
    return path


def listed(directory: Path, **environment: str) -> dict[str, Any]:
    """Return what ansible-inventory makes of the file."""
    fatal = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}
    done = run("ansible-inventory", "-i", "wcp360.yml", "--list", cwd=directory, **fatal, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout, object_hook=untagged)
    return found


def untagged(value: dict[str, Any]) -> Any:
    """Ansible writes what it does not trust as an object with this key."""
    return value.get("__ansible_unsafe", value)


def refused(directory: Path) -> str:
    """Return why the file gives no inventory."""
    fatal = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}
    done = run("ansible-inventory", "-i", "wcp360.yml", "--list", cwd=directory, **fatal)
    assert done.returncode != 0, done.stdout
    return " ".join(done.stderr.split())


def url_of(server: Any, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.server_port}"


def entry(variable: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"variable": variable, "resource": "domain:a.test", "value": value}


HOSTILE = "{{ lookup('ansible.builtin.pipe', 'touch OWNED') }}"


def hostile_answers() -> dict[str, Any]:
    """Templates wherever a value can stand."""
    site = {"name": "a.test", "state": "present", "redirect": HOSTILE, "aliases": [HOSTILE], HOSTILE: HOSTILE}
    account = {"name": "acme", "comment": HOSTILE, "authorized_keys": [HOSTILE]}
    return {
        "/api/v1/nodes": [[NODE | {"facts": {"distribution": HOSTILE}, "reason": HOSTILE}]],
        "/api/v1/nodes/web1/variables": [[entry("nginx_sites", site)], [entry("tenant_accounts", account)]],
    }


def test_no_value_of_the_panel_is_a_template(tmp_path: Path) -> None:
    play = [
        {
            "hosts": "all",
            "gather_facts": False,
            "connection": "local",
            "tasks": [
                {"ansible.builtin.set_fact": {"again": "{{ nginx_sites }}"}},
                {"ansible.builtin.debug": {"var": "again"}},
                {"ansible.builtin.debug": {"msg": "{{ item.redirect }} {{ item }}"}, "loop": "{{ nginx_sites }}"},
                {"ansible.builtin.debug": {"msg": "{{ hostvars['web1'] | string | length }}"}},
                {
                    "ansible.builtin.copy": {
                        "content": "{{ tenant_accounts[0].comment }}",
                        "dest": f"{tmp_path}/written",
                    }
                },
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    with answering(hostile_answers()) as server:
        write(tmp_path, url=url_of(server))
        local = ("-e", "ansible_connection=local")
        done = run("ansible-playbook", "-i", "wcp360.yml", *local, "play.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "written").read_text() == HOSTILE
    assert not (tmp_path / "OWNED").exists()
    assert {header for _, header in server.seen} == {f"Bearer {TOKEN}"}


def test_the_same_template_in_a_trusted_place_would_have_run(tmp_path: Path) -> None:
    """The test above would see it."""
    (tmp_path / "play.yml").write_text(
        json.dumps(
            [{"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": HOSTILE}}]}]
        )
    )
    assert run("ansible-playbook", "-i", "localhost,", "-c", "local", "play.yml", cwd=tmp_path).returncode == 0
    assert (tmp_path / "OWNED").exists()


def test_hosts_have_connections_lists_and_states(tmp_path: Path) -> None:
    answers = {
        "/api/v1/nodes": [
            [NODE, NODE | {"name": "local", "connection": "local"}],
            [NODE | {"name": "web2", "user": "admin"}],
        ],
        "/api/v1/nodes/web1/variables": [[entry("server", {"tenant": True}), entry("nginx_sites", {"name": "a.test"})]],
        "/api/v1/nodes/web2/variables": [[entry("server", {"php_fpm": "absent", "nginx": True})]],
        "/api/v1/nodes/local/variables": [[]],
    }
    with answering(answers) as server:
        write(tmp_path, url=url_of(server), private_key_file="/keys/mine")
        found = listed(tmp_path)
        write(tmp_path, url=url_of(server), local_nodes=True)
        with_local = listed(tmp_path)["_meta"]["hostvars"]
    hosts = found["_meta"]["hostvars"]
    assert set(hosts) == {"web1", "web2"}
    web1 = hosts["web1"]
    assert (web1["ansible_host"], web1["ansible_user"], web1["ansible_port"]) == ("192.0.2.10", "root", 22)
    assert web1["ansible_ssh_private_key_file"] == "/keys/mine"
    assert KEY in web1["ansible_ssh_common_args"]
    assert "ansible_become" not in web1
    assert hosts["web2"]["ansible_become"] is True
    assert web1["nginx_sites"] == [{"name": "a.test"}]
    states = {role: web1[f"{role}_server_state"] for role in ("tenant", "php_fpm", "nginx")}
    assert states == {"tenant": "present", "php_fpm": "unmanaged", "nginx": "unmanaged"}
    assert (hosts["web2"]["php_fpm_server_state"], hosts["web2"]["nginx_server_state"]) == ("absent", "present")
    assert found["wcp360_nginx"]["hosts"] == ["web2"]
    assert with_local["local"]["ansible_connection"] == "local"


def test_the_real_panel_is_understood(tmp_path: Path) -> None:
    with running(tmp_path / "panel") as panel:
        fill(panel)
        write(tmp_path, url=f"http://127.0.0.1:{panel.port}", local_nodes=True)
        hosts = listed(tmp_path, WCP360_TOKEN=panel.tokens["root"])["_meta"]["hostvars"]
    assert [site["name"] for site in hosts["local"]["nginx_sites"]] == ["acme.example"]
    assert [account["name"] for account in hosts["local"]["tenant_accounts"]] == ["acme"]
    assert hosts["local"]["nginx_server_state"] == "present"


def fill(panel: Panel) -> None:
    panel.submit("tenant.create", name="acme")
    panel.submit("domain.create", name="acme.example", tenant="acme")


def test_a_variable_that_we_do_not_know_is_refused(tmp_path: Path) -> None:
    answers = hostile_answers()
    answers["/api/v1/nodes/web1/variables"] = [[entry("ansible_connection", {"x": "local"})]]
    with answering(answers) as server:
        write(tmp_path, url=url_of(server))
        assert "'ansible_connection' for web1" in refused(tmp_path)


def test_tls_is_checked(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*words.split(), "-keyout", str(pem), "-out", str(tmp_path / "ca.pem")], check=True, capture_output=True
    )
    pem.write_text(pem.read_text() + (tmp_path / "ca.pem").read_text())
    answers = {"/api/v1/nodes": [[NODE]], "/api/v1/nodes/web1/variables": [[]]}
    with answering(answers, tls=pem) as server:
        write(tmp_path, url=url_of(server, "https"))
        assert "cannot be asked" in refused(tmp_path)
        assert server.seen == []
        write(tmp_path, url=url_of(server, "https"), ca_file=str(tmp_path / "ca.pem"))
        assert "web1" in listed(tmp_path)["_meta"]["hostvars"]


@pytest.mark.parametrize(
    ("answers", "raw", "said"),
    [
        ({}, b"", "refuses /api/v1/nodes: Nothing is there"),
        ({"/api/v1/nodes": [[]]}, b"<html>", "but not as a panel does"),
        ({"/api/v1/nodes": [[]]}, b'{"a": 1}', "but not as a panel does"),
    ],
)
def test_what_is_no_panel_is_said(tmp_path: Path, answers: dict[str, Any], raw: bytes, said: str) -> None:
    with answering(answers, raw=raw) as server:
        write(tmp_path, url=url_of(server))
        found = refused(tmp_path)
        assert said in found, found


def test_a_panel_that_does_not_run_is_said(tmp_path: Path) -> None:
    with answering({}) as server:
        write(tmp_path, url=url_of(server))
    assert "cannot be asked" in refused(tmp_path)


@pytest.mark.parametrize(
    "url", ["http://panel.example", "ftp://127.0.0.1", "https://user:pw@panel.example", "https://a/b", "unix:x", ""]
)
def test_urls_that_would_give_the_token_away_are_refused(url: str) -> None:
    with pytest.raises(PanelError):
        place_of(url)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "-oProxyCommand=id"),
        ("address", "a b"),
        ("address", "{{ 1 }}"),
        ("user", "root -o x"),
        ("port", "22"),
        ("port", True),
        ("host_key", "ssh-ed25519 AAAA$(id)"),
        ("host_key", ""),
        ("interpreter", "/usr/bin/python3; id"),
        ("identity_file", "/k -o ProxyCommand=id"),
        ("name", "web1' -oProxyCommand=id"),
        ("name", "web1\n"),
        ("connection", "docker"),
    ],
)
def test_connection_values_are_checked(field: str, value: Any) -> None:
    with pytest.raises(PanelError):
        connection(NODE | {field: value}, "")
