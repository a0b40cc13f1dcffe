"""Pools from nothing to nothing, with systemd and without: previews, failures, suspension, removal."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from tests.hosts.fixtures import require_hosts
from tests.roles.php_node import Node, Outcome, Tenant, plain_node, systemd_node

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

A = Tenant("alpha", 20010)
B = Tenant("beta", 20011)
BUSY = (
    "<?php $end = microtime(true) + (float) $_GET['s']; while (microtime(true) < $end) { usleep(1000); } echo 'whole';"
)
NOT_THERE = "cat: /proc/{}/cmdline: No such file or directory\n"
# Requests on the node itself, one after the other, while its master is stopped again and again.
STOPS = """
rm -f /root/enough /root/stops
while [ ! -e /root/enough ]; do
    systemctl --quiet stop wcp360-php@alpha.service && echo stopped >>/root/stops
    sleep 0.3
done 2>/dev/null &
for number in $(seq 25); do
    python3 /root/client/client.py "$1" "$2" ""
    echo
done
touch /root/enough
wait
"""
NODES = {"systemd": systemd_node, "none": plain_node}


@pytest.fixture(scope="module", params=NODES)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    require_hosts()
    with NODES[request.param](f"php-life-{request.param}-{os.getpid()}", tmp_path_factory.mktemp("node")) as started:
        for tenant in (A, B):
            started.add(tenant)
        outcome = started.converge([A.pool(), B.pool()])
        assert not any(item["failed"] for item in outcome.items), outcome.output
        yield started


def converge(node: Node, *pools: dict, check: bool = False, **more: object):
    return node.converge(list(pools), check=check, php_fpm_server_state="unmanaged", **more)


def twice(node: Node, *pools: dict):
    """Preview, run, and run again: the first two are equal, the last changes nothing."""
    preview = converge(node, *pools, check=True)
    done = converge(node, *pools)
    assert preview.changes() == done.changes()
    again = converge(node, *pools)
    assert again.changes() == [] and not any(item["changed"] for item in again.items), again.output
    return done


def listing(node: Node) -> list[str]:
    """Return what is in the configuration's directory: name, mode, owner and link of each entry, and checksums."""
    look = "find /etc/wcp360/php -printf '%p %M %U:%G %l\\n' && find /etc/wcp360/php -type f -exec sha256sum {} +"
    found = sorted(node.run("sh", "-c", look).splitlines())
    assert found
    return found


def refusals(outcome: Outcome) -> list[tuple[str, str]]:
    """Return which items failed, and with which sentence, without the times that PHP-FPM puts into it."""
    failed = (item for item in outcome.items if item["failed"])
    return [(item["id"], re.sub(r"\[\d\d-\w+-\d+ [0-9:]+\] ", "", item["msg"])) for item in failed]


def masters(node: Node) -> list[str]:
    lines = node.run("ps", "-eo", "user,stat,args").splitlines()
    return sorted(line.split()[0] for line in lines if "php-fpm: master" in line and line.split()[1][0] != "Z")


def master_of(node: Node, tenant: Tenant) -> str:
    return node.run("pgrep", "-u", tenant.name, "-f", "php-fpm: master").strip()


def idle(node: Node, seconds: int) -> None:
    program = "/usr/local/lib/wcp360/php_idle.py"
    node.run("python3", "-I", program, str(seconds), "/var/lib/wcp360/php", "/run/wcp360-php-idle.json")


def test_both_run_as_themselves(node: Node) -> None:
    assert masters(node) == ["alpha", "beta"]
    for tenant in (A, B):
        assert node.php(tenant, "touch(sys_get_temp_dir() . '/x'); echo fileowner(sys_get_temp_dir() . '/x');") == str(
            tenant.uid
        )
        groups = node.run("grep", "Groups:", f"/proc/{master_of(node, tenant)}/status").split()[1:]
        assert set(groups) <= {str(tenant.uid)}


def test_what_php_writes_can_be_served_as_a_static_file(node: Node) -> None:
    node.php(A, "mkdir('uploads'); file_put_contents('uploads/picture.txt', 'of alpha');")
    directory = f"{A.root}/uploads"
    assert node.run("stat", "-c", "%a", directory, f"{directory}/picture.txt").split() == ["755", "644"]
    assert node.run("cat", f"{directory}/picture.txt", user="www-data") == "of alpha"
    assert "Permission denied" in node.run("cat", f"{directory}/picture.txt", user=B.name, check=False)


