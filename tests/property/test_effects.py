"""The comparison itself: what it has to object to, and what not."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.property.effects import Comparison, Things

SITE = "/etc/nginx/wcp360/current/sites/acme.test.conf"
HOME = "/home/acme"
ACCOUNT = {
    "uid": "20000",
    "gid": "20000",
    "comment": "",
    "home": HOME,
    "shell": "/bin/sh",
    "groups": "wcp360-tenants",
    "password": "locked",
    "expires": "never",
    "hash": "x",
}
ACCOUNT_TEXT = "".join(f"{name} {value}".rstrip() + "\n" for name, value in ACCOUNT.items() if name != "hash")


def file(text: str, mode: str = "0640", owner: str = "0:0") -> dict[str, str]:
    """Return a file as the observer describes it."""
    return {"kind": "file", "mode": mode, "owner": owner, "content": hashlib.sha256(text.encode()).hexdigest()}


def directory(mode: str = "0750", owner: str = "20000:33") -> dict[str, str]:
    """Return a directory as the observer describes it."""
    return {"kind": "directory", "mode": mode, "owner": owner}


def item(name: str, before: str, after: str, **more: Any) -> dict[str, Any]:
    """Return an item of a preview with one difference."""
    diff = [{"name": name, "before": before, "after": after}]
    return {"resource": "domain:acme.test", "task": "t", "changed": True, "failed": False, "diff": diff, **more}


def compare(items: list[dict[str, Any]], before: Things, after: Things) -> list[str]:
    """Return the differences."""
    return Comparison(items, before, after).run()


GOOD = {
    "a file": ([item(SITE, "a", "b")], {SITE: file("a")}, {SITE: file("b")}),
    "a new directory": ([item(HOME, "", "directory 0750 20000:33\n")], {}, {HOME: directory()}),
    "a directory into the trash": (
        [item(HOME, "directory 0750 20000:33\n", "moved to /home/.wcp360-trash\n")],
        {HOME: directory(), f"{HOME}/x": file("x")},
        {"/home/.wcp360-trash/acme-1": directory(), "/home/.wcp360-trash/acme-1/x": file("x")},
    ),
    "a directory into the trash, and what is purged in it": (
        [
            item(f"{HOME}/gone", "directory 0750 20000:33\n", ""),
            item(HOME, "directory 0750 20000:33\n", "moved to /home/.wcp360-trash\n"),
        ],
        {HOME: directory(), f"{HOME}/x": file("x"), f"{HOME}/gone": directory(), f"{HOME}/gone/y": file("y")},
        {"/home/.wcp360-trash/acme-1": directory(), "/home/.wcp360-trash/acme-1/x": file("x")},
    ),
    "an account": ([item("account acme", "", ACCOUNT_TEXT)], {}, {"account acme": ACCOUNT, "group acme": {}}),
    "a service": (
        [item("service nginx", "stopped, disabled\n", "running, generation ab, enabled\n")],
        {"unit nginx.service": {"active": "inactive", "enabled": "disabled"}},
        {
            "unit nginx.service": {"active": "up", "enabled": "enabled"},
            "loaded nginx": {"generation": "ab"},
        },
    ),
    "nothing": ([], {SITE: file("a")}, {SITE: file("a")}),
}
BAD = {
    "a file that nobody predicted": ([], {}, {SITE: file("a")}),
    "a file that went": ([], {SITE: file("a")}, {}),
    "a mode that nobody predicted": ([], {HOME: directory("0750")}, {HOME: directory("0755")}),
    "a prediction that did not come": ([item(SITE, "a", "b")], {SITE: file("a")}, {SITE: file("a")}),
    "another content": ([item(SITE, "a", "b")], {SITE: file("a")}, {SITE: file("c")}),
    "another content before": ([item(SITE, "a", "b")], {SITE: file("x")}, {SITE: file("b")}),
    "another owner with it": ([item(SITE, "a", "b")], {SITE: file("a")}, {SITE: file("b", owner="1:1")}),
    "another directory": ([item(HOME, "", "directory 0750 20000:33\n")], {}, {HOME: directory("0777")}),
    "a trash that lacks something": (
        [item(HOME, "directory 0750 20000:33\n", "moved to /home/.wcp360-trash\n")],
        {HOME: directory(), f"{HOME}/x": file("x")},
        {"/home/.wcp360-trash/acme-1": directory()},
    ),
    "an item that fails and does it all the same": (
        [item(SITE, "a", "b", failed=True)],
        {SITE: file("a")},
        {SITE: file("b")},
    ),
    "another shell": (
        [item("account acme", "", ACCOUNT_TEXT)],
        {},
        {"account acme": {**ACCOUNT, "shell": "/bin/bash"}, "group acme": {}},
    ),
    "another member": (
        [item("account acme", "", ACCOUNT_TEXT)],
        {},
        {"account acme": ACCOUNT, "group acme": {}, "member bolt of sudo": {}},
    ),
    "a service with another generation": (
        [item("service nginx", "stopped, disabled\n", "running, generation ab, enabled\n")],
        {"unit nginx.service": {"active": "inactive", "enabled": "disabled"}},
        {"unit nginx.service": {"active": "up", "enabled": "enabled"}, "loaded nginx": {"generation": "cd"}},
    ),
    "a master with an old configuration": ([], {}, {"loaded php-acme": {"generation": "ab", "written": "cd"}}),
    "a name that nobody knows": ([item("something else", "a", "b")], {}, {}),
}


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_what_was_predicted_is_not_objected_to(case: tuple[Any, Any, Any]) -> None:
    assert compare(*case) == []


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_what_was_not_predicted_is(case: tuple[Any, Any, Any]) -> None:
    assert compare(*case)
