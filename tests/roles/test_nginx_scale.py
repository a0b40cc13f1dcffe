"""Many sites (WCP360_SCALE_SITES) at the stock limit of open files; requests while Nginx reloads again and again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.hosts.fixtures import Host
from tests.roles.test_nginx import Panel, site

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900)]
# Two open files for each of so many sites would be more than 1,024.
WANTED = int(os.environ.get("WCP360_SCALE_SITES", "0"))
PHP_SITES = 50


@dataclass(frozen=True)
class Size:
    """How many sites, and how many reloads."""

    sites: int
    reloads: int


SIZES = [
    pytest.param(Size(WANTED or 520, 20), id="some"),
    pytest.param(Size(WANTED or 2000, 100), id="many", marks=pytest.mark.soak),
]
ASK_ALL = """
import http.client, json, os, sys, time
count, path = int(sys.argv[1]), sys.argv[2]
wrong, link = [], http.client.HTTPConnection("127.0.0.1")
for number in range(count):
    link.request("GET", path, headers={"Host": f"site{number}.test"})
    answer = link.getresponse()
    answer.read()
    if path.endswith(".php"):
        time.sleep(0.03)  # Nginx drops an error that finds the socket's queue full (net.unix.max_dgram_qlen, often 10)
    if not answer.headers.get("X-Wcp360-Site", "").startswith(f"site{number}.test:"):
        wrong.append(number)
def lines(kind, number):
    try:
        with open(f"/var/log/wcp360/nginx/site{number}.test/{kind}.log") as log:
            return log.read().count(path)
    except OSError:
        return 0
kinds = ("access", "error") if path.endswith(".php") else ("access",)
until = time.monotonic() + 20
missing = [(kind, number) for kind in kinds for number in range(count)]
while missing and time.monotonic() < until:
    missing = [(kind, number) for kind, number in missing if lines(kind, number) != 1]
    time.sleep(0.2)
print(json.dumps({"wrong": wrong[:5], "missing": missing[:5]}))
"""
LOAD = """
import http.client, json, os, threading, time
bad, done, stop = [], {"site60.test": 0, "site0.test": 0}, threading.Event()
def client(name, expected):
    while not stop.is_set():
        try:
            # A connection each: one that is kept may be closed by a worker that ends, which HTTP allows.
            link = http.client.HTTPConnection("127.0.0.1", timeout=20)
            link.request("GET", "/", headers={"Host": name, "Connection": "close"})
            answer = link.getresponse()
            body = answer.read()
            if answer.status != 200 or expected not in body:
                bad.append([name, answer.status])
            link.close()
        except Exception as error:
            bad.append([name, repr(error)])
        done[name] += 1
ways = [("site60.test", b"site60.test"), ("site0.test", b"php answers for site0.test")] * 2
clients = [threading.Thread(target=client, args=way) for way in ways]
[each.start() for each in clients]
until = time.monotonic() + 400
while not os.path.exists("/root/enough") and time.monotonic() < until:
    time.sleep(0.1)
stop.set()
[each.join() for each in clients]
print(json.dumps({"bad": bad[:5], "done": done}))
"""
# Each reload is over when a new connection is answered by what was written for it.
RELOAD = """
file=/etc/nginx/wcp360/current/sites/site1.test.conf
: >/root/reloads
for i in $(seq {count}); do
    sed -i "s/wcp360_item .*;/wcp360_item reload-$i.;/" $file
    kill -HUP $(cat /run/nginx.pid)
    for look in $(seq 200); do
        curl -sI -H 'Host: site1.test' http://127.0.0.1/ | grep -q "reload-$i\\." && echo $i >>/root/reloads && break
        sleep 0.05
    done
