"""What all tests share: real hosts, and the collection under the name by which Ansible imports it."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

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


sys.path.insert(0, str(_importable_collection()))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail where CI leaves a test out: there it has everything that a test may ask for."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") == "true" and skipped and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"CI leaves no test out, but {len(skipped)} were skipped.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
