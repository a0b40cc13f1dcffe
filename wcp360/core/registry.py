"""The registry: every module, operation and resource type that this installation has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wcp360.core.errors import NotFound
from wcp360.core.footprint import Footprint, Footprints, Shared
from wcp360.core.operation import Operation
from wcp360.core.resources import Renderer, ResourceType


@dataclass(frozen=True, slots=True)
class Module:
    """What a package under ``wcp360.modules`` (or an entry point ``wcp360.modules``) declares.

    ``roles`` are the roles whose server level it installs; a module without roles is always on. ``footprints`` says
    what the entries that it compiles may touch.
    """

    name: str
    title: str
    operations: tuple[Operation, ...] = ()
    types: tuple[ResourceType, ...] = ()
    renderers: tuple[Renderer, ...] = ()
    roles: tuple[str, ...] = ()
    footprints: Footprints = field(default_factory=Footprints)


class Registry:
    """Operations and resource types by name; refuses an incomplete or repeated declaration."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.modules: dict[str, Module] = {}
        self._operations: dict[str, Operation] = {}
        self._types: dict[str, ResourceType] = {}
        self._renderers: dict[str, list[Renderer]] = {}
        for module in modules:
            self._add(module)

    def _add(self, module: Module) -> None:
        if module.name in self.modules:
            raise ValueError(f"Module {module.name!r} is declared twice.")
        self.modules[module.name] = module
        for operation in module.operations:
            operation.check()
            if operation.name in self._operations:
                raise ValueError(f"Operation {operation.name!r} is declared twice.")
            self._operations[operation.name] = operation
        for kind in module.types:
            if kind.kind in self._types:
                raise ValueError(f"Resource kind {kind.kind!r} is declared twice.")
            self._types[kind.kind] = kind

        for renderer in module.renderers:
            self._renderers.setdefault(renderer.kind, []).append(renderer)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations.values())

    def __len__(self) -> int:
        return len(self._operations)

    def operation(self, name: str) -> Operation:
        """Return the operation, or raise NotFound."""
        try:
            return self._operations[name]
        except KeyError:
            raise NotFound(f"There is no operation {name!r}. `wcp360 operation list` shows all.") from None

    def type_of(self, kind: str) -> ResourceType:
        """Return the resource type; a kind that nobody declares is a fault and raises KeyError."""
        return self._types[kind]

    def footprints(self) -> Footprints:
        """Return what all modules declare that the entries of a request may touch."""
        entries: dict[str, Callable[[Mapping[str, Any]], Footprint]] = {}
        shared: dict[str, Shared] = {}
        for module in self.modules.values():
            entries.update(module.footprints.entries)
            shared.update(module.footprints.shared)
        return Footprints(entries, shared)

    def renderers_of(self, kind: str) -> list[Renderer]:
        """Return what turns a kind of resource into role items, in the order of declaration."""
        return self._renderers.get(kind, [])
