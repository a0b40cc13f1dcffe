"""Whose processes are ended: all of a tenant's, wherever it hides them, and nobody's in a container."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils.processes import end_processes, user_processes

UID = 54_321
AS_TENANT = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups"]
SLEEP = ["sleep", "300"]
CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", *AS_TENANT, *SLEEP]
PLAIN = [*AS_TENANT, *SLEEP]
HIDDEN = [*AS_TENANT, "unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", *SLEEP]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv)
    deadline = time.monotonic() + 10
    while not sleeping(process.pid):
        assert time.monotonic() < deadline and process.poll() is None, argv
        time.sleep(0.01)
    return process


def sleeping(pid: int) -> bool:
    """Tell whether a process or a child of it sleeps."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        family = [str(pid), *file.read().split()]
    return any(open(f"/proc/{one}/comm", encoding="ascii").read() == "sleep\n" for one in family)


@pytest.fixture
def container() -> Iterator[subprocess.Popen[bytes]]:
    process = start(CONTAINER)
    yield process
    process.kill()
    process.wait()


def test_a_container_of_the_same_uid_is_left_alone(container: subprocess.Popen[bytes]) -> None:
    assert user_processes(UID) == []
    assert end_processes(UID) == []
    plain = start(PLAIN)
    assert user_processes(UID) == [plain.pid]
    assert end_processes(UID) == []
    assert plain.wait(5) == -9
    assert container.poll() is None and sleeping(container.pid)


@pytest.mark.parametrize("argv", [PLAIN, HIDDEN])
def test_a_tenant_does_not_hide(argv: list[str]) -> None:
    process = start(argv)
    assert user_processes(UID)
    assert end_processes(UID) == []
    assert process.wait(5) in (-9, 137)


def test_a_tenant_does_not_hide_behind_a_container(container: subprocess.Popen[bytes]) -> None:
    process = start(HIDDEN)
    assert end_processes(UID) == []
    assert process.wait(5) in (-9, 137)
    assert sleeping(container.pid)
