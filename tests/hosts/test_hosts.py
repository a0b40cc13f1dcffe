"""The hosts are what the other tests take them for."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts import compare_outcomes, trace
from tests.hosts.fixtures import Host

SCRIPT = Path(__file__).with_name("hosts.py")


def test_bare_host_has_systemd_and_no_services(bare_host: Host) -> None:
    assert bare_host.run("systemctl is-system-running").stdout.strip() == "running"
    assert bare_host.run("command -v nginx php-fpm8.2", check=False).stdout == ""


def test_admin_may_become_root(ssh_host: Host) -> None:
    assert ssh_host.run("sudo -n id -u", user="admin").stdout.strip() == "0"


def test_units_get_a_tmp_of_their_own(ssh_host: Host) -> None:
    ssh_host.run("touch /tmp/of-root")
    seen = ssh_host.run("systemd-run --quiet --wait --pipe -p User=admin -p PrivateTmp=yes ls /tmp").stdout
    assert "of-root" not in seen


def test_ipv6_loopback(ssh_host: Host) -> None:
    assert "00000000000000000000000000000001" in ssh_host.run("cat /proc/net/if_inet6").stdout


def test_another_host_key_is_refused(ssh_host: Host, tmp_path: Path) -> None:
    other = tmp_path / "known_hosts"
    other.write_text(ssh_host.host_key[:-8] + "AAAAAAAA\n", encoding="utf-8")
    words = [word.replace(str(ssh_host.known_hosts), str(other)) for word in ssh_host.ssh()]
    assert subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 255


def test_a_container_that_is_not_ours_is_left_alone(ssh_host: Host) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "up", "bad name"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be a host name" in done.stderr


def test_a_trace_is_found(ssh_host: Host) -> None:
    before = ssh_host.snapshot()
    assert trace.compare(before, ssh_host.snapshot()) == []
    ssh_host.run("install -m 0600 /dev/null /etc/forgotten && useradd -u 20007 leftover")
    found = trace.compare(before, ssh_host.snapshot())
    ssh_host.run("rm /etc/forgotten && userdel leftover")
    assert any(line.startswith("left behind: /etc/forgotten: -rw-------") for line in found)
    assert any(line.startswith("left behind: user leftover") for line in found)
    assert trace.compare(before, ssh_host.snapshot()) == []


def _outcome(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "host": "h",
        "task": "t",
        "role": "r",
        "changed": True,
        "failed": False,
        "ignored": False,
        "msg": "",
        "items": None,
        "diff": None,
    }
    return base | changes


ITEM = {
    "id": "domain:a.test",
    "changed": True,
    "failed": False,
    "msg": "",
    "diff": [{"after_header": "/a", "after": "1"}],
}


@pytest.mark.parametrize(
    ("predicted", "done", "expected"),
    [
        (ITEM, ITEM, ""),
        (ITEM, ITEM | {"changed": False}, "changed predicted true, done false"),
        (ITEM, ITEM | {"diff": [{"after_header": "/a", "after": "2"}]}, "diff predicted"),
        (ITEM, ITEM | {"id": "domain:b.test"}, "predicted, not done"),
        (ITEM | {"changed": False, "diff": [], "not_checked": "not installed"}, ITEM, ""),
    ],
)
def test_items_are_compared_exactly(predicted: dict, done: dict, expected: str) -> None:
    found = compare_outcomes.differences([_outcome(items=[predicted])], [_outcome(items=[done])])
    assert expected in "\n".join(found)
    assert bool(found) == bool(expected)


def test_server_level_compares_the_first_and_the_last_state() -> None:
    def diff(*states: str, name: str = "/etc/x") -> list[dict[str, object]]:
        common = {"before_header": name, "after_header": name}
        pairs = itertools.pairwise(states)
        return [_outcome(diff=[{**common, "before": before, "after": after}]) for before, after in pairs]

    assert compare_outcomes.differences(diff("0", "1"), diff("0", "1")) == []
    assert compare_outcomes.differences(diff("0", "1"), diff("0", "x", "1")) == []
    assert compare_outcomes.differences(diff("0", "1"), diff("0", "2"))
    assert compare_outcomes.differences(diff("0", "1"), diff("x", "1"))
    assert compare_outcomes.differences(diff("0", "1", name="service x"), diff("x", "1", name="service x")) == []
    assert compare_outcomes.differences([], diff("0", "1"))
