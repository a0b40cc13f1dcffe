"""The private directory of one run: made fresh, 0700, named after the run, and removed afterwards.

Nothing is shared between runs, because ansible-runner takes up what an earlier one left behind.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from wcp360.core.ids import is_id
from wcp360.engine.inventory import Node, inventory, known_hosts_line

NAMESPACE = ("wcp360", "hosting")

# Debian's own path: what runs on a local node must not find an interpreter of the panel's environment first.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# callback_result_format and the display of skipped hosts are for people who read a run's output in the log.
_CONFIG = """\
[defaults]
collections_path = {collections}
collections_scan_sys_path = False
callbacks_enabled = wcp360.hosting.outcomes
deprecation_warnings = False
display_skipped_hosts = False
forks = 1
gathering = explicit
home = {home}
host_key_checking = True
inject_facts_as_vars = False
internal_poll_interval = 0.005
interpreter_python = /usr/bin/python3
local_tmp = {temporary}
localhost_warning = False
nocows = True
nocolor = True
retry_files_enabled = False
timeout = 10

[inventory]
enable_plugins = yaml

[ssh_connection]
pipelining = True
retries = 1
ssh_args = -C -o ControlMaster=auto -o ControlPersist=120s
"""


class PrivateDirectory:
    """A context manager that makes the directory and takes it away."""

    def __init__(self, state_dir: Path, run_id: str, collection: Path) -> None:
        if not is_id(run_id):
            raise ValueError(f"{run_id!r} is not the id of a run.")
        self.path = state_dir / "runs" / run_id
        self.run_id = run_id
        self.outcomes = self.path / "outcomes.jsonl"
        self.inventory = self.path / "inventory.json"
        self.request = self.path / "request.json"
        self.gate = self.path / "gate"
        self.collection = self.path.joinpath("collections", "ansible_collections", *NAMESPACE)
        self._state_dir, self._source = state_dir, collection

    def __enter__(self) -> PrivateDirectory:
        self.path.mkdir(mode=0o700)
        for name in ("home", "tmp"):
            (self.path / name).mkdir(mode=0o700)
        self.collection.parent.mkdir(parents=True, mode=0o700)
        self.collection.symlink_to(self._source, target_is_directory=True)
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def fill(self, node: Node, request: dict[str, Any]) -> None:
        """Write the inventory, the request and Ansible's configuration."""
        known_hosts = self.path / "known_hosts"
        if node.connection == "ssh":
            _write(known_hosts, known_hosts_line(node))
        _write(self.inventory, json.dumps(inventory(node, self._state_dir, known_hosts)))
        _write(self.request, json.dumps(request))
        for end in (".ask", ".answer"):
            os.mkfifo(f"{self.gate}{end}", 0o600)
        paths = {"collections": self.path / "collections", "home": self.path / "home", "temporary": self.path / "tmp"}
        _write(self.path / "ansible.cfg", _CONFIG.format(**paths))

    def environment(self) -> dict[str, str]:
        """Return all that a run's processes find in their environment, apart from what ansible-runner adds."""
        variables = {
            "ANSIBLE_CONFIG": str(self.path / "ansible.cfg"),
            "HOME": str(self.path / "home"),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "PATH": SEARCH_PATH,
            "TMPDIR": str(self.path / "tmp"),
            "WCP360_GATE": str(self.gate),
            "WCP360_OUTCOMES_FILE": str(self.outcomes),
            "WCP360_RUN": self.run_id,
        }
        kill_at, fault = os.environ.get("WCP360_KILL_AT", ""), os.environ.get("WCP360_FAULT", "")
        variables |= {"WCP360_KILL_AT": kill_at} if kill_at.startswith(("task:", "predicted:")) else {}
        return variables | ({"WCP360_FAULT": fault} if fault else {})


def _write(path: Path, text: str) -> None:
    with open(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
