"""Blast radius: which paths, accounts and units belong to an entry of the request, and so may change because of it.

Modules declare a footprint for each variable of their roles, beside the functions that compile to it. The engine
compares what a run predicts with what its batch declares, before anything is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Ansible modules head a difference of attributes with them in parentheses behind the path.
_ATTRIBUTES = re.compile(r"(?P<path>/.*) \([^()/]*\)", re.ASCII | re.DOTALL)

# What a killed run left of a file that it was replacing has this behind the file's name, and is taken away by the next.
UNFINISHED = "~"


@dataclass(frozen=True, slots=True)
class Footprint:
    """``paths`` are directories or files with all that is below; ``names`` other things by the name a run gives them.

    ``kinds`` are first words of such names, of which any may be meant, as in ``package``: what a package brings along
    only the distribution knows.

    Paths are compared as they are written. Links are not followed here: that none is followed where a tenant could
    have planted it is the care of the Ansible modules.
    """

    paths: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        unsound = [path for path in self.paths if not is_plain(path)]
        if unsound:
            raise ValueError(f"A footprint cannot be made of {unsound[0]!r}: give an absolute path without . and ..")

    def __or__(self, other: Footprint) -> Footprint:
        return Footprint(self.paths | other.paths, self.names | other.names, self.kinds | other.kinds)

    def covers(self, name: str) -> bool:
        """Tell whether what a run names belongs to this footprint."""
        if name in self.names or (" " in name and name.partition(" ")[0] in self.kinds):
            return True
        headed = _ATTRIBUTES.fullmatch(name)
        path = headed["path"] if headed else name
        return is_plain(path) and any(
            path in (own, own + UNFINISHED) or path.startswith(f"{own}/") for own in self.paths
        )


@dataclass(frozen=True, slots=True)
class Shared:
    """What entries of a role have in common: ``always`` with any entry of it, ``server`` with its server level."""

    always: Footprint = Footprint()
    server: Footprint = Footprint()


@dataclass(frozen=True, slots=True)
class Footprints:
    """All that is declared: by variable of the request what an entry has, by role what its entries share."""

    entries: Mapping[str, Callable[[Mapping[str, Any]], Footprint]] = field(default_factory=dict)
    shared: Mapping[str, Shared] = field(default_factory=dict)


def tree_of(path: str) -> set[str]:
    """Return the directories of a tree of configuration themselves, without what lies in them."""
    return {path, f"{path}/current", f"{path}/generations"}


def is_plain(path: str) -> bool:
    """Tell whether a path is absolute and means what it says: no empty part, no ``.``, no ``..``, no NUL."""
    parts = path.split("/")
    return (
        len(parts) > 1 and not parts[0] and all(part not in ("", ".", "..") for part in parts[1:]) and "\0" not in path
    )
