"""The panel's edge and the role take the same PHP settings: one list in two places, held together here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from wcp360.core.php import SETTINGS, check_settings

ROLE_LIST = Path(__file__).parents[3] / "plugins" / "module_utils" / "php_settings.py"
VALUES = [
    "16M",
    "15M",
    "2G",
    "3G",
    "1K",
    "1k",
    "0",
    "1",
    "01",
    "5",
    "60",
    "100",
    "1000",
    "1001",
    "3600",
    "3601",
    "86400",
    "32767",
    "32768",
    "99999999999",
    "-1",
    "on",
    "Off",
    "TRUE",
    "yes",
    "no",
    "maybe",
    "Lax",
    "lax",
    "Strict",
    "None",
    "UTC",
    "Europe/Berlin",
    "America/Argentina/Ushuaia",
    "europe/berlin",
    "E_ALL",
    "E_ALL&~E_NOTICE",
    "E_NOTHING",
    "~E_STRICT",
    "E_ALL|E_STRICT",
    "UTF-8",
    "utf-8;",
    ".x",
    "/etc/passwd",
    "٥",
    "1٥M",
]
ODD = ["", " ", "64M\n", "64M ", "E_ALL & ~E_NOTICE", "E_ALL &  E_NOTICE", "on\nopen_basedir=none", "a" * 65, "0x10"]


@pytest.fixture(scope="module")
def role() -> ModuleType:
    spec = importlib.util.spec_from_file_location("role_php_settings", ROLE_LIST)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def takes(check: object, name: str, value: str) -> bool:
    try:
        check({name: value})  # type: ignore[operator]
    except ValueError:
        return False
    return True


def test_both_know_the_same_settings(role: ModuleType) -> None:
    assert set(SETTINGS) == set(role.SETTINGS)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_both_judge_alike(role: ModuleType, name: str) -> None:
    values = [*VALUES, *ODD]
    ours = [value for value in values if takes(check_settings, name, value)]
    assert ours == [value for value in values if takes(role.directives, name, value)]
    assert ours, "the corpus has no value that this setting takes"
    assert len(ours) < len(values)


@pytest.mark.parametrize("name", ["open_basedir", "disable_functions", "extension", "sendmail_path", "error_log", "x"])
def test_settings_that_open_walls_are_not_on_the_list(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be set"):
        check_settings({name: "1"})
