"""A real host with PHP tenants on it, for the tests of role php_fpm and of the Ansible module instances."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "hosts"))

from testhosts import collection, host, image  # noqa: E402
from testhosts.engine import find_engine, limits, network  # noqa: E402

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Converge
      ansible.builtin.include_role: {name: wcp360.hosting.php_fpm}
"""
CLIENT = """
import sys
sys.path.insert(0, "/root/client")
from ansible_collections.wcp360.hosting.plugins.module_utils import fastcgi
socket, script, query = sys.argv[1:]
parameters = {"SCRIPT_FILENAME": script, "SCRIPT_NAME": "/x.php", "REQUEST_URI": "/x.php", "REQUEST_METHOD": "GET",
              "QUERY_STRING": query, "SERVER_PROTOCOL": "HTTP/1.1"}
print(fastcgi.body(fastcgi.get(socket, parameters, 60)[0]), end="")
"""


@dataclass
class Tenant:
    """One tenant; its document root is the only site it has."""

    name: str
    uid: int

    @property
    def home(self) -> str:
        return f"/home/{self.name}"

    @property
    def root(self) -> str:
        return f"{self.home}/web/{self.name}.test/public"

    @property
    def socket(self) -> str:
        return f"/var/lib/wcp360/php/{self.name}/fpm.sock"

    def pool(self, **more: Any) -> dict[str, Any]:
        own = {"id": f"tenant:{self.name}", "name": self.name, "uid": self.uid, "gid": self.uid, "home": self.home}
        return own | more


@dataclass
class Outcome:
    """What one run of the role did."""

    code: int
    output: str
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def items(self) -> list[dict[str, Any]]:
        return [item for line in self.lines for item in line.get("items") or []]

    def of(self, identity: str) -> list[dict[str, Any]]:
        return [item for item in self.items if item["id"] == identity]

    def messages(self, identity: str) -> str:
        return " ".join(item["msg"] for item in self.of(identity) if item["failed"])

    def changes(self) -> list[Any]:
        return [[item["id"], item["diff"]] for item in self.items if item["diff"]]