done
touch /root/enough
"""
POOL = """
[global]
error_log = /root/pool.log
[acme]
user = acme
group = acme
listen = /var/lib/wcp360/php/acme/fpm.sock
listen.group = www-data
pm = static
pm.max_children = 4
"""


@dataclass(frozen=True)
class Crowd:
    """A node with many sites."""

    panel: Panel
    size: Size


@pytest.fixture(scope="module", params=SIZES)
def crowd(
    request: pytest.FixtureRequest, new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory
) -> Crowd:
    size: Size = request.param
    host = new_host(image="full")
    host.run("useradd -u 20000 -d /home/acme -s /usr/sbin/nologin acme")
    host.run("install -d -o acme -g acme -m 711 /home/acme && install -d -o acme -g www-data -m 750 /home/acme/web")
    panel = Panel(host, tmp_path_factory.mktemp("panel"))
    begun = time.monotonic()
    done = panel.run([site(f"site{number}.test", php=number < PHP_SITES) for number in range(size.sites)], server=True)
    assert done.code == 0 and not done.failed(), done.output[-3000:]
    print(f"{size.sites} sites in {time.monotonic() - begun:.1f} s, load {os.getloadavg()[0]:.1f}")
    script = "<?php usleep(5000); echo 'php answers for ', $_SERVER['SERVER_NAME'];"
    first = "/home/acme/web/site0.test/public/index.php"
    host.run(f"cat >{first}", stdin=script)  # over the page that a new site has; Nginx must be able to read it
    host.run(f"for n in $(seq {PHP_SITES - 1}); do cp -p {first} /home/acme/web/site$n.test/public/; done")
    return Crowd(panel, size)


def ask_all(crowd: Crowd, count: int, path: str) -> Any:
    return json.loads(crowd.panel.host.run(f"python3 - {count} {path}", stdin=ASK_ALL, timeout=300).stdout)


def test_every_site_works_and_has_its_logs_at_the_stock_limit(crowd: Crowd, tell: Callable[[str], None]) -> None:
    tell(f"{crowd.size.sites} sites")
    host, sites = crowd.panel.host, crowd.size.sites
    limits = host.run("cat /proc/$(cat /run/nginx.pid)/limits").stdout
    assert next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")) == "1024"
    assert host.run("ulimit -n 1024; nginx -t -q", check=False).returncode == 0
    well = {"wrong": [], "missing": []}
    assert ask_all(crowd, sites, "/first-look") == well
    host.run("systemctl reload nginx && logrotate -f /etc/logrotate.d/wcp360-nginx")
    assert ask_all(crowd, sites, "/second-look") == well
    # No master is there, so each request is an error as well.
    assert ask_all(crowd, PHP_SITES, "/index.php") == well


def test_one_changed_site_among_them_is_served_without_reading_the_others(
    crowd: Crowd, tell: Callable[[str], None]
) -> None:
    begun = time.monotonic()
    done = crowd.panel.run([site("site7.test", redirect="https://example.com/")])
    tell(f"one of {crowd.size.sites} in {time.monotonic() - begun:.1f} s, load {os.getloadavg()[0]:.1f}")
    assert done.code == 0 and "domain:site7.test" in {key for key, _diff in done.changes()}, done.output[-2000:]
    assert crowd.panel.host.http_get("site7.test")[0] == 301
    assert crowd.panel.run([site("site7.test", redirect="https://example.com/")]).changes() == []


def test_no_request_is_lost_over_reloads_while_configurations_change(crowd: Crowd, tell: Callable[[str], None]) -> None:
    host, reloads = crowd.panel.host, crowd.size.reloads
    host.run("install -d -m 755 /var/lib/wcp360/php /var/lib/wcp360/php/acme && cat >/root/pool.conf", stdin=POOL)
    host.run("php-fpm8.2 --daemonize --fpm-config /root/pool.conf")
    host.run("rm -f /root/enough; cat >/root/reload.sh", stdin=RELOAD.format(count=reloads))
    host.run("setsid sh /root/reload.sh >/dev/null 2>&1 </dev/null &")
    seen = json.loads(host.run("timeout 500 python3 -", stdin=LOAD, timeout=520).stdout)
    tell(f"{seen['done']} requests over {reloads} reloads of {crowd.size.sites} sites")
    assert host.run("cat /root/reloads").stdout.split() == [str(number + 1) for number in range(reloads)]
    assert seen["bad"] == [] and all(count > 5 * reloads for count in seen["done"].values()), seen
