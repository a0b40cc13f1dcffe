# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Bytecode for the payloads that Ansible keeps, so that a node need not compile what it is sent in every task.

Python takes a module's bytecode out of a zip where it is of its own version, else the source beside it
(https://docs.python.org/3/library/zipimport.html); a node with another version works as before.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import zipfile
from dataclasses import replace
from importlib import util
from marshal import dumps

#: PEP 552: no flags but "by hash", which is not compared with the source.
UNCHECKED = (1).to_bytes(4, "little")
DONE = ".bytecode"


def add_bytecode(directory: str) -> None:
    """Add to each payload in ``directory`` what Python made of its sources, once."""
    # Not at the top: the class is Ansible's own, and a version without it must still tell the outcomes.
    from ansible.executor.module_common import _CachedModule

    names = os.listdir(directory)
    for name in sorted(names):
        if f"{name}.lock" in names and name + DONE not in names:
            path = os.path.join(directory, name)
            kept = _CachedModule.load(path)
            replace(kept, zip_data=base64.b64encode(compiled(base64.b64decode(kept.zip_data)))).dump(path)
            os.close(os.open(path + DONE, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def compiled(payload: bytes) -> bytes:
    """Return a zip with everything that ``payload`` holds, and the bytecode of each source beside it."""
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(payload)) as given,
        zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as result,
    ):
        for entry in given.infolist():
            source = given.read(entry)
            result.writestr(entry, source)
            if entry.filename.endswith(".py") and f"{entry.filename}c" not in given.NameToInfo:
                with contextlib.suppress(SyntaxError, ValueError):
                    code = dumps(compile(source, entry.filename, "exec", dont_inherit=True))
                    header = util.MAGIC_NUMBER + UNCHECKED + util.source_hash(source)
                    result.writestr(zipfile.ZipInfo(f"{entry.filename}c", entry.date_time), header + code)
    return written.getvalue()
