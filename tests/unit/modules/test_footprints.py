"""What the panel declares that a resource touches is what the roles touch."""

from __future__ import annotations

import pytest
from ansible_collections.wcp360.hosting.plugins.filter.nginx import nginx_sites

from wcp360.modules.accounts.footprint import account
from wcp360.modules.webserver.footprint import NGINX, site

# The longest names that RFC 1035 allows, and those about the longest that a file name holds.
LONG = ".".join(["a" * 63] * 3)


@pytest.mark.parametrize("what", ["account", "group", "processes of", "files left by"])
def test_an_account_owns_all_by_whose_names_the_role_tells_of_it(what: str) -> None:
    declared = account({"name": "acme", "home": "/home/acme"})
    assert declared.covers(f"{what} acme") and not declared.covers(f"{what} acme2")


@pytest.mark.parametrize("last", [48, 56, 57, 58, 59, 60, 61])
def test_a_site_s_file_has_the_name_that_the_role_gives_it(last: int) -> None:
    entry = {"name": f"{LONG}.{'b' * last}", "tenant": "acme", "uid": 20000, "gid": 20000, "home": "/home/acme"}
    (made,) = nginx_sites([entry])
    assert made["refuse"] == ""
    assert site(entry).covers(f"{NGINX}/current/{made['file']}")


def test_two_long_names_have_two_files() -> None:
    entries = [{"name": f"{LONG}.{'b' * 60}{end}", "home": "/home/acme"} for end in "cd"]
    first, second = ({path for path in site(entry).paths if path.endswith(".conf")} for entry in entries)
    assert len(first) == len(second) == 1 and first != second
