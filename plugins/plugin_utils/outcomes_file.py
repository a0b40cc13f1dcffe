# SPDX-License-Identifier: MIT
"""The private file in which a program that started the run reads what each task really did."""

from __future__ import annotations

import json
import os
from typing import Any

VARIABLE = "WCP360_OUTCOMES_FILE"


class OutcomesFile:
    """Appends JSON lines to the file that the environment names; does nothing where it names none."""

    def __init__(self) -> None:
        self._path = os.environ.get(VARIABLE, "")
        self._file: int | None = None

    @property
    def wanted(self) -> bool:
        """Whether somebody reads outcomes."""
        return bool(self._path)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line, whole: a reader never sees two mixed."""
        if not self._path:
            return
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(self._path, flags, 0o600)
        left = memoryview(json.dumps(line, default=str).encode("utf-8", "surrogateescape") + b"\n")
        while left:
            left = left[os.write(self._file, left) :]

    def sync(self) -> None:
        """Have what was written survive a power cut."""
        if self._file is not None:
            os.fsync(self._file)
