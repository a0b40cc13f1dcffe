"""Logs of Nginx's sites: each line reaches its own site's file, whatever clients and tenants write into it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.fixtures import Host
from tests.roles.test_nginx import Panel, site

pytestmark = [pytest.mark.timeout(300)]
LOGS = "/var/log/wcp360/nginx"
FORGED = '", client: 192.0.2.1, server: victim.test, request: "GET / HTTP/1.1", host: "victim.test'


@pytest.fixture(scope="module")
def panel(new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Panel:
    host = new_host(image="full")
    host.run("useradd -u 20000 -d /home/acme -s /usr/sbin/nologin acme")
    host.run("install -d -o acme -g acme -m 711 /home/acme && install -d -o acme -g www-data -m 750 /home/acme/web")
    panel = Panel(host, tmp_path_factory.mktemp("panel"))
    sites = [site("own.test", php=True), site("victim.test"), site("off.test", state="suspended")]
    done = panel.run([*sites, site("moved.test", redirect="https://own.test/")], server=True)
    assert done.code == 0 and not done.failed(), done.output
    return panel


def log(panel: Panel, name: str, kind: str, wait_for: str = "") -> str:
    """What a site's log holds, as soon as it holds ``wait_for``."""
    for _ in range(20):
        text = panel.host.run(f"cat {LOGS}/{name}/{kind}.log", check=False).stdout
        if wait_for in text:
            return text
        time.sleep(0.2)
    pytest.fail(f"{kind}.log of {name} has no {wait_for!r}: {text[-500:]}")


def ask(panel: Panel, name: str, path: str, *, referrer: str = "") -> None:
    words = f"curl -gs -o /dev/null --path-as-is -H 'Host: {name}' -e '{referrer}' 'http://127.0.0.1{path}'"
    panel.host.run(words)


def test_every_kind_of_site_has_its_lines(panel: Panel) -> None:
    for name in ("own.test", "victim.test", "off.test", "moved.test"):
        ask(panel, name, f"/deep/path-of-{name}.php?x=1")
        assert log(panel, name, "access", f"path-of-{name}").count("path-of-") == 1
    # No master listens: PHP in a directory, whose lines are lost with a variable in access_log's path.
    panel.host.run("install -D -o acme -g www-data /dev/null /home/acme/web/own.test/public/deep/run.php")
    ask(panel, "own.test", "/deep/run.php")
    assert "fpm.sock" in log(panel, "own.test", "error", "run.php")
    log(panel, "own.test", "access", '/deep/run.php HTTP/1.1" 502')
    assert panel.host.run(f"stat -c '%a %U %g' {LOGS}/own.test {LOGS}/own.test/*.log").stdout.split("\n")[:3] == [
        "2750 root 20000",
        "640 root 20000",
        "640 root 20000",
    ]


def test_what_others_write_into_a_line_does_not_reach_a_foreign_log(panel: Panel) -> None:
    encoded = FORGED.replace('"', "%22").replace(" ", "%20")
    ask(panel, "own.test", f"/a{encoded}/x.php/{'b' * 300}")
    ask(panel, "own.test", "/x%0a2026/11/22%2000:00:00%20[error]%201%231:%20*1%20evil" + encoded)
    # Longer than Nginx's line, so that the true name is cut off.
    long = "/%0aevil" + encoded + "/" + "c" * 1900
    ask(panel, "own.test", long + "/")
    ask(panel, "own.test", "/deep/run.php?marker=agree", referrer=f"evil{FORGED}")
    ask(panel, "own.test", "/deep/run.php?marker=honest", referrer="http://own.test/, server: own.test, ")
    own = log(panel, "own.test", "error", "marker=honest")
    assert "marker=agree" not in own, "Which of two names is the true one cannot be known."
    assert "evil" not in log(panel, "victim.test", "access")
    assert panel.host.run(f"cat {LOGS}/victim.test/error.log", check=False).stdout.count("192.0.2.1") == 0
    assert "marker=agree" in panel.host.run("cat /var/log/nginx/error.log").stdout, "The node has no log of it."


def test_nothing_is_lost_by_rotations_restarts_and_a_stopped_service(panel: Panel, tmp_path: Path) -> None:
    script = """
    for i in $(seq 120); do curl -s -o /dev/null -H 'Host: own.test' http://127.0.0.1/number-$i; done &
    load=$!
    for i in 1 2 3; do
        sleep 0.4
        systemctl restart wcp360-nginx-logs
        logrotate -f /etc/logrotate.d/wcp360-nginx
        systemctl reload wcp360-nginx-logs
        sleep 0.6
    done
    systemctl kill -s KILL wcp360-nginx-logs
    systemctl stop wcp360-nginx-logs.service
    curl -s -o /dev/null -H 'Host: own.test' http://127.0.0.1/deep/run.php?while=stopped
    systemctl start wcp360-nginx-logs.service
    wait $load
    """
    panel.host.run(script)
    log(panel, "own.test", "error", "while=stopped")
    log(panel, "own.test", "access", "while=stopped")
    found = panel.host.run(f"cd {LOGS}/own.test; (zcat -f access.log*) | grep -o 'number-[0-9]* '").stdout.split()
    assert sorted(set(found)) == sorted(f"number-{number}" for number in range(1, 121))
    # A kill may repeat what was brought to the sites last, and nothing else may.
    assert len(found) - len(set(found)) < 40
    assert panel.host.run("systemctl is-active wcp360-nginx-logs.service wcp360-nginx-logs.socket").stdout == (
        "active\nactive\n"
    )


def test_run_again_changes_nothing_and_removal_leaves_nothing(panel: Panel) -> None:
    again = panel.run([site("own.test", php=True)], server=True)
    assert again.code == 0 and again.changes() == [], again.output
    gone = [site(f"{name}.test", state="absent", purge=True) for name in ("own", "victim", "off", "moved")]
    done = panel.run(gone, server="absent")
    assert done.code == 0 and not done.failed(), done.output
    left = panel.host.run("find /etc /usr/local /var/log /var/lib /run -xdev -path '*wcp360*'").stdout.split()
    assert left == []
