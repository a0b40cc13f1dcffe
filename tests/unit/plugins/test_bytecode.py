"""Payloads with bytecode: the same modules, wherever Python is of our version or not."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_collections.wcp360.hosting.plugins.plugin_utils.bytecode import compiled

LOOK = "import sys; sys.path.insert(0, sys.argv[1]); import inner as m; print(m.VALUE, type(m.__loader__).__name__)"


def payload(**sources: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as zipped:
        for name, text in sources.items():
            zipped.writestr(f"{name}.py", text)
    return written.getvalue()


def seen(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return subprocess.run([sys.executable, "-I", "-c", LOOK, path], capture_output=True, text=True, check=True).stdout


def replaced(data: bytes, name: str, content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(written, "w") as result:
        for entry in given.infolist():
            result.writestr(
                entry, content + given.read(entry)[len(content) :] if entry.filename == name else given.read(entry)
            )
    return written.getvalue()


def test_bytecode_is_what_python_takes(tmp_path: Path) -> None:
    made = compiled(payload(inner="VALUE = 'compiled'"))
    assert sorted(zipfile.ZipFile(io.BytesIO(made)).namelist()) == ["inner.py", "inner.pyc"]
    # The source says something else by now: it is not even looked at.
    assert seen(tmp_path / "a.zip", replaced(made, "inner.py", b"VALUE = 'sourced!'")) == "compiled zipimporter\n"


def test_another_version_takes_the_source(tmp_path: Path) -> None:
    made = replaced(compiled(payload(inner="VALUE = 'compiled'")), "inner.pyc", b"\x00\x00\r\n")
    assert seen(tmp_path / "a.zip", replaced(made, "inner.py", b"VALUE = 'sourced!'")) == "sourced! zipimporter\n"


def test_twice_is_once_and_what_is_no_python_stays(tmp_path: Path) -> None:
    made = compiled(payload(inner="VALUE = 1", odd="def ("))
    names = zipfile.ZipFile(io.BytesIO(made)).namelist()
    assert sorted(names) == ["inner.py", "inner.pyc", "odd.py"]
    assert zipfile.ZipFile(io.BytesIO(compiled(made))).namelist() == names