def test_new_master_starts_on_demand_and_stops_when_idle(node: Node) -> None:
    if not has_systemd(node):  # masters stay, as doctor says
        assert node.php(A, "echo 'awake';") == "awake"
        return
    assert node.php(A, "echo 'awake';") == "awake"
    waiting = node.begin(A, node.script(A, "slow.php", "<?php sleep(8); echo 'whole';"))
    assert node.php(B, "echo 'awake';") == "awake"
    time.sleep(1)
    idle(node, 0)
    assert masters(node) == ["alpha"], "One has a request that does nothing, the other has an idle worker."
    assert waiting.communicate(timeout=30)[0].strip() == "whole"
    assert converge(node, A.pool(), B.pool()).changes() == []
    assert masters(node) == ["alpha"], "Asking woke a master up."
    assert node.php(B, "echo 'woken';") == "woken"
    assert "active" in node.run("systemctl", "is-active", "wcp360-php-idle.timer")
    node.run("rm", "/run/wcp360-php-idle.json")


def test_master_that_answered_between_two_looks_is_not_idle(node: Node) -> None:
    for tenant in (A, B):
        assert node.php(tenant, "echo 'awake';") == "awake"
    if not has_systemd(node):  # masters stay, as doctor says
        assert masters(node) == ["alpha", "beta"]
        return
    idle(node, 3)
    time.sleep(4)
    assert node.php(A, "echo 'awake';") == "awake"
    idle(node, 3)
    assert masters(node) == ["alpha"]
    node.run("rm", "/run/wcp360-php-idle.json")


def test_workers_stay_until_their_master_is_stopped(node: Node) -> None:
    # PHP-FPM's own end of the last idle worker loses the request that comes at that moment.
    shown = node.run("sh", "-c", "/usr/sbin/php-fpm* -tt --fpm-config /etc/wcp360/php/current/alpha.conf 2>&1")
    seconds = int(re.search(r"process_idle_timeout = (\d+)", shown)[1])
    assert seconds > 600 + 2 * 60 + 10, "A master is stopped after two looks of the timer at worst."


def test_no_request_is_lost_while_masters_are_stopped(node: Node) -> None:
    if not has_systemd(node):  # masters stay, as doctor says
        assert node.php(A, "echo 'awake';") == "awake"
        return
    script = node.script(A, "once.php", "<?php echo 'answered';")
    answers = node.run("sh", "-c", STOPS, "sh", A.socket, script).split()
    assert answers == ["answered"] * 25
    stops = node.run("cat", "/root/stops").split()
    assert len(stops) > 1, "No master was stopped between requests: the test shows nothing."


def test_setting_is_previewed_applied_and_idempotent(node: Node) -> None:
    node.php(A, "")
    pid = master_of(node, A)
    done = twice(node, A.pool(settings={"memory_limit": "200M", "error_reporting": "E_ALL & ~E_NOTICE"}), B.pool())
    assert {item["id"] for item in done.items if item["changed"]} == {"tenant:alpha"}
    assert node.php(A, "echo ini_get('memory_limit'), ' ', error_reporting();") == "200M 32759"
    assert master_of(node, A) == pid, "It was started anew instead of reloaded."


def test_bad_pools_fail_alone(node: Node) -> None:
    pools = [A.pool(settings={"open_basedir": "none"}), B.pool(settings={"memory_limit": "64M"}, max_children=2)]
    pools.append({"id": "tenant:evil", "name": "../evil", "uid": 20012, "gid": 20012, "home": "/home/evil"})
    before = listing(node)
    preview = converge(node, *pools, check=True)
    assert listing(node) == before
    outcome = converge(node, *pools)
    assert preview.code == outcome.code == 0
    assert refusals(preview) == refusals(outcome)
    assert "open_basedir" in outcome.messages("tenant:alpha") and "../evil" in outcome.messages("tenant:evil")
    assert not outcome.messages("tenant:beta") and node.php(B, "echo ini_get('memory_limit');") == "64M"
    assert node.php(A, "echo ini_get('memory_limit');") == "200M", "It does not run what was applied last."
    assert converge(node, *pools, panel=False).code != 0, "Stock users are not told."


