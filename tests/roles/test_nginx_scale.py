"""Many sites (WCP360_SCALE_SITES) at the stock limit of open files; requests while Nginx reloads again and again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.hosts.fixtures import Host
from tests.roles.test_nginx import Panel, site

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]
SITES = int(os.environ.get("WCP360_SCALE_SITES", "500"))
RELOADS = 100 if os.environ.get("WCP360_SOAK") else 30
ASK_ALL = """
import http.client, json, os, sys, time
count, path = int(sys.argv[1]), sys.argv[2]
wrong, link = [], http.client.HTTPConnection("127.0.0.1")
for number in range(count):
    link.request("GET", path, headers={"Host": f"site{number}.test"})
    answer = link.getresponse()
    answer.read()
    if not answer.headers.get("X-Wcp360-Site", "").startswith(f"site{number}.test:"):
        wrong.append(number)
def lines(kind, number):
    try:
        with open(f"/var/log/wcp360/nginx/site{number}.test/{kind}.log") as log:
            return log.read().count(path)
    except OSError:
        return 0
kinds = ("access", "error") if path.endswith(".php") else ("access",)
until = time.monotonic() + 15
missing = [(kind, number) for kind in kinds for number in range(count)]
while missing and time.monotonic() < until:
    missing = [(kind, number) for kind, number in missing if lines(kind, number) != 1]
print(json.dumps({"wrong": wrong[:5], "missing": missing[:5]}))
"""
LOAD = """
import http.client, json, sys, threading, time
bad, done, stop = [], [0], threading.Event()
def client():
    while not stop.is_set():
        try:
            # A connection each: one that is kept may be closed by a worker that ends, which HTTP allows.
            link = http.client.HTTPConnection("127.0.0.1", timeout=20)
            link.request("GET", "/", headers={"Host": "site60.test", "Connection": "close"})
            answer = link.getresponse()
            body = answer.read()
            if answer.status != 200 or b"site60.test" not in body:
                bad.append(answer.status)
            link.close()
        except Exception as error:
            bad.append(repr(error))
        done[0] += 1
clients = [threading.Thread(target=client) for _ in range(4)]
[each.start() for each in clients]
import os
while not os.path.exists("/root/enough"):
    time.sleep(0.1)
stop.set()
[each.join() for each in clients]
print(json.dumps({"bad": bad[:5], "done": done[0]}))
"""
RELOAD = """
pid=$(cat /run/nginx.pid) file=/etc/nginx/wcp360/current/sites/site1.test.conf
for i in $(seq {count}); do
    sed -i "s/client_max_body_size .*;/client_max_body_size $((i + 1))m;/" $file
    kill -HUP $pid
    sleep 0.3
done
touch /root/enough
"""


@pytest.fixture(scope="module")
def panel(new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Panel:
    host = new_host(image="full")
    host.run("useradd -u 20000 -d /home/acme -s /usr/sbin/nologin acme")
    host.run("install -d -o acme -g acme -m 711 /home/acme && install -d -o acme -g www-data -m 750 /home/acme/web")
    panel = Panel(host, tmp_path_factory.mktemp("panel"))
    begun = time.monotonic()
    done = panel.run([site(f"site{number}.test", php=number < 50) for number in range(SITES)], server=True)
    assert done.code == 0 and not done.failed(), done.output[-3000:]
    print(f"{SITES} sites in {time.monotonic() - begun:.1f} s, load {os.getloadavg()[0]:.1f}")
    return panel


def ask_all(panel: Panel, count: int, path: str) -> Any:
    return json.loads(panel.host.run(f"python3 - {count} {path}", stdin=ASK_ALL).stdout)


def test_every_site_works_and_has_its_logs_at_the_stock_limit(panel: Panel) -> None:
    limits = panel.host.run("cat /proc/$(cat /run/nginx.pid)/limits").stdout
    assert next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")) == "1024"
    assert panel.host.run("ulimit -n 1024; nginx -t -q", check=False).returncode == 0
    well = {"wrong": [], "missing": []}
    assert ask_all(panel, SITES, "/first-look") == well
    panel.host.run("systemctl reload nginx && logrotate -f /etc/logrotate.d/wcp360-nginx")
    assert ask_all(panel, SITES, "/second-look") == well
    # No master is there, so each request is an error as well.
    assert ask_all(panel, 50, "/index.php") == well


def test_one_changed_site_among_them_is_served_without_reading_the_others(panel: Panel) -> None:
    begun = time.monotonic()
    done = panel.run([site("site7.test", redirect="https://example.com/")])
    print(f"one of {SITES} in {time.monotonic() - begun:.1f} s, load {os.getloadavg()[0]:.1f}")
    assert done.code == 0 and "domain:site7.test" in {key for key, _diff in done.changes()}, done.output[-2000:]
    assert panel.host.http_get("site7.test")[0] == 301
    assert panel.run([site("site7.test", redirect="https://example.com/")]).changes() == []


def test_no_request_is_lost_over_reloads_while_configurations_change(panel: Panel) -> None:
    panel.host.run("rm -f /root/enough; cat >/root/reload.sh", stdin=RELOAD.format(count=RELOADS))
    panel.host.run("setsid sh /root/reload.sh >/dev/null 2>&1 </dev/null &")
    seen = json.loads(panel.host.run("python3 -", stdin=LOAD).stdout)
    print(f"{seen['done']} requests over {RELOADS} reloads of {SITES} sites")
    assert seen["bad"] == [] and seen["done"] > 200
