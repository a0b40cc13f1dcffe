"""The example in each role's README runs as it stands: stock ansible-playbook, the collection, vault and Jinja."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.fixtures import Host

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = next(path for path in map(Path, sys.path) if (path / "ansible_collections/wcp360/hosting").exists())
TOOLS = Path(sys.executable).parent
ROLES = sorted(path.parent.name for path in (ROOT / "roles").glob("*/README.md"))


def example(role: str) -> str:
    """The first YAML block of the README's part "Example"."""
    text = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## Example[^\n]*\n.*?```ya?ml\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert found, f"roles/{role}/README.md has no part 'Example' with a YAML block"
    return found[1]


def vaulted(directory: Path, **values: str) -> None:
    """Write group_vars/all/vault.yml with encrypted values."""
    password = directory / "password"
    password.write_text("only for this test\n")
    target = directory / "group_vars" / "all"
    target.mkdir(parents=True)
    plain = target / "vault.yml"
    plain.write_text(json.dumps(values))
    tool = [str(TOOLS / "ansible-vault"), "encrypt", "--vault-password-file", str(password), str(plain)]
    subprocess.run(tool, check=True, capture_output=True, cwd=directory)
    assert "ANSIBLE_VAULT" in plain.read_text()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.timeout(900)
def test_example(role: str, new_host: Callable[..., Host], tmp_path: Path) -> None:
    host = new_host(image="full")
    (tmp_path / "inventory.json").write_text(json.dumps({"web": {"hosts": {"node": host.inventory()}}}))
    (tmp_path / "play.yml").write_text(example(role))
    vaulted(tmp_path, vaulted_campaign="spring", vaulted_comment="{{ 'from the ' ~ 'vault' }}", vaulted_memory="192M")
    tool = [str(TOOLS / "ansible-playbook"), "-i", "inventory.json", "--vault-password-file", "password", "play.yml"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
    }
    for expected in ("changed=", "changed=0 "):
        done = subprocess.run(
            tool, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert expected in done.stdout, "the second run changes nothing: " + done.stdout
    if role == "tenant":
        assert host.run("getent passwd demo").stdout.split(":")[4] == "from the vault"
    if role == "php_fpm":
        assert '[memory_limit] = "192M"' in host.run("cat /etc/wcp360/php/current/demo.conf").stdout
    if role == "nginx":
        assert host.http_get("example.test")[0] == 200
        assert host.http_get("old-name.test")[1]["location"] == "https://example.test/spring"
        assert host.http_get("closed.test")[0] == 503
