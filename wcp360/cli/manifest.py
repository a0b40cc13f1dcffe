"""The manifest: read from the cache while nothing that it is made from has changed, else made anew.

It depends on this version, on the declarations under ``wcp360.core`` and ``wcp360.modules``, and on the installed
entry points ``wcp360.modules``. Asking importlib.metadata for these costs more than a whole command, so the key holds
the modification times of the directories that distributions are installed in: installing one changes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wcp360
from wcp360.cli.exits import Exit, Failure

_SOURCES = ("core", "modules", "wiring.py", "cli/manifest_build.py", "cli/words.py")
BUILD_TIMEOUT = 60
"""Seconds that making the manifest may take; about one on an idle machine."""


def load() -> list[dict[str, Any]]:
    """Return the described operations. Raises Failure where the manifest cannot be made."""
    path = _cache_file()
    if path is not None:
        cached = _read(path)
        if cached is not None:
            return cached
    text = _built()
    if path is not None:
        _keep(path, text)
    operations: list[dict[str, Any]] = json.loads(text)["operations"]
    return operations


def key() -> str:
    """Return the digest of everything that the manifest is made from."""
    digest = hashlib.sha256(f"{wcp360.__version__}\n{sys.version}\n".encode())
    for path in _inputs():
        try:
            found = path.stat()
        except OSError:
            continue
        digest.update(f"{path}\0{found.st_mtime_ns}\0{found.st_size}\n".encode())
    return digest.hexdigest()[:32]


def _inputs() -> Iterator[Path]:
    package = Path(wcp360.__file__).parent
    for source in _SOURCES:
        path = package / source
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]
    for entry in sys.path:
        if entry.endswith("-packages"):
            yield Path(entry)


def _cache_file() -> Path | None:
    """Return where this user keeps the manifest; None where no directory is safely the user's own."""
    base = os.environ.get("XDG_CACHE_HOME") or Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".cache"
    directory = Path(base) / "wcp360"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError:
        return None
    # Under sudo the directory may be another user's, who would then choose what root's commands do.
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        return None
    return directory / f"manifest-{key()}.json"


def _read(path: Path) -> list[dict[str, Any]] | None:
    try:
        operations: list[dict[str, Any]] = json.loads(path.read_text(encoding="ascii"))["operations"]
    except (OSError, ValueError, KeyError):
        return None
    return operations


def _built() -> str:
    argv = [sys.executable, "-m", "wcp360.cli.manifest_build"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise Failure(f"The list of commands could not be made: {last[0]}. Install WCP360 again.", Exit.SERVER_FAULT)
    return done.stdout


def _keep(path: Path, text: str) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        fresh.write_text(text, encoding="ascii")
        fresh.replace(path)
        for old in path.parent.glob("manifest-*.json"):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError:
        # A full or read-only disk makes commands slower, not wrong.
        fresh.unlink(missing_ok=True)
