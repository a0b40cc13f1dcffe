"""The example inventories hold what the roles need: nothing in them is refused, and one is previewed on a real host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.wcp360.hosting.plugins.filter.nginx import nginx_sites
from ansible_collections.wcp360.hosting.plugins.filter.php_fpm import php_fpm_steps
from ansible_collections.wcp360.hosting.plugins.filter.tenant import tenant_steps

from tests.hosts.fixtures import Host

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = next(path for path in map(Path, sys.path) if (path / "ansible_collections/wcp360/hosting").exists())
EXAMPLES = sorted((ROOT / "inventories").glob("*/*_vars/*.yml"))
LISTS = {"tenant_accounts": "tenant", "php_fpm_pools": "php_fpm", "nginx_sites": "nginx"}
POOL_OPTIONS = {
    "program": "/usr/sbin/php-fpm8.2",
    "tree": "/etc/wcp360/php",
    "state_directory": "/var/lib/wcp360/php",
    "log_directory": "/var/log/wcp360/php",
    "web_gid": 33,
    "max_children": 5,
    "wait": 20,
}


def variables(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_an_example_is_what_the_roles_take(path: Path) -> None:
    given = variables(path)
    assert given and given.keys() <= LISTS.keys()
    for name, role in LISTS.items():
        specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
        spec = {name: specs["argument_specs"]["main"]["options"][name]}
        checked = ArgumentSpecValidator(spec).validate({name: given.get(name, [])})
        assert checked.error_messages == []
    options = {"home_base": "/home", "shell": "/usr/sbin/nologin", "group": "g", "sftp_group": "s", "keys": ""}
    users = tenant_steps(given["tenant_accounts"], {**options, "skeleton": [], "web_gid": 33})[0]["args"]["items"]
    assert [item["refuse"] for item in users if item["refuse"]] == []
    assert [site["refuse"] for site in nginx_sites(given["nginx_sites"]) if site["refuse"]] == []
    steps = php_fpm_steps(given.get("php_fpm_pools", []), POOL_OPTIONS)
    pools = {step["key"]: step["args"]["items"] for step in steps}
    assert [item["refuse"] for item in pools["php_fpm.written"] if item.get("refuse")] == []
    owners = {account["name"]: (account["uid"], account["gid"]) for account in given["tenant_accounts"]}
    for owned in [*pools["php_fpm.made"], *nginx_sites(given["nginx_sites"])]:
        name = owned.get("tenant") or owned["directories"][0]["path"]
        assert owners[name] == (owned.get("uid", owned.get("owner_uid")), owned.get("gid", owned.get("owner_gid")))


@pytest.mark.timeout(600)
def test_one_node_is_previewed_and_then_serves(new_host: Callable[..., Host], tmp_path: Path) -> None:
    host = new_host(image="full")
    given = variables(ROOT / "inventories/one-node/group_vars/all.yml")
    inventory = {"all": {"hosts": {"node": host.inventory()}, "vars": given}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    tool = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "inventory.json"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        # The default, below HOME, is too long for a socket's path (107 characters, unix(7)).
        "ANSIBLE_SSH_CONTROL_PATH_DIR": tempfile.mkdtemp(prefix="w-"),
        "LANG": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_CALLBACKS_ENABLED": "wcp360.hosting.outcomes",
        "ANSIBLE_PIPELINING": "1",
        "WCP360_OUTCOMES_FILE": str(tmp_path / "outcomes"),
        "WCP360_PAYLOADS": os.environ["WCP360_PAYLOADS"],
    }
    for more in (["--check"], [], ["--check"]):
        (tmp_path / "outcomes").unlink(missing_ok=True)
        words = [*tool, *more, str(ROOT / "playbooks/site.yml")]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [json.loads(line) for line in (tmp_path / "outcomes").read_text().splitlines()]
        items = [item for line in lines for item in line.get("items") or []]
        assert items and [item["msg"] for item in items if item["failed"]] == []
    assert "changed=0 " in done.stdout, "a preview of what is there predicts nothing: " + done.stdout
    assert host.http_get("demo.test")[0] == 200
