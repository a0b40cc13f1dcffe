"""What reaches an Nginx configuration: every bad value is refused with its name, every good one arrives as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.filter.nginx import (
    nginx_failures,
    nginx_removals,
    nginx_sites,
    nginx_steps,
)

OPTIONS = {
    **{"tree": "/etc/nginx/wcp360", "log_directory": "/logs", "web_gid": "33", "port": "80"},
    **{"probe": True, "ipv6": True, "shared": [], "entries": [], "scan": None, "checker": None},
    "instance": {"id": "server:nginx", "name": "nginx"},
}
DATA = Path(__file__).parents[2] / "data"
OWNER = {"tenant": "acme", "uid": 20000, "gid": 20000}
KEYS = {"domain": "name", "alias": "alias", "redirect_url": "redirect", "document_root": "document_root"}


def inputs(name: str) -> list[tuple[str, Any, str]]:
    entries = json.loads((DATA / name).read_text())
    return [(entry["field"], entry["value"], entry.get("why", "")) for entry in entries if entry["field"] in KEYS]


def site(**more: Any) -> dict[str, Any]:
    (one,) = nginx_sites([{**OWNER, "name": "demo.test", **more}])
    return one


def items_of(key: str, *sites: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the items of one step."""
    steps = {
        step["key"]: step for step in nginx_steps([{**OWNER, "name": "demo.test", **more} for more in sites], OPTIONS)
    }
    items: list[dict[str, Any]] = steps[f"nginx.{key}"]["args"]["items"]
    return items


def with_field(field: str, value: Any) -> dict[str, Any]:
    return site(aliases=[value]) if field == "alias" else site(**{KEYS[field]: value})


@pytest.mark.parametrize(("field", "value", "why"), inputs("bad_inputs.json"))
def test_bad_values_are_refused_or_harmless(field: str, value: Any, why: str) -> None:
    one = with_field(field, value)
    if not one["refuse"]:
        # Whose name it is and where a URL may lead are the panel's rules; here it must only be a plain word.
        assert re.fullmatch(r"[a-z0-9.-]*|https?://[a-z0-9.:/-]+", str(value), re.ASCII), (
            f"{value!r} went through ({why})"
        )


@pytest.mark.parametrize(("field", "value", "why"), inputs("good_inputs.json"))
def test_good_values_arrive_unchanged(field: str, value: Any, why: str) -> None:
    one = with_field(field, value)
    if str(value).isascii() and str(value) == str(value).lower():
        assert one["refuse"] == "", why
        assert value in (one["name"], *one["aliases"], one["redirect"], one["document_root"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "a.test; return 200 x"}, "'a.test; return 200 x'"),
        ({"name": "a.test\n"}, "'a.test\\n'"),
        ({"name": "$hostname.test"}, "$hostname"),
        ({"name": "٣.test"}, "٣"),
        ({"name": "_"}, "'_'"),
        ({"name": "1.2.3.4"}, "'1.2.3.4'"),
        ({"name": f"{'a' * 64}.test"}, "a" * 64),
        ({"aliases": ["ok.test", "a b.test"]}, "'a b.test'"),
        ({"aliases": "a.test"}, "'a.test'"),
        ({"tenant": "../x"}, "'../x'"),
        ({"uid": 0}, "0"),
        ({"uid": "2e4"}, "'2e4'"),
        ({"uid": 20000.5}, "20000.5"),
        ({"php": "maybe"}, "'maybe'"),
        ({"purge": "0x"}, "'0x'"),
        ({"purge": [True]}, "purge"),
        ({"gid": True}, "True"),
        ({"home": "/home/../etc"}, "'/home/../etc'"),
        ({"home": "home"}, "'home'"),
        ({"document_root": "../other"}, "'../other'"),
        ({"document_root": "a b"}, "'a b'"),
        ({"document_root": ".ssh"}, "'.ssh'"),
        ({"redirect": "https://b/$nosuch"}, "$nosuch"),
        ({"redirect": 'https://b/"; }'}, "https://b/"),
        ({"redirect": "https://b/\\r\\nSet-Cookie: x"}, "Set-Cookie"),
        ({"redirect": "https://b:99999/"}, "99999"),
        ({"redirect": "https://[::1/"}, "[::1"),
        ({"redirect": "/relative"}, "/relative"),
        ({"redirect": "https://b/@@WCP360_ITEM@@"}, "@@WCP360_ITEM@@"),
        ({"redirect": "https://b/?x=@@WCP360_GENERATION@@"}, "@@WCP360_GENERATION@@"),
        ({"state": "paused"}, "'paused'"),
    ],
)
def test_the_sentence_names_the_value(change: dict[str, Any], word: str) -> None:
    assert word in site(**change)["refuse"]
    assert items_of("made", change) == []
    assert items_of("removed", {"state": "absent", **change}) == [] or "state" in change


def test_defaults_and_derived_values() -> None:
    one = site(aliases=["www.demo.test", "demo.test", "www.demo.test"])
    assert one["id"] == "demo.test"
    assert one["names"] == ["demo.test", "www.demo.test"]
    assert one["web"] == "/home/acme/web/demo.test"
    assert one["file"] == "sites/demo.test.conf"


def test_the_longest_names_get_files_of_their_own() -> None:
    stem = ".".join(["a" * 63] * 3)
    files = [site(name=f"{stem}.{letter * 56}.test")["file"] for letter in "bc"]
    assert len(set(files)) == 2
    assert all(len(name.removeprefix("sites/").encode()) <= 255 for name in files)


def test_a_refused_site_is_listed_for_its_sentence_only() -> None:
    refused, removed = items_of("written", {"uid": 0}, {"name": "b.test", "state": "absent"})
    assert "0" in refused["refuse"] and "files" not in refused
    assert removed["state"] == "absent"
    assert [probe["id"] for probe in items_of("probed", {"uid": 0}, {"name": "b.test", "state": "absent"})] == [
        "b.test"
    ]


def test_failures_of_several_results() -> None:
    results = [{"items": [{"id": "a.test", "failed": True, "msg": "planted link"}]}, {}, {"skipped": True}]
    assert nginx_failures(results) == {"a.test": "planted link"}


def test_a_php_site_gets_a_php_page_in_its_own_directories() -> None:
    logs, web = items_of("made", {"php": True, "document_root": "a/b"})
    assert logs["directories"] == [{"path": "demo.test", "mode": "2750", "uid": 0, "gid": 20000}]
    assert [entry["path"] for entry in web["directories"]] == [
        "acme/web/demo.test",
        "acme/web/demo.test/a",
        "acme/web/demo.test/a/b",
    ]
    assert web["seeds"][0]["path"] == "acme/web/demo.test/a/b/index.php"


@pytest.mark.parametrize(
    ("given", "meant"), [("false", False), ("no", False), (0, False), (None, False), ("yes", True)]
)
def test_yes_and_no_in_text_mean_what_they_say(given: Any, meant: bool) -> None:
    one = site(state="absent", purge=given, php=given)
    assert (one["refuse"], one["php"], one["purge"]) == ("", meant, meant)
    web, _ = nginx_removals([{**OWNER, "name": "demo.test", "state": "absent", "purge": given}], "/logs")
    assert web["purge"] is meant


def test_ids_in_text_are_numbers() -> None:
    one = site(uid="20000", gid="20001")
    assert (one["refuse"], one["uid"], one["gid"]) == ("", 20000, 20001)


def test_a_redirect_with_other_at_signs_is_fine() -> None:
    assert site(redirect="https://b.test/@@view")["refuse"] == ""
