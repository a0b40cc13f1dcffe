"""Names, texts and shapes: everything that needs no server."""

from __future__ import annotations

import io

import pytest

from wcp360.cli.client import fill
from wcp360.cli.diffs import find, unified
from wcp360.cli.exits import Exit, Failure
from wcp360.cli.given import gather
from wcp360.cli.safe import safe, safe_line, width
from wcp360.cli.words import flag_of, singular


@pytest.mark.parametrize(
    ("noun", "one"),
    [("aliases", "alias"), ("authorized_keys", "authorized_key"), ("php_settings", "php_setting"),
     ("addresses", "address"), ("policies", "policy")],
)  # fmt: skip
def test_a_list_option_is_named_in_the_singular(noun: str, one: str) -> None:
    assert singular(noun) == one


def test_flags_have_hyphens_and_only_lists_are_singular() -> None:
    assert flag_of("document_root", "text") == "--document-root"
    assert flag_of("aliases", "list") == "--alias"
    assert flag_of("address", "text") == "--address"


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\u202eabc", "\x9b31m", "\r", "\u2028", "\ud800", "\x00"])
def test_nothing_that_steers_a_terminal_is_printed(hostile: str) -> None:
    shown = safe(f"a{hostile}b")
    assert all(ord(char) >= 32 for char in shown) and hostile[0] not in shown
    shown.encode("utf-8")


def test_a_line_stays_a_line() -> None:
    assert safe_line("a\nb\tc") == "a\\nb\\tc"


def test_width_counts_columns() -> None:
    assert [width("abc"), width("日本"), width("é"), width("e\u0301")] == [3, 4, 1, 1]


@pytest.mark.parametrize(
    ("key", "path"),
    [("acme", "/t/acme/x"), ("a/b", "/t/a%2Fb/x"), ("..", "/t/%2E%2E/x"), ("ü?#", "/t/%C3%BC%3F%23/x"), ("", "/t//x")],
)
def test_a_key_cannot_leave_its_place_in_the_path(key: str, path: str) -> None:
    assert fill("/t/{name}/x", key) == path


def _parameter(kind: str, **more: object) -> dict[str, object]:
    return {"name": "things", "flag": "--thing", "type": kind, "required": False, "secret": False, **more}


def test_only_what_was_given_is_sent() -> None:
    parameters = [_parameter("list"), _parameter("flag", name="php"), _parameter("text", name="root")]
    assert gather(parameters, {"in_things": (), "in_php": None, "in_root": ""}) == {"root": ""}
    assert gather(parameters, {"in_things": ("a", "b"), "in_php": False, "in_root": None}) == {
        "things": ["a", "b"],
        "php": False,
    }


def test_a_map_takes_pairs_and_can_be_emptied() -> None:
    parameters = [_parameter("map")]
    assert gather(parameters, {"in_things": ("a=1", "b=x=y")}) == {"things": {"a": "1", "b": "x=y"}}
    assert gather(parameters, {"in_things": (), "none_things": True}) == {"things": {}}
    for wrong in ({"in_things": ("a",)}, {"in_things": ("=a",)}, {"in_things": ("a=1",), "none_things": True}):
        with pytest.raises(Failure) as caught:
            gather(parameters, wrong)
        assert caught.value.code == Exit.USAGE


def test_a_secret_is_read_from_a_private_file_only(tmp_path, monkeypatch) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret \n")
    parameters = [_parameter("text", name="password", flag="--password", secret=True, required=True)]
    path.chmod(0o644)
    with pytest.raises(Failure, match="chmod 600"):
        gather(parameters, {"in_password": str(path)})
    path.chmod(0o600)
    assert gather(parameters, {"in_password": str(path)}) == {"password": "s3cret "}
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(Failure, match="--password-file"):
        gather(parameters, {})


def _item(**more: object) -> dict[str, object]:
    return {"resource": "domain:a.test", "task": "", "changed": True, "failed": False, "message": "",
            "not_checked": "", "diff": [], **more}  # fmt: skip


def test_a_preview_is_sorted_into_what_it_takes() -> None:
    diffs = [
        {"name": "package nginx", "before": "", "after": "1.22"},
        {"name": "account demo", "before": "", "after": "uid 20000\n"},
        {"name": "service nginx", "before": "stopped", "after": "running"},
        {"name": "/etc/nginx/a.conf", "before": "listen 8080;\n", "after": "listen 80;\nlisten [::]:80;\n"},
        {"name": "", "before": '{"path": "/e/x", "state": "absent"}', "after": '{"path": "/e/x", "state": "link"}'},
        {"name": "/etc/old", "before": "x\n", "after": ""},
    ]  # fmt: skip
    findings = find([_item(diff=diffs), _item(not_checked="not installed yet"), _item(failed=True, message="no")])
    assert {name: len(found) for name, found in findings.sections.items()} == {
        "Packages": 1, "Accounts": 1, "Services": 1, "Files": 3,
    }  # fmt: skip
    assert findings.ports == ["80"]
    assert findings.sections["Files"][1] == {"name": "/e/x", "before": "", "after": "link"}
    totals = findings.totals
    assert (totals.added, totals.changed, totals.removed, totals.failed, totals.not_checked) == (3, 2, 1, 1, 1)


def test_a_diff_is_unified_and_safe() -> None:
    lines = list(unified("/etc/a", "one\ntwo\n", "one\nthr\x1bee\n"))
    assert lines[:2] == ["--- /etc/a", "+++ /etc/a"]
    assert "-two" in lines and "+thr\\u001bee" in lines
