"""The panel on Debian 13 with Python 3.13 and ansible-core 2.21, and a Debian 13 node: installed, used, taken away."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.panel import wait_for
from tests.e2e.test_main_job import REPEAT
from tests.hosts.fixtures import Host

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
# In the image: the packages that pyproject.toml asks for (tests/hosts/testhosts/image.py).
BIN = "/opt/wcp360/bin"
PREVIEWED = {
    "operations": [
        {"operation": "tenant.create", "input": {"name": "acme", "node": "web1"}},
        {"operation": "domain.create", "input": {"name": "acme.test", "tenant": "acme"}},
    ]
}


@dataclass(frozen=True)
class Control:
    """The host that the panel is installed on."""

    host: Host

    def run(self, words: str, *, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the CLI as root there."""
        return self.host.run(f"NO_COLOR=1 {BIN}/wcp360 {words}", stdin=stdin, check=check)

    def json(self, words: str, *, stdin: str = "") -> Any:
        """Run the CLI and return what it prints."""
        return json.loads(self.run(f"{words} --json", stdin=stdin).stdout)


@pytest.fixture(scope="module")
def control(new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A Debian 13 host with the wheel of this checkout, serving."""
    directory = tmp_path_factory.mktemp("wheel13")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = directory.glob("wcp360-*.whl")
    host = new_host(image="control13")
    copy = host.ssh()
    with wheel.open("rb") as content:
        subprocess.run([*copy, f"cat > /root/{wheel.name}"], stdin=content, check=True, timeout=60)
    host.run(f"{BIN}/pip install --quiet --no-index --no-deps /root/{wheel.name} && {BIN}/pip check")
    made = Control(host)
    made.run("init")
    unit = f"systemd-run --quiet --unit wcp360 --setenv LANG=C.UTF-8 {BIN}/wcp360 serve"
    host.run(unit)
    wait_for("the panel to answer", lambda: made.run("node list", check=False).returncode == 0, 60)
    yield made
    host.run("systemctl stop wcp360")


@pytest.fixture(scope="module")
def node(control: Control, new_host: Callable[..., Host]) -> Host:
    """A Debian 13 server that the panel reaches by its own key."""
    host = new_host(image="full13")
    key = control.host.run("cat /var/lib/wcp360-panel/ssh/id_ed25519.pub").stdout
    host.run("cat >> /root/.ssh/authorized_keys", stdin="\n" + key)
    host_key = host.host_key.split(" ", 1)[1]
    control.run(f"node create web1 --address {host.address} --port {host.port} --host-key '{host_key}'")
    return host


def test_the_versions_are_those_that_are_meant(control: Control) -> None:
    script = "import ansible.release, sys; print(*sys.version_info[:2], ansible.release.__version__)"
    major, minor, ansible = control.host.run(f"{BIN}/python -c '{script}'").stdout.split()
    assert (major, minor) == ("3", "13")
    assert ansible.startswith("2.21.")
    assert 'VERSION_ID="13"' in control.host.run("cat /etc/os-release").stdout


def test_the_node_is_known_as_debian_13(control: Control, node: Host) -> None:
    facts = control.json("node show web1")["facts"]
    assert (facts["distribution"], facts["distribution_version"]) == ("debian", "13")
    assert (facts["supported"], facts["tested"]) == (True, True)


def test_previewed_applied_served_and_repeated(control: Control, node: Host) -> None:
    before = node.snapshot()
    preview = control.json("change create - --dry-run", stdin=json.dumps(PREVIEWED))
    assert preview["status"] == "succeeded", preview
    assert node.snapshot() == before, "the dry run changed the node"
    change = control.json("change create -", stdin=json.dumps(PREVIEWED))
    assert change["status"] == "succeeded", change
    done = [item for run in change["runs"] for item in control.json(f"run show {run}")["items"]]
    assert differences(done) == differences(preview["items"])
    status, _, body = node.http_get("acme.test")
    assert (status, "acme.test" in body) == (200, True)
    node.run("cat > /home/acme/web/acme.test/public/v.php", stdin="<?php echo PHP_VERSION, ' ', posix_geteuid();")
    version, uid = node.http_get("acme.test", "/v.php")[2].split()
    assert (version[:3], uid) == ("8.4", "20000")
    tree = node.snapshot()
    again = repeated(control)
    assert again["status"] == "succeeded", again
    assert {"node:web1", "tenant:acme", "domain:acme.test"} < {outcome["resource"] for outcome in again["resources"]}
    told = [item for run in again["runs"] for item in control.json(f"run show {run}")["items"]]
    assert again["runs"] and [item["resource"] for item in told if item["changed"] or item["failed"]] == []
    assert node.snapshot() == tree


def repeated(control: Control) -> Any:
    """Have everything on the node converged again; return the change that asked for it."""
    change = control.host.run(f"{BIN}/python - web1", stdin=REPEAT).stdout.strip()

    def look() -> Any:
        found = control.json(f"change show {change}")
        return found if found["status"] != "pending" else None

    return wait_for(f"change {change} to end", look)


def differences(items: list[dict[str, Any]]) -> list[Any]:
    """Return what changed for tenants and domains, in a form that can be compared."""
    chosen = [item for item in items if item["resource"].startswith(("tenant:", "domain:")) and item["changed"]]
    found = [
        [item["resource"], diff["name"], diff["before"], diff["after"]] for item in chosen for diff in item["diff"]
    ]
    assert found
    return sorted(found)


def test_suspended_and_back(control: Control, node: Host) -> None:
    control.run("tenant suspend acme")
    assert node.http_get("acme.test")[0] == 503
    control.run("tenant unsuspend acme")
    assert node.http_get("acme.test")[0] == 200


def test_a_second_domain_goes_alone(control: Control, node: Host) -> None:
    control.run("domain create second.test --tenant acme")
    assert node.http_get("second.test")[0] == 200
    control.run("domain delete second.test --yes")
    assert node.http_get("acme.test")[0] == 200


def test_taken_away(control: Control, node: Host) -> None:
    control.run("tenant delete acme --purge --yes")
    control.run("module remove webserver --node web1 --yes")
    control.run("node delete web1 --yes")
    assert node.run("getent passwd acme", check=False).returncode == 2
    assert node.run("ls -d /etc/wcp360 /etc/nginx/wcp360 /run/wcp360 /var/lib/wcp360", check=False).stdout == ""