def test_what_the_checker_refuses_fails_in_the_preview_too(node: Node) -> None:
    before = listing(node)
    # A path that ends its line brings in a directive that only PHP-FPM itself knows to be none.
    shared = ['/srv"\nnonsense = 1\n;']
    preview, outcome = (
        converge(node, A.pool(max_children=3), php_fpm_shared_paths=shared, check=check) for check in (True, False)
    )
    said = outcome.messages("tenant:alpha")
    assert "PHP-FPM refuses" in said and "nonsense" in said, outcome.output
    assert refusals(preview) == refusals(outcome)
    assert listing(node) == before
    assert node.run("find", "/tmp", "-name", "wcp360-check-*") == ""


def test_master_that_cannot_start_is_tried_for_ever(node: Node) -> None:
    if not has_systemd(node):
        assert masters(node), "There is nothing that would start a master again."
        return
    names = ("RestartUSec", "StartLimitIntervalUSec", "StartLimitBurst")
    shown = node.run("systemctl", "show", "-p", ",".join(names), "wcp360-php@alpha.service").split("\n")
    found = dict(line.split("=", 1) for line in shown if line)
    pause, interval = (seconds(found[name]) for name in names[:2])
    # The first start, and one after each pause: with a single start at the limit the socket is given up as well.
    assert 0 < interval // pause + 1 < int(found["StartLimitBurst"]), found


def seconds(text: str) -> float:
    """Return a time as systemctl shows it, such as ``1min 30s``, in seconds."""
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
    parts = re.findall(r"([0-9.]+)(us|ms|s|min|h)\b", text)
    assert parts, text
    return sum(float(number) * units[unit] for number, unit in parts)


def test_master_that_was_killed_is_started(node: Node) -> None:
    pid = master_of(node, A)
    node.run("systemctl", "stop", f"wcp360-php@{A.name}.service", check=False)
    node.run("kill", "-9", pid, check=False)
    time.sleep(0.3)
    done = converge(node, A.pool(), B.pool())
    started = [item["id"] for item in done.items if any("service" in diff["before_header"] for diff in item["diff"])]
    # Under systemd the next request starts it, so there is nothing to do.
    assert bool(started) != has_systemd(node)
    assert node.php(A, "echo 'back';") == "back"
    assert masters(node) == ["alpha", "beta"] and master_of(node, A) != pid


def test_orphans_of_a_killed_master_are_gone(node: Node) -> None:
    waiting = node.begin(A, node.script(A, "busy.php", BUSY), "s=600")
    time.sleep(1)
    orphan = node.run("pgrep", "-u", A.name, "-x", "-f", "php-fpm: pool alpha").strip()
    node.run("kill", "-9", master_of(node, A))
    time.sleep(2)
    converge(node, A.pool(), B.pool())
    if has_systemd(node):  # which gives the orphan as long as any worker gets to end
        time.sleep(20)
    # A zombie has no command line: on a node whose process 1 reaps nothing it stays, and does nothing.
    assert node.run("cat", f"/proc/{orphan}/cmdline", check=False).strip("\0") in ("", NOT_THERE.format(orphan))
    waiting.kill()
    assert node.php(A, "echo 'back';") == "back"
    assert len(node.run("pgrep", "-u", A.name, "-f", "php-fpm: master").split()) == 1


def test_what_php_refuses_only_when_it_runs_has_its_last_words(node: Node) -> None:
    assert node.php(A, "echo 'awake';") == "awake"
    # Root's checker can read what the master of a tenant cannot.
    node.run("chmod", "700", "/etc/wcp360")
    try:
        outcome = converge(node, A.pool(settings={"memory_limit": "96M"}), B.pool())
    finally:
        node.run("chmod", "755", "/etc/wcp360")
    assert "last words" in outcome.messages("tenant:alpha") and "Permission denied" in outcome.messages("tenant:alpha")
    assert not outcome.messages("tenant:beta") and node.php(B, "echo 'well';") == "well"
    healed = converge(node, A.pool(settings={"memory_limit": "96M"}), B.pool())
    assert not healed.messages("tenant:alpha") and node.php(A, "echo ini_get('memory_limit');") == "96M"


