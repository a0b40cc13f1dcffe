"""Ansible's own command line tools, run as a user of the collection runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
#: Where the checkout is wcp360.hosting; tests/conftest.py makes it.
COLLECTIONS = next(path for path in map(Path, sys.path) if (path / "ansible_collections/wcp360/hosting").exists())


def run(
    tool: str, *words: str, cwd: Path, collections: Path = COLLECTIONS, timeout: int = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's tools in a directory that is its home, too; nothing of the caller's settings gets in."""
    settings = {
        "PATH": f"{TOOLS}:{os.environ['PATH']}",
        "HOME": str(cwd),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_DEVEL_WARNING": "false",
    }
    return subprocess.run(
        [str(TOOLS / tool), *words],
        cwd=cwd,
        env=settings | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
