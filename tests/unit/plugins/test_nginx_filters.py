"""What reaches an Nginx configuration: every bad value is refused with its name, every good one arrives as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.wcp360.hosting.plugins.filter.nginx import (
    nginx_config_items,
    nginx_directories,
    nginx_failures,
    nginx_probes,
    nginx_removals,
    nginx_sites,
)

DATA = Path(__file__).parents[2] / "data"
OWNER = {"tenant": "acme", "uid": 20000, "gid": 20000}
KEYS = {"domain": "name", "alias": "alias", "redirect_url": "redirect", "document_root": "document_root"}


def inputs(name: str) -> list[tuple[str, Any, str]]:
    entries = json.loads((DATA / name).read_text())
    return [(entry["field"], entry["value"], entry.get("why", "")) for entry in entries if entry["field"] in KEYS]


def site(**more: Any) -> dict[str, Any]:
    (one,) = nginx_sites([{**OWNER, "name": "demo.test", **more}])
    return one


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
    assert nginx_directories([site(**change)], "/logs", 33) == []
    assert nginx_removals([site(**{"state": "absent", **change})], {}, "/logs") == [] or "state" in change


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


def test_what_failed_before_is_not_touched_after() -> None:
    sites = nginx_sites([{**OWNER, "name": "a.test"}, {**OWNER, "name": "b.test", "state": "absent"}])
    results = [{"items": [{"id": "a.test", "failed": True, "msg": "planted link"}]}, {}, {"skipped": True}]
    failures = nginx_failures(results)
    assert failures == {"a.test": "planted link"}
    kept, removed = nginx_config_items(sites, failures)
    assert (kept["refuse"], kept.get("files")) == ("planted link", None)
    assert removed["state"] == "absent"
    assert [probe["id"] for probe in nginx_probes(sites, failures, {})] == ["b.test"]
    assert nginx_removals(sites, {"b.test": "refused"}, "/logs") == []


def test_a_php_site_gets_a_php_page_in_its_own_directories() -> None:
    logs, web = nginx_directories([site(php=True, document_root="a/b")], "/var/log/wcp360/nginx", 33)
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
    web, _ = nginx_removals([one], {}, "/logs")
    assert web["purge"] is meant


def test_ids_in_text_are_numbers() -> None:
    one = site(uid="20000", gid="20001")
    assert (one["refuse"], one["uid"], one["gid"]) == ("", 20000, 20001)


def test_a_redirect_with_other_at_signs_is_fine() -> None:
    assert site(redirect="https://b.test/@@view")["refuse"] == ""