def test_forged_pid_record_is_not_believed(node: Node) -> None:
    sleeper = node.start("sleep", "300")
    time.sleep(0.5)
    victim = node.run("pgrep", "-x", "-n", "sleep").strip()
    node.run("sh", "-c", f"test ! -d /run/wcp360/instances || echo '{victim} 1' >/run/wcp360/instances/php-beta.pid")
    converge(node, A.pool(settings={"memory_limit": "96M"}), B.pool(state="suspended"))
    assert sleeper.poll() is None, "A process that was not meant was ended."
    sleeper.kill()
    node.run("kill", victim, check=False)
    node.run("pkill", "-u", B.name, check=False)
    converge(node, A.pool(settings={"memory_limit": "96M"}), B.pool())


def test_boot_starts_the_sockets_of_all_pools_but_the_suspended(node: Node) -> None:
    if not has_systemd(node):
        assert masters(node), "There is nothing that could be started by itself."
        return
    sockets = [f"wcp360-php@{pool.name}.socket" for pool in (A, B)]

    def boot() -> list[str]:
        node.run("systemctl", "stop", *sockets)
        node.run("systemctl", "restart", "wcp360-php-sockets.service")
        return node.run("systemctl", "is-active", *sockets, check=False).split()

    assert boot() == ["active", "active"]
    assert node.run("systemctl", "is-enabled", "wcp360-php-sockets.service").strip() == "enabled"
    done = converge(node, A.pool(settings={"memory_limit": "96M"}), B.pool(state="suspended"))
    assert done.code == 0 and not done.messages("tenant:beta"), done.output
    assert boot() == ["active", "inactive"]
    back = converge(node, A.pool(settings={"memory_limit": "96M"}), B.pool())
    assert back.code == 0 and not back.messages("tenant:beta"), back.output
    assert boot() == ["active", "active"]


def test_pool_that_shall_start_at_boot_and_would_not_is_found(node: Node) -> None:
    if not has_systemd(node):
        assert masters(node), "There is nothing that could be started by itself."
        return
    node.run("rm", "/var/lib/wcp360/php/beta/boot")
    done = twice(node, A.pool(settings={"memory_limit": "96M"}), B.pool())
    assert {item["id"] for item in done.items if item["changed"]} == {"tenant:beta"}


def test_suspended_pool_is_stopped_and_keeps_its_configuration(node: Node) -> None:
    twice(node, A.pool(settings={"memory_limit": "96M"}), B.pool(state="suspended"))
    assert node.php(A, "echo 'awake';") == "awake"
    assert masters(node) == ["alpha"]
    assert "[beta]" in node.run("cat", "/etc/wcp360/php/current/beta.conf")
    assert "boot" not in node.run("ls", "/var/lib/wcp360/php/beta").split()
    twice(node, A.pool(settings={"memory_limit": "96M"}), B.pool())
    assert node.php(B, "echo 'again';") == "again"


def test_one_pool_alone_is_absent_without_a_trace(node: Node) -> None:
    twice(node, B.pool(state="absent"))
    assert masters(node) == ["alpha"]
    found = node.run(
        "find",
        "/etc/wcp360",
        "/etc/systemd",
        "/var/lib/wcp360",
        "/var/log/wcp360",
        "/run",
        "-xdev",
        "-name",
        "*beta*",
        check=False,
    )
    generations = [line for line in found.splitlines() if "/generations/" not in line and "No such" not in line]
    assert generations == []


def test_all_is_absent_without_a_trace(node: Node) -> None:
    refused = node.converge([], php_fpm_server_state="absent")
    assert refused.code != 0 and "alpha" in refused.output
    done = node.converge([A.pool(state="absent")], php_fpm_server_state="absent")
    assert done.code == 0, done.output
    assert masters(node) == []
    left = node.run("sh", "-c", "find /etc /var/lib /var/log -xdev -name '*wcp360*' -o -path '*wcp360*php*'")
    assert [line for line in left.splitlines() if "php" in line] == []


def has_systemd(node: Node) -> bool:
    return "yes" in node.run("sh", "-c", "test -d /run/systemd/system && echo yes; true")
