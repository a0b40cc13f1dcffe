"""What all tests share: real hosts, and the collection under the name by which Ansible imports it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

pytest_plugins = ["tests.hosts.fixtures"]


def _importable_collection() -> Path:
    """Return a directory in which the repository root is ansible_collections/wcp360/hosting."""
    base = Path(tempfile.mkdtemp(prefix="wcp360-collections-"))
    namespace = base / "ansible_collections" / "wcp360"
    namespace.mkdir(parents=True)
    (namespace / "hosting").symlink_to(ROOT)
    return base


sys.path.insert(0, str(_importable_collection()))
