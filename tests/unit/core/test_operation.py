"""The registry takes complete declarations only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import Field

from wcp360.core.declare import query
from wcp360.core.operation import Input, Operation, View, of_server
from wcp360.core.registry import Module, Registry


class Given(Input):
    """An input."""

    name: str = Field(description="A name.")


class Undescribed(Input):
    """An input with a field that says nothing."""

    name: str


def declared() -> Operation:
    return query(
        "thing.show",
        "Show a thing.",
        input=Given,
        result=View,
        function=lambda state, given, actor: View(),
        tenant_of=of_server,
        example={"name": "a"},
        key="name",
    )


def test_a_complete_declaration_is_taken_and_knows_where_it_stands() -> None:
    registry = Registry([Module("things", "Things", operations=(declared(),))])
    assert registry.operation("thing.show").permission == "thing.read"
    assert registry.operation("thing.show").source.startswith(f"{__name__}:")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "Thing.show"}, "object.verb"),
        ({"summary": "Show a thing"}, "full stop"),
        ({"key": "id"}, "not a field"),
        ({"example": {"nme": "a"}}, "example"),
        ({"example": {}}, "example"),
        ({"input": Undescribed}, "no description"),
    ],
)
def test_an_incomplete_declaration_stops_the_process(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Registry([Module("things", "Things", operations=(replace(declared(), **change),))])


def test_nothing_is_declared_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Registry([Module("things", "Things", operations=(declared(), declared()))])
    with pytest.raises(ValueError, match="twice"):
        Registry([Module("things", "Things"), Module("things", "Things")])
