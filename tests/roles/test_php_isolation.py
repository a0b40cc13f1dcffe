"""Two tenants on a real host: what one cannot do to the other's PHP."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.hosts.fixtures import require_hosts
from tests.roles.php_node import ROOT, Node, Tenant, systemd_node

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

A = Tenant("alpha", 20010)
B = Tenant("beta", 20011)
SECRET = "alphas-database-password"
# Not sleep(): a signal would wake it, and the request would end well without having been waited for.
BUSY = (
    "<?php $end = microtime(true) + (float) $_GET['s']; while (microtime(true) < $end) { usleep(1000); } echo 'whole';"
)
STATUS = "echo json_encode(opcache_get_status(true));"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    require_hosts()
    with systemd_node(f"php-isolation-{os.getpid()}", tmp_path_factory.mktemp("node")) as started:
        for tenant in (A, B):
            started.add(tenant)
        outcome = started.converge([A.pool(), B.pool()])
        assert outcome.code == 0 and not any(item["failed"] for item in outcome.items), outcome.output
        yield started


@pytest.fixture(scope="module")
def secret(node: Node) -> str:
    """A's file with a password, in A's opcache."""
    path = node.script(A, "config.php", f"<?php return '{SECRET}';")
    page = node.script(A, "index.php", "<?php echo include 'config.php';")
    # PHP keeps nothing that was written in the last two seconds (opcache.file_update_protection).
    time.sleep(2.5)
    assert node.get(A, page) == SECRET
    return path


def test_each_runs_as_itself(node: Node) -> None:
    for tenant in (A, B):
        assert node.php(
            tenant, "file_put_contents(sys_get_temp_dir() . '/me', ''); echo fileowner(sys_get_temp_dir() . '/me');"
        ) == str(tenant.uid)


def test_foreign_file_cannot_be_included(node: Node, secret: str) -> None:
    for code in (
        f"echo include '{secret}';",
        f"echo file_get_contents('{secret}');",
        f"readfile('php://filter/resource={secret}');",
    ):
        assert SECRET not in node.php(B, code)


def test_foreign_file_is_also_out_of_reach_without_open_basedir(node: Node, secret: str) -> None:
    said = node.run("php", "-r", f"echo include '{secret}';", user=B.name, check=False)
    assert SECRET not in said and "Permission denied" in said


def test_foreign_script_is_not_run_by_ones_own_master(node: Node, secret: str) -> None:
    node.run("chmod", "-R", "a+rX", f"{A.home}/web")
    try:
        assert SECRET not in node.get(B, f"{A.root}/index.php")
    finally:
        node.run("chmod", "-R", "o-rwx", f"{A.home}/web")


def test_opcache_is_ones_own(node: Node, secret: str) -> None:
    before = json.loads(node.php(A, STATUS))
    assert secret in before["scripts"]
    assert secret not in json.loads(node.php(B, STATUS))["scripts"]
    assert node.php(
        B, f"var_dump(@opcache_is_script_cached('{secret}'), @opcache_invalidate('{secret}', true), opcache_reset());"
    )
    time.sleep(1.2)
    after = json.loads(node.php(A, STATUS))
    assert secret in after["scripts"]
    assert after["opcache_statistics"]["start_time"] == before["opcache_statistics"]["start_time"]
    assert after["opcache_statistics"]["last_restart_time"] == before["opcache_statistics"]["last_restart_time"] == 0


def test_sockets_are_closed_to_tenants(node: Node) -> None:
    for name in ("fpm.sock", "status.sock"):
        path = f"/var/lib/wcp360/php/{A.name}/{name}"
        said = node.php(B, f"var_dump(@stream_socket_client('unix://{path}', $e, $t, 2), $t);")
        assert "bool(false)" in said and "Permission denied" in said
        connect = f"import socket; socket.socket(socket.AF_UNIX).connect('{path}')"
        assert "Permission denied" in node.run("python3", "-c", connect, user=B.name, check=False)


def test_tenant_cannot_put_a_link_in_place_of_its_socket(node: Node) -> None:
    for argv in (["rm", "-f", A.socket], ["ln", "-s", B.socket, f"/var/lib/wcp360/php/{A.name}/other.sock"]):
        assert "Permission denied" in node.run(*argv, user=A.name, check=False)


def test_sessions_and_tmp_are_private(node: Node) -> None:
    assert node.php(A, "session_id('abc123'); session_start(); $_SESSION['cart'] = 'alphas cart'; echo 1;") == "1"
    assert "alphas cart" in node.run("cat", f"{A.home}/sessions/sess_abc123")
    assert "alphas cart" not in node.php(B, f"echo @file_get_contents('{A.home}/sessions/sess_abc123');")
    assert node.php(B, "session_id('abc123'); session_start(); echo json_encode($_SESSION);") == "[]"
    for place in ("sessions", "tmp"):
        assert node.php(B, f"var_dump(@scandir('{A.home}/{place}'));").strip() == "bool(false)"
        assert "Permission denied" in node.run("ls", f"{A.home}/{place}", user=B.name, check=False)


def test_log_is_the_tenants_to_read_and_nobodys_to_write(node: Node) -> None:
    node.php(A, "error_log('alpha was here');")
    log = f"/var/log/wcp360/php/{A.name}/error.log"
    assert "alpha was here" in node.run("cat", log, user=A.name)
    assert "Permission denied" in node.run("cat", log, user=B.name, check=False)
    for argv in (["sh", "-c", f"echo x >>{log}"], ["rm", "-f", log], ["touch", f"/var/log/wcp360/php/{A.name}/x"]):
        assert "Permission denied" in node.run(*argv, user=A.name, check=False)


def test_log_is_rotated_without_losing_lines(node: Node) -> None:
    log = f"/var/log/wcp360/php/{A.name}/error.log"
    node.php(A, "error_log('before the rotation');")
    node.run("logrotate", "--force", "/etc/logrotate.d/wcp360-php")
    node.php(A, "error_log('after the rotation');")
    assert "after the rotation" in node.run("cat", log) and "before" not in node.run("cat", log)
    assert "before the rotation" in node.run("zcat", f"{log}.1.gz", user=A.name)


def test_reload_ends_nobodys_request(node: Node) -> None:
    running = [node.begin(tenant, node.script(tenant, "busy.php", BUSY), "s=5") for tenant in (A, B, B)]
    time.sleep(1.0)
    master = node.run("systemctl", "show", "-P", "MainPID", f"wcp360-php@{B.name}.service")
    begun = time.monotonic()
    outcome = node.converge([A.pool(settings={"memory_limit": "96M"}), B.pool()], php_fpm_server_state="unmanaged")
    assert outcome.code == 0 and not outcome.messages("tenant:alpha"), outcome.output
    assert [item["id"] for item in outcome.items if item["changed"]] == ["tenant:alpha"]
    assert [process.communicate(timeout=30)[0] for process in running] == ["whole"] * 3
    assert time.monotonic() - begun > 2, "The requests were over before the reload: the test shows nothing."
    assert node.run("systemctl", "show", "-P", "MainPID", f"wcp360-php@{B.name}.service") == master
    assert node.php(A, "echo ini_get('memory_limit');") == "96M"
    assert node.php(B, "echo ini_get('memory_limit');") == "128M"


def test_processes_of_others_are_not_seen(node: Node) -> None:
    pid = node.run("systemctl", "show", "-P", "MainPID", f"wcp360-php@{A.name}.service").strip()
    seen = f"nsenter -t {node.run('systemctl', 'show', '-P', 'MainPID', f'wcp360-php@{B.name}.service').strip()} -m"
    said = node.run(*seen.split(), "runuser", "-u", B.name, "--", "ls", f"/proc/{pid}/", check=False)
    assert "No such file" in said or "Permission denied" in said


def test_shared_memory_is_ones_own(node: Node) -> None:
    spaces = {node.php(tenant, "echo shell_exec('readlink /proc/self/ns/ipc');").strip() for tenant in (A, B)}
    assert all(space.startswith("ipc:[") for space in spaces), spaces
    assert len({*spaces, node.run("readlink", "/proc/self/ns/ipc").strip()}) == 3


def test_units_stand_in_the_tenants_slice(node: Node) -> None:
    for tenant in (A, B):
        shown = node.run(
            "systemctl", "show", "-p", "Slice,User,NoNewPrivileges,PrivateTmp", f"wcp360-php@{tenant.name}.service"
        )
        for line in (
            f"Slice=wcp360-{tenant.name}.slice",
            f"User={tenant.name}",
            "NoNewPrivileges=yes",
            "PrivateTmp=yes",
        ):
            assert line in shown


def test_suspension_ends_the_slice_only_when_nothing_else_is_in_it(node: Node) -> None:
    def state(unit: str) -> str:
        return node.run("systemctl", "is-active", unit, check=False).strip()

    node.run("systemd-run", "--unit=beside", f"--slice=wcp360-{B.name}.slice", "sleep", "600")
    node.converge([B.pool(state="suspended")], php_fpm_server_state="unmanaged")
    assert (state("beside"), state(f"wcp360-php@{B.name}.socket")) == ("active", "inactive")
    node.converge([B.pool()], php_fpm_server_state="unmanaged")
    node.run("systemctl", "stop", "beside")
    node.converge([B.pool(state="suspended")], php_fpm_server_state="unmanaged")
    assert (state(f"wcp360-{B.name}.slice"), state(f"wcp360-{A.name}.slice")) == ("inactive", "active")
    node.converge([B.pool()], php_fpm_server_state="unmanaged")
    assert node.php(B, "echo 'back';") == "back"


def test_example_of_the_readme_runs_with_stock_ansible(node: Node) -> None:
    readme = (ROOT / "roles/php_fpm/README.md").read_text(encoding="utf-8")
    [play] = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)[0])
    demo = Tenant("demo", 20000)
    variables = {"php_fpm_extensions": ["opcache"], "php_fpm_memory_max": "{{ 256 * 2 }}M"}
    done = node.play(yaml.safe_dump([play | {"hosts": "all", "gather_facts": False}]), variables)
    assert done.code == 0, done.output
    node.run("install", "-d", "-m", "750", "-o", "demo", "-g", "www-data", os.path.dirname(demo.root), demo.root)
    assert node.php(demo, "echo ini_get('memory_limit'), ' ', date_default_timezone_get();") == "256M Europe/Berlin"
    assert "536870912" in node.run("systemctl", "show", "-p", "MemoryMax", "wcp360-php@demo.service")
