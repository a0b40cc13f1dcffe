"""Only names from the fixed list become keys of the request file."""

from __future__ import annotations

import pytest

from wcp360.core.request import build_request
from wcp360.core.resources import RoleItem


def test_items_are_merged_by_variable() -> None:
    items = [
        RoleItem("server", {"nginx": True}),
        RoleItem("nginx_sites", {"name": "a.test"}),
        RoleItem("nginx_sites", {"name": "b.test"}),
    ]
    request = build_request(items)
    assert request["server"] == {"tenant": False, "php_fpm": False, "nginx": True}
    assert [site["name"] for site in request["nginx_sites"]] == ["a.test", "b.test"]
    assert request["tenant_accounts"] == []


@pytest.mark.parametrize(
    "name", ["ansible_connection", "vars", "wcp_request_file", "ansible_python_interpreter", "options"]
)
def test_other_variables_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        build_request([RoleItem(name, {})])


def test_other_roles_are_refused() -> None:
    with pytest.raises(ValueError, match="sshd"):
        build_request([RoleItem("server", {"sshd": True})])
