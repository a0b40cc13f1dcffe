"""Ansible's payloads, kept across runs.

Ansible packs each of its modules with all that it imports into a zip, once per process: 0.5 s for our largest. It keeps
them in a directory of its own temporary files; the callback ``outcomes`` puts a link to ours in that place. The
directory's name is a digest of what goes into the payloads, so that a stale one is never found. That callback also adds
the bytecode of our own Python to them, which saves a node of the same version most of what importing takes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER, find_spec
from pathlib import Path

PAYLOADS_VARIABLE = "WCP360_PAYLOADS"
FOLDER = "payloads"
SOURCES = ("plugins/modules", "plugins/module_utils")


def keep_payloads(state_dir: Path, collection: Path) -> Path:
    """Return the directory for the payloads of this collection by this Ansible, which exists and is ours alone."""
    digest = hashlib.sha256(MAGIC_NUMBER)
    for folder in SOURCES:
        for path in _files(collection / folder):
            digest.update(f"{path}\0{os.path.getsize(path)}\0".encode() + path.read_bytes())
    spec = find_spec("ansible")
    ansible = Path(spec.origin if spec and spec.origin else "/").parent
    digest.update((ansible / "release.py").read_bytes())
    for path in _files(ansible / "module_utils"):
        found = path.stat()
        digest.update(f"{path}\0{found.st_mtime_ns}\0{found.st_size}\0".encode())
    kept = state_dir / FOLDER / digest.hexdigest()
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    return kept


def forget_payloads(state_dir: Path, collection: Path) -> None:
    """Remove those of other versions; only where no run is on its way."""
    kept = keep_payloads(state_dir, collection)
    for path in kept.parent.iterdir():
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(base, name) for name in sorted(names) if name.endswith(".py"))
