"""The READMEs of the roles say what the roles take."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.ecosystem.role_tables import readme, roles, specs, tables

each = pytest.mark.parametrize("role", roles(), ids=lambda role: role.name)


@each
def test_the_tables_are_current(role: Path) -> None:
    assert (role / "README.md").read_text(encoding="utf-8") == readme(role), "run `make docs`"


@each
def test_every_variable_with_a_default_has_the_same_in_both_files(role: Path) -> None:
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8"))
    options = specs(role)["main"]["options"]
    assert set(defaults) == set(options)
    said = {name: option["default"] for name, option in options.items() if "default" in option}
    assert said == {name: defaults[name] for name in said}


@each
def test_entry_points_agree_on_the_variables_that_they_share(role: Path) -> None:
    entries = specs(role)
    for name, entry in entries.items():
        assert (role / "tasks" / f"{name}.yml").is_file()
        shared = entry["options"].keys() & entries["main"]["options"].keys()
        assert [key for key in shared if entry["options"][key] != entries["main"]["options"][key]] == []


def test_a_cell_cannot_break_a_table(tmp_path: Path) -> None:
    meta = tmp_path / "meta"
    meta.mkdir()
    option = {"description": ["One | two", "V(x)\nmore."], "type": "bool", "default": False, "choices": [True, False]}
    entry = {"main": {"short_description": "It", "options": {"it_is": option}}}
    (meta / "argument_specs.yml").write_text(yaml.safe_dump({"argument_specs": entry}))
    row = next(line for line in tables(tmp_path).splitlines() if line.startswith("| `it_is`"))
    assert row == "| `it_is` | bool | `false` | One \\| two `x` more. One of `True`, `False`. |"
