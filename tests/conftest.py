"""What all tests share: real hosts, the collection as Ansible imports it, and what Ansible packs for a node."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from wcp360.engine.payloads import PAYLOADS_VARIABLE, keep_payloads

ROOT = Path(__file__).parents[1]

pytest_plugins = ["tests.ecosystem.fixtures", "tests.hosts.fixtures", "tests.postgresql", "tests.soak"]


def _importable_collection() -> Path:
    """Return a directory in which the repository root is ansible_collections/wcp360/hosting."""
    base = Path(tempfile.mkdtemp(prefix="wcp360-collections-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    namespace = base / "ansible_collections" / "wcp360"
    namespace.mkdir(parents=True)
    (namespace / "hosting").symlink_to(ROOT)
    return base


def _keep_payloads() -> str:
    """Return a directory for what Ansible packs for a node, so that the roles' tests do not pack it in every run."""
    base = Path(tempfile.mkdtemp(prefix="wcp360-payloads-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    return str(keep_payloads(base, ROOT))


sys.path.insert(0, str(_importable_collection()))
# The workers of pytest-xdist take it over from the process that starts them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ[PAYLOADS_VARIABLE] = _keep_payloads()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that need hosts first: they take long, and short ones at the end keep all workers busy."""
    long = {item.path for item in items if item.get_closest_marker("hosts")}
    items.sort(key=lambda item: item.path not in long)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail where CI leaves a test out: there it has everything that a test may ask for."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") == "true" and skipped and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"CI leaves no test out, but {len(skipped)} were skipped.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
