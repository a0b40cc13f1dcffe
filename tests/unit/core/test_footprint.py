from __future__ import annotations

import pytest

from wcp360.core.footprint import Footprint

ALPHA = Footprint(frozenset({"/home/alpha", "/etc/x/alpha.conf"}), frozenset({"account alpha"}), frozenset({"package"}))


@pytest.mark.parametrize(
    "name",
    [
        "/home/alpha",
        "/home/alpha/web/a (b)",
        "/home/alpha/web (directory 0750)",
        "/etc/x/alpha.conf (0640 root:alpha)",
        "account alpha",
        "package nginx-common",
    ],
)
def test_what_is_declared_is_covered(name: str) -> None:
    assert ALPHA.covers(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/home",
        "/home/alpha2",
        "/home/alpha/../beta",
        "/home/alpha/./x",
        "/home/alpha//x",
        "/home/alpha/",
        "/home/beta (/home/alpha)",
        "home/alpha",
        "/etc/x/alpha.conf.d",
        "/home/alpha\0",
        "account alpha2",
        "account",
        "package",
        "packages x",
        "service ssh",
    ],
)
def test_what_only_looks_like_it_is_not(name: str) -> None:
    assert not ALPHA.covers(name)


@pytest.mark.parametrize("path", ["", "home", "/", "/home/", "/home/../etc", "//etc"])
def test_a_footprint_is_made_of_plain_paths(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be made of"):
        Footprint(frozenset({path}))
