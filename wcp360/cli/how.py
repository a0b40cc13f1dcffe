"""How a changing command is carried out: the options that all of them have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

DEFAULT_TIMEOUT = 3600
"""Seconds to wait for a change; a bulk one may take long, and it goes on when the waiting ends."""


@dataclass(frozen=True, slots=True)
class How:
    """The values of these options."""

    dry_run: bool = False
    as_json: bool = False
    wait: bool = True
    verbose: bool = False
    yes: bool = False
    timeout: int = DEFAULT_TIMEOUT

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Take them from the values of a command line; what is not given is None there."""
        return cls(
            dry_run=bool(values.get("dry_run")),
            as_json=bool(values.get("as_json")),
            wait=values.get("wait") is not False,
            verbose=bool(values.get("verbose")),
            yes=bool(values.get("yes")),
            timeout=DEFAULT_TIMEOUT if values.get("timeout") is None else values["timeout"],
        )