@dataclass
class Node:
    """A host reached over SSH, and the role run on it from here."""

    host: host.Host
    directory: Path

    def run(self, *argv: str, user: str = "", check: bool = True, stdin: str = "") -> str:
        words = ["runuser", "-u", user, "--", *argv] if user else list(argv)
        done = subprocess.run(
            [*self._ssh(), shlex.join(words)], input=stdin, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def start(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*self._ssh(), shlex.join(argv)], stdout=subprocess.PIPE, text=True)

    def _ssh(self) -> list[str]:
        known = self.directory / "known_hosts"
        known.write_text(self.host.host_key + "\n")
        options = ["-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]
        return ["ssh", "-i", self.host.key, "-p", str(self.host.port), *options, f"root@{self.host.address}"]

    def add(self, tenant: Tenant) -> None:
        """Make the Unix account and the directories that role tenant makes."""
        self.run("groupadd", "-g", str(tenant.uid), tenant.name)
        number = str(tenant.uid)
        self.run("useradd", "-u", number, "-g", number, "-d", tenant.home, "-M", "-s", "/usr/sbin/nologin", tenant.name)
        for path, mode, group in (
            (tenant.home, "0711", number),
            (f"{tenant.home}/web", "0750", "www-data"),
            (os.path.dirname(tenant.root), "0750", "www-data"),
            (tenant.root, "0750", "www-data"),
            (f"{tenant.home}/tmp", "0700", number),
            (f"{tenant.home}/sessions", "0700", number),
        ):
            self.run("install", "-d", "-m", mode, "-o", number, "-g", group, path)

    def script(self, tenant: Tenant, name: str, code: str) -> str:
        path = f"{tenant.root}/{name}"
        self.run("sh", "-c", 'umask 077; cat >"$1"', "sh", path, user=tenant.name, stdin=code)
        return path

    def prepare_client(self) -> None:
        shared = "ansible_collections/wcp360/hosting/plugins/module_utils"
        self.run("mkdir", "-p", f"/root/client/{shared}")
        for name in ("exchange.py", "fastcgi.py"):
            self._write(f"{shared}/{name}", (ROOT / "plugins/module_utils" / name).read_text())
        self._write("client.py", CLIENT)

    def _write(self, name: str, text: str) -> None:
        self.run("sh", "-c", 'cat >"$1"', "sh", f"/root/client/{name}", stdin=text)

    def get(self, tenant: Tenant, script: str, query: str = "") -> str:
        """Answer of a request to the tenant's own socket, as the web server would send it."""
        return self.run("python3", "/root/client/client.py", tenant.socket, script, query)

    def begin(self, tenant: Tenant, script: str, query: str = "") -> subprocess.Popen[str]:
        return self.start("python3", "/root/client/client.py", tenant.socket, script, query)

    def php(self, tenant: Tenant, code: str) -> str:
        """Run PHP code of the tenant by FastCGI under its own master."""
        return self.get(tenant, self.script(tenant, "now.php", f"<?php {code}"))

    def converge(self, pools: list[dict[str, Any]], check: bool = False, panel: bool = True, **more: Any) -> Outcome:
        """Run the role; ``panel`` leaves out the last assertion, as the panel's own runs do."""
        variables = {"php_fpm_extensions": ["opcache"], "php_fpm_pools": pools, **more}
        if panel:
            variables["wcp360_request_file"] = ""
        return self.play(PLAYBOOK, variables, check)

    def play(self, playbook: str, variables: dict[str, Any], check: bool = False) -> Outcome:
        """Run a playbook by stock ansible-playbook with the collection alone."""
        outcomes = self.directory / f"outcomes-{time.monotonic_ns()}"
        (self.directory / "variables.json").write_text(json.dumps(variables))
        (self.directory / "play.yml").write_text(playbook)
        done = subprocess.run(
            [
                *("ansible-playbook", "-i", f"{self.host.name},", "--diff", "-e", f"@{self.directory}/variables.json"),
                *(["--check"] if check else []),
                str(self.directory / "play.yml"),
            ],
            env=self._environment(outcomes),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        lines = [json.loads(line) for line in outcomes.read_text().splitlines()] if outcomes.exists() else []
        return Outcome(done.returncode, done.stdout + done.stderr, lines)

    def _environment(self, outcomes: Path) -> dict[str, str]:
        self._ssh()
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/root"),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(collection.link()),
            "ANSIBLE_CALLBACKS_ENABLED": "wcp360.hosting.outcomes",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_REMOTE_USER": "root",
            "ANSIBLE_REMOTE_PORT": str(self.host.port),
            "ANSIBLE_PRIVATE_KEY_FILE": self.host.key,
            "ANSIBLE_SSH_ARGS": f"-o UserKnownHostsFile={self.directory}/known_hosts -o IdentitiesOnly=yes "
            f"-o HostName={self.host.address} -o ControlMaster=auto -o ControlPersist=30",
            "WCP360_OUTCOMES_FILE": str(outcomes),
            "WCP360_PAYLOADS": os.environ["WCP360_PAYLOADS"],
        }


@contextmanager
def systemd_node(name: str, directory: Path) -> Iterator[Node]:
    """A host with systemd and Debian's PHP-FPM."""
    engine = find_engine()
    node = Node(host.up(engine, name, "full"), directory)
    try:
        node.prepare_client()
        yield node
    finally:
        host.down(engine, name)


@contextmanager
def plain_node(name: str, directory: Path) -> Iterator[Node]:
    """The same without a service manager: what runs as process 1 is `sleep`."""
    engine = find_engine()
    tag = image.ensure(engine, "full")
    label = f"{host.LABEL}={host.checkout_id()}"
    publish = [] if engine.direct else ["-p", "127.0.0.1::22", "-p", "127.0.0.1::80"]
    options = ["--detach", "--name", name, "--label", label, *limits(), *network(engine), *publish]
    host.run(engine.argv("run", *options, tag, "sleep", "infinity"))
    try:
        host.run(
            engine.argv(
                "exec", name, "sh", "-c", "mkdir -p /run/sshd; ssh-keygen -A; /usr/sbin/sshd; rm -f /run/nologin"
            )
        )
        key = host.private_key()
        host._authorize(engine, name, key)
        node = Node(host._describe(engine, name, key), directory)
        host._wait_for_ssh(node.host, time.monotonic() + 30)
        node.prepare_client()
        yield node
    finally:
        host.down(engine, name)
