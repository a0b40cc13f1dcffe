"""Resources: the units of desired state, and what turns them into role variables.

A resource has a kind, a name and a specification. Its resource type compiles that to *role items*: entries of the
lists that the roles take. The items are stored beside the specification; a change is pending on a node for as long
as the items applied there are older than the items wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from wcp360.core.ports import State


class Life(StrEnum):
    """Whether a resource is wanted; ABSENT is a tombstone that holds the name until it is applied everywhere."""

    PRESENT = "present"
    SUSPENDED = "suspended"
    ABSENT = "absent"


class Spec(BaseModel):
    """The base of all specifications: strict, closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The address of a resource, printed as ``kind:name``; role items carry it as their ``id``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read ``kind:name``."""
        kind, _, name = text.partition(":")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class RoleItem:
    """One entry for the request file: ``variable`` is from the fixed list in ``wcp360.core.request``."""

    variable: str
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as stored. ``revision`` counts what was wanted; ``spec`` is the specification of its kind."""

    ref: Ref
    tenant: str | None
    life: Life
    spec: Mapping[str, Any]
    revision: int
    nodes: tuple[str, ...]
    created: str
    updated: str
    purge: bool = False


@dataclass(frozen=True, slots=True)
class ResourceType:
    """What the owner of a kind of resource declares: its specification, and the nodes on which it lives."""

    kind: str
    spec: type[Spec]
    nodes: Callable[[Resource, State], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Renderer:
    """How one module turns a kind of resource into role items; several modules may render the same kind.

    ``items`` compiles the resource, ``depends`` says what must be applied on a node before it. Both are pure
    functions of the desired state, so that the same state always compiles to the same items.
    """

    kind: str
    items: Callable[[Resource, State], tuple[RoleItem, ...]]
    depends: Callable[[Resource, State, str], tuple[Ref, ...]] = field(default=lambda resource, state, node: ())
