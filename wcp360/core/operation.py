"""An operation: something that can be asked of WCP360, declared once as a frozen value.

REST route, OpenAPI document, CLI command, permission check, audit entry and docs page are derived from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from wcp360.core.actor import Actor
    from wcp360.core.ports import State


class Kind(StrEnum):
    """What an operation does: a QUERY reads, a CHANGE changes desired state, a TASK is long work of its own."""

    QUERY = "query"
    CHANGE = "change"
    TASK = "task"


class Input(BaseModel):
    """The base of all inputs: unknown fields are refused, types are not bent.

    ``most_bytes`` is how large the request that carries it may be.
    """

    most_bytes: ClassVar[int] = 2**20

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class View(BaseModel):
    """The base of all results."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Function = Callable[["State", Any, "Actor"], Any]
TenantOf = Callable[["State", Any], "str | None"]


def of_server(state: State, given: Any) -> None:
    """Own an operation by the server itself: only actors without a tenant scope may call it."""


def of_actor(state: State, given: Any) -> str | None:
    """Mark a list whose function filters by the actor's scope itself."""
    return ANY_TENANT


ANY_TENANT = "*"


@dataclass(frozen=True, slots=True)
class Operation:
    """The declaration.

    ``name`` is ``object.verb``; ``key`` names the input field that addresses the object (part of the path);
    ``tenant_of`` finds the owning tenant; ``conflicts`` lists the codes of the 409 answers that it can give;
    ``prepare`` does I/O that must happen before the transaction (it returns the input, completed);
    ``confirm`` makes the CLI ask for the object's name first.
    """

    name: str
    kind: Kind
    summary: str
    permission: str
    input: type[Input]
    result: type[View]
    function: Function
    tenant_of: TenantOf
    example: Mapping[str, Any]
    key: str = ""
    conflicts: tuple[str, ...] = ()
    prepare: Callable[[Any, Actor], Any] | None = None
    confirm: bool = False
    source: str = field(default="", compare=False)

    @property
    def object(self) -> str:
        """The noun of the name."""
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        """The verb of the name."""
        return self.name.partition(".")[2]

    @property
    def command(self) -> str:
        """The CLI command that the operation becomes."""
        return f"wcp360 {self.object} {self.verb.replace('_', '-')}"

    def check(self) -> None:
        """Raise ValueError unless the declaration is complete; the registry calls it at import."""
        if re.fullmatch(r"[a-z]+\.[a-z_]+", self.name, re.ASCII) is None:
            raise ValueError(f"Operation name {self.name!r} is not of the form object.verb.")
        if not self.summary.endswith("."):
            raise ValueError(f"{self.name}: the summary must be a sentence that ends with a full stop.")
        if self.key and self.key not in self.input.model_fields:
            raise ValueError(f"{self.name}: key {self.key!r} is not a field of {self.input.__name__}.")
        missing = [name for name, info in self.input.model_fields.items() if not info.description]
        if missing:
            raise ValueError(f"{self.name}: these input fields have no description: {', '.join(missing)}.")
        try:
            self.input.model_validate(dict(self.example), strict=False)
        except ValueError as error:
            raise ValueError(f"{self.name}: its example is not a valid input: {error}") from error
