"""The Ansible module accounts on a real host: the end of accounts whose processes still run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.hosts.fixtures import require_hosts
from tests.roles.php_node import Node, Outcome, Tenant, systemd_node

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

A = Tenant("alpha", 20010)
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.group: {name: "{{ item }}", system: true}
      loop: [wcp360-tenants, wcp360-sftp]
      when: not ansible_check_mode
    - wcp360.hosting.accounts:
        items: [{id: a, name: alpha, uid: 20010, gid: 20010, home: /home/alpha, state: "{{ state }}"}]
"""
RUNNING = "setsid runuser -u alpha -- sleep 500 >/dev/null 2>&1 </dev/null &"
LEFT = "/var/spool/cron/crontabs/alpha /var/lib/systemd/linger/alpha /tmp/of-alpha /dev/shm/of-alpha"
LEAVE = """
mkdir -p /var/spool/cron/crontabs /var/lib/systemd/linger /tmp/of-alpha/deep
touch /var/spool/cron/crontabs/alpha /var/lib/systemd/linger/alpha /tmp/of-alpha/deep/file /dev/shm/of-alpha
chown -R alpha: /var/spool/cron/crontabs/alpha /tmp/of-alpha /dev/shm/of-alpha
"""
# A group that bears the name of alpha's unit, as somebody's own service manager could make it.
DECOY = """
hierarchy=$(grep -q name=systemd /proc/self/cgroup && echo /sys/fs/cgroup/systemd || echo /sys/fs/cgroup)
own=$(grep -e name=systemd -e ^0:: /proc/1/cgroup | head -1 | cut -d: -f3); own=${own%/init.scope}
[ -d "$hierarchy$own" ] || own=
group="$hierarchy$own/user.slice/mine/wcp360-php@alpha.service"
mkdir -p "$group"
setsid runuser -u alpha -- sleep 501 >/dev/null 2>&1 </dev/null &
sleep 0.5
pgrep -u alpha -f 'sleep 501' >"$group/cgroup.procs"
cat "/proc/$(pgrep -u alpha -f 'sleep 501')/cgroup"
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    require_hosts()
    with systemd_node(f"accounts-{os.getpid()}", tmp_path_factory.mktemp("node")) as started:
        yield started


@pytest.fixture(autouse=True)
def account(node: Node) -> None:
    accounts(node, "present")


def accounts(node: Node, state: str, check: bool = False) -> Outcome:
    outcome = node.play(PLAY, {"state": state}, check)
    assert outcome.code == 0 and not outcome.messages("a"), outcome.output
    return outcome


def processes(node: Node) -> str:
    """Return alpha's processes that still run: an ended one may wait a moment for its parent (state Z) to ask."""
    return node.run("pgrep", "-u", str(A.uid), "-a", "--runstates", "DRSTt", check=False)


def test_account_has_no_subordinate_ids(node: Node) -> None:
    assert "alpha" in node.run("cat", "/etc/passwd")
    assert "alpha" not in node.run("cat", "/etc/subuid", "/etc/subgid")


@pytest.mark.parametrize("state", ["absent", "suspended"])
def test_end_of_processes_is_part_of_the_accounts_end(node: Node, state: str) -> None:
    preview = accounts(node, state, check=True)
    node.run("sh", "-c", RUNNING)
    assert "sleep 500" in processes(node)
    assert accounts(node, state, check=True).changes() == preview.changes()
    assert accounts(node, state).changes() == preview.changes()
    assert processes(node) == ""
    assert accounts(node, state).changes() == []


@pytest.mark.parametrize("begun", ["", "userdel alpha"])
def test_what_an_account_left_goes_with_it_or_with_the_next_run(node: Node, begun: str) -> None:
    node.run("sh", "-ec", LEAVE + begun)
    preview = accounts(node, "absent", check=True)
    assert accounts(node, "absent").changes() == preview.changes()
    assert node.run("sh", "-c", f"ls -d {LEFT} 2>/dev/null; ls -A /tmp | grep wcp360 || true") == ""
    assert accounts(node, "absent").changes() == []


def test_who_has_the_uid_by_now_keeps_what_is_in_shared_directories(node: Node) -> None:
    node.run("sh", "-ec", LEAVE + "userdel alpha; useradd --no-create-home --uid 20010 other")
    try:
        preview = accounts(node, "absent", check=True)
        assert accounts(node, "absent").changes() == preview.changes()
        assert node.run("sh", "-c", f"ls -d {LEFT} 2>/dev/null || true").split() == [
            "/dev/shm/of-alpha",
            "/tmp/of-alpha",
        ]
    finally:
        node.run("sh", "-c", "userdel other; rm -rf /tmp/of-alpha /dev/shm/of-alpha")


def test_account_is_closed_before_its_processes_end(node: Node) -> None:
    """A removal that cannot go on leaves an account that lets nobody in."""
    node.run("mv", "/usr/sbin/userdel", "/usr/sbin/userdel.away")
    try:
        outcome = node.play(PLAY, {"state": "absent"})
    finally:
        node.run("mv", "/usr/sbin/userdel.away", "/usr/sbin/userdel")
    assert "userdel" in outcome.messages("a")
    fields = node.run("getent", "shadow", "alpha").strip().split(":")
    assert fields[1].startswith("!") and fields[7] == "1"
    accounts(node, "absent")
    assert "alpha" not in node.run("cat", "/etc/passwd", "/etc/group")


def test_name_of_a_control_group_spares_nothing(node: Node) -> None:
    assert "/user.slice/mine/wcp360-php@alpha.service" in node.run("sh", "-c", DECOY)
    accounts(node, "suspended")
    assert processes(node) == ""


def test_suspension_leaves_the_instance_to_role_php_fpm(node: Node) -> None:
    accounts(node, "absent")
    node.add(A)
    node.run("gpasswd", "--add", "alpha", "wcp360-tenants")
    outcome = node.converge([A.pool()])
    assert outcome.code == 0 and not outcome.messages("tenant:alpha"), outcome.output
    node.run("sh", "-c", RUNNING)
    accounts(node, "suspended")
    assert "sleep 500" not in processes(node) and "php-fpm: master" in processes(node)
