"""How names of fields become names of options."""

from __future__ import annotations

_IRREGULAR = {"aliases": "alias"}


def singular(noun: str) -> str:
    """Return the singular of a field's name: one option adds one entry."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("ies"):
        return noun[:-3] + "y"
    if noun.endswith("sses"):
        return noun[:-2]
    return noun.removesuffix("s")


def flag_of(name: str, kind: str) -> str:
    """Return the option of a field: lists and maps take one entry each time it is given."""
    return "--" + (singular(name) if kind in ("list", "map") else name).replace("_", "-")
