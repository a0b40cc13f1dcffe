# SPDX-License-Identifier: MIT
"""What fault a test asks for, if one does."""

from __future__ import annotations

import os
from collections.abc import Callable

FAULT_VARIABLE = "WCP360_FAULT"


def taken(wants: Callable[[str], bool]) -> str:
    """Return the fault that a test asks for, as ``kind:point``, where ``wants`` takes its point; else nothing.

    E(WCP360_FAULT) holds the fault, or ``@`` and a file that holds it: that one is taken away and happens once.
    """
    armed = os.environ.get(FAULT_VARIABLE, "")
    try:
        if armed.startswith("@"):
            with open(armed[1:], encoding="ascii") as file:
                fault = file.read().strip()
            if not wants(fault.partition(":")[2]):
                return ""
            os.rename(armed[1:], armed[1:] + ".done")
            return fault
    except FileNotFoundError:
        return ""
    return armed if wants(armed.partition(":")[2]) else ""
