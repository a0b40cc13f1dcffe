"""The collection as it is published: built from the checkout, with everything lying about that may lie about."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ecosystem.tools import ROOT, run

# What a checkout of somebody who works on it holds besides; none of it may be published.
STRAYS = (
    ".env",
    ".venv/bin/python",
    ".vscode/settings.json",
    "dist/wcp360-0.1.0.whl",
    "id_ed25519",
    "LOGBOOK",
    "mine.yml",
    "node_modules/left/index.js",
    "passwords.txt",
    "plugins/filter/.nginx.py.swp",
    "plugins/modules/__pycache__/accounts.cpython-311.pyc",
    "plugins/modules/accounts.py~",
    "REVIEW.md",
    "restore.sh",
    "roles/nginx/.DS_Store",
    "web/wpanel/index.html",
    "wcp360-hosting-0.0.9.tar.gz",
)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files of this checkout, among strays."""
    copy = tmp_path_factory.mktemp("checkout")
    listing = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    for name in STRAYS:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("stray")
    return copy


@pytest.fixture(scope="session")
def tarball(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ansible-galaxy collection build` makes of it."""
    output = tmp_path_factory.mktemp("tarball")
    done = run("ansible-galaxy", "collection", "build", "--output-path", str(output), str(checkout), cwd=output)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = output.glob("*.tar.gz")
    return built


@pytest.fixture(scope="session")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An otherwise empty collections path with the tarball's content."""
    path = tmp_path_factory.mktemp("collections")
    words = ["collection", "install", "--offline", "--collections-path", str(path), str(tarball)]
    done = run("ansible-galaxy", *words, cwd=path, collections=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was installed successfully" in done.stdout
    return path
