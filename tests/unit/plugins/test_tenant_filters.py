"""Whether the data of a removed account is deleted for ever depends on one value, which people may give as text."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.filter.tenant import tenant_accounts, tenant_trees

OPTIONS = {"home_base": "/home", "shell": "/usr/sbin/nologin", "skeleton": [], "web_gid": 33}
CONVERGED: dict[str, Any] = {"items": [], "accounts": {"demo": {"uid": 20000, "gid": 20000}}}


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
    (tree,) = tenant_trees([gone(purge=given)], CONVERGED, OPTIONS)
    assert tree["purge"] is meant
    assert tenant_accounts([gone(purge=given)], OPTIONS)[0]["refuse"] == ""


def test_nothing_given_keeps_the_data() -> None:
    assert tenant_trees([gone()], CONVERGED, OPTIONS)[0]["purge"] is False


@pytest.mark.parametrize("given", ["maybe", "", "falsch", 2, [], ["true"], {}])
def test_what_is_neither_yes_nor_no_refuses_the_account_and_touches_nothing(given: Any) -> None:
    accounts = [gone(purge=given), {"name": "other"}]
    bad, good = tenant_accounts(accounts, OPTIONS)
    assert "demo" in bad["refuse"] and "true or false" in bad["refuse"]
    assert good["refuse"] == ""
    converged = {"items": [], "accounts": {"other": {"uid": 20001, "gid": 20001}}}
    assert [tree["id"] for tree in tenant_trees(accounts, converged, OPTIONS)] == ["other"]
