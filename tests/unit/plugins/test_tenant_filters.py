"""Whether the data of a removed account is deleted for ever depends on one value, which people may give as text."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.filter.tenant import tenant_steps

OPTIONS = {
    **{"group": "tenants", "sftp_group": "sftp", "keys": "/etc/wcp360/ssh"},
    **{"home_base": "/home", "shell": "/usr/sbin/nologin", "skeleton": [], "web_gid": 33},
}


def items_of(key: str, accounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the items of one step."""
    steps = {step["key"]: step for step in tenant_steps(accounts, OPTIONS)}
    items: list[dict[str, Any]] = steps[f"tenant.{key}"]["args"]["items"]
    return items


def gone(**more: Any) -> dict[str, Any]:
    return {"name": "demo", "state": "absent", **more}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("false", False),
        ("no", False),
        ("0", False),
        (0, False),
        (None, False),
        ("true", True),
        ("yes", True),
        (1, True),
    ],
)
def test_purge_in_text_means_what_it_says(given: Any, meant: bool) -> None:
    (tree,) = items_of("homes", [gone(purge=given)])
    assert tree["purge"] is meant
    assert items_of("users", [gone(purge=given)])[0]["refuse"] == ""


def test_nothing_given_keeps_the_data() -> None:
    assert items_of("homes", [gone()])[0]["purge"] is False


@pytest.mark.parametrize("given", ["maybe", "", "falsch", 2, [], ["true"], {}])
def test_what_is_neither_yes_nor_no_refuses_the_account_and_touches_nothing(given: Any) -> None:
    accounts = [gone(purge=given), {"name": "other"}]
    bad, good = items_of("users", accounts)
    assert "demo" in bad["refuse"] and "true or false" in bad["refuse"]
    assert good["refuse"] == ""
    assert [tree["id"] for tree in items_of("homes", accounts)] == ["other"]
