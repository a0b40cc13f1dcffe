"""What a tenant may say about PHP, and what a pool becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.filter.php_fpm import php_fpm_steps
from ansible_collections.wcp360.hosting.plugins.module_utils.php_settings import SettingError, directives

DATA = Path(__file__).parents[2] / "data"
OPTIONS = {
    "program": "/usr/sbin/php-fpm8.2",
    "tree": "/etc/wcp360/php",
    "state_directory": "/var/lib/wcp360/php",
    "log_directory": "/var/log/wcp360/php",
    "web_gid": 33,
    "max_children": 5,
    "wait": 20,
}
POOL: dict[str, Any] = {"id": "tenant:demo", "name": "demo", "uid": 20000, "gid": 20000, "home": "/home/demo"}


def sample(name: str) -> list[tuple[str, str]]:
    """Return the (setting, value) pairs of the shared sample of inputs."""
    rows = json.loads((DATA / name).read_text(encoding="utf-8"))
    return [tuple(row["value"].split("=", 1)) for row in rows if row["field"] == "php_setting"]


@pytest.mark.parametrize(("name", "value"), sample("bad_inputs.json"))
def test_bad_sample_is_refused_and_named(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name.replace(".", r"\.")):
        directives({name: value})


@pytest.mark.parametrize(("name", "value"), sample("good_inputs.json"))
def test_good_sample_is_taken_as_it_is(name: str, value: str) -> None:
    assert directives({name: value})[0]["value"] == value


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("error_reporting", "E_ALL & ~E_NOTICE", "32759"),
        ("error_reporting", "E_ERROR|E_WARNING", "3"),
        ("error_reporting", 0, "0"),
        ("display_errors", True, "on"),
        ("display_errors", "Off", "off"),
        ("max_execution_time", 3600, "3600"),
        ("memory_limit", "16M", "16M"),
        ("memory_limit", "2G", "2G"),
        ("memory_limit", 134217728, "134217728"),
    ],
)
def test_values_are_written_in_one_way(name: str, value: Any, written: str) -> None:
    assert directives({name: value})[0]["value"] == written


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_limit", "15M"),
        ("memory_limit", "2049M"),
        ("memory_limit", "-1"),
        ("memory_limit", "٣٢M"),
        ("memory_limit", "64M\n"),
        ("max_execution_time", "3601"),
        ("max_execution_time", 1.5),
        ("max_execution_time", True),
        ("max_execution_time", None),
        ("max_execution_time", [30]),
        ("error_reporting", "E_ALL & system('id')"),
        ("error_reporting", "E_NONSENSE"),
        ("error_reporting", "E_ALL &"),
        ("error_reporting", 32768),
        ("date.timezone", 'Europe/Berlin"'),
        ("date.timezone", "../../etc/passwd"),
        ("default_charset", "utf-8; x"),
        ("display_errors", "maybe"),
        ("display_errors", "ﬀ"),
        ("session.cookie_samesite", "lax"),
        ("memory_limit]=1\nphp_value[x", "64M"),
        ("MEMORY_LIMIT", "64M"),
    ],
)
def test_what_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingError):
        directives({name: value})


def test_too_many_are_refused() -> None:
    with pytest.raises(SettingError, match="65"):
        directives({f"x{number}": "1" for number in range(65)})


def items_of(pool: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the items of each step by its key."""
    steps = php_fpm_steps([pool], OPTIONS)
    return {step["key"].removeprefix("php_fpm."): step["args"]["items"] for step in steps}


def test_pool_becomes_items_of_every_module() -> None:
    items = items_of(POOL)
    assert items["written"][0]["files"][0]["path"] == "demo.conf" and items["written"][0]["files"][0]["mode"] == "0640"
    state, log = (entry["directories"][0] for entry in items["made"])
    assert (state["uid"], state["gid"], state["mode"]) == (0, 33, "0710")
    assert (log["uid"], log["gid"], log["mode"]) == (0, 20000, "2750")
    assert items["running"][0]["state"] == "started" and not items["removed"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"name": "demo\n"},
        {"name": "-oops"},
        {"uid": 0},
        {"uid": 33},
        {"gid": 33},
        {"uid": "20000; id"},
        {"uid": True},
        {"uid": None},
        {"home": "/home/demo:/etc"},
        {"home": "/home/../etc"},
        {"home": "home/demo"},
        {"home": '/home/"x'},
        {"home": "/home/demo\n"},
        {"state": "gone"},
    ],
)
def test_pool_of_nobody_touches_nothing(change: dict[str, Any]) -> None:
    items = items_of(POOL | change)
    assert items["written"][0]["refuse"].endswith(".")
    assert not items["running"] and not items["made"] and not items["removed"]


@pytest.mark.parametrize(
    "change", [{"settings": {"extension": "/x.so"}}, {"max_children": 0}, {"max_children": "9999"}]
)
def test_bad_value_keeps_what_was_applied_last(change: dict[str, Any]) -> None:
    if change.get("max_children") == 0:
        change = {"max_children": -1}
    items = items_of(POOL | change)
    assert "demo" in items["written"][0]["refuse"] and items["running"] and not items["made"]


def test_suspended_and_absent() -> None:
    suspended = items_of(POOL | {"state": "suspended"})
    assert suspended["written"][0]["files"] and suspended["running"][0]["state"] == "stopped"
    absent = items_of(POOL | {"state": "absent"})
    assert absent["written"] == [{"id": "tenant:demo", "state": "absent"}] and len(absent["removed"]) == 2
