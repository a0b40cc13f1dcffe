"""Short forms to declare operations, so that declarations show only what differs."""

from __future__ import annotations

import sys
from typing import Any

from wcp360.core.operation import Kind, Operation
from wcp360.core.views import ChangeView


def query(name: str, summary: str, **fields: Any) -> Operation:
    """Declare a query; its permission is ``<object>.read`` unless given."""
    fields.setdefault("permission", f"{name.partition('.')[0]}.read")
    return Operation(name=name, kind=Kind.QUERY, summary=summary, source=_caller(), **fields)


def change(name: str, summary: str, **fields: Any) -> Operation:
    """Declare a change; its permission is ``<object>.write`` unless given, its result the change."""
    fields.setdefault("permission", f"{name.partition('.')[0]}.write")
    return Operation(name=name, kind=Kind.CHANGE, summary=summary, result=ChangeView, source=_caller(), **fields)


def _caller() -> str:
    """Return where the declaration stands, as module and line, for ``operation show``."""
    frame = sys._getframe(2)
    return f"{frame.f_globals['__name__']}:{frame.f_lineno}"
