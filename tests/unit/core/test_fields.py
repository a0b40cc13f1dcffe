"""Every bad value of the sample is refused at the edge, every good one is taken; and the rules beyond the sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from wcp360.core import fields
from wcp360.core.hostnames import is_within, normalise_domain
from wcp360.core.php import PhpSettings

DATA = Path(__file__).parents[2] / "data"
TYPES = {
    "username": fields.TenantName,
    "domain": fields.DomainName,
    "domain_unicode_input": fields.DomainName,
    "redirect_url": fields.RedirectUrl,
    "doc_root": fields.DocumentRoot,
    "ssh_key": fields.SshKey,
    "display_name": fields.DisplayName,
    "object_id": fields.RecordId,
    "operation_ident": fields.RecordId,
    "php_setting": PhpSettings,
}
# These depend on what is stored or configured; tests/api tries them against a server that has it.
STATEFUL = {"panel.example.org", "ns1.panel.example.org", "sub.victim.com", "victim.com"}


def sample(kind: str) -> list[Any]:
    """Return the sample's cases for the types above as pytest parameters."""
    cases = json.loads((DATA / f"{kind}_inputs.json").read_text(encoding="utf-8"))
    return [
        pytest.param(case["field"], case["value"], id=f"{case['field']}: {case['why']}")
        for case in cases
        if case["field"] in TYPES and case.get("expect", "reject") == "reject" and case["value"] not in STATEFUL
    ]


def read(field: str, value: Any) -> Any:
    """Validate a value strictly, as an input model does."""
    if field == "php_setting":
        value = dict([value.split("=", 1)])
    return TypeAdapter(TYPES[field]).validate_python(value, strict=True)


@pytest.mark.parametrize(("field", "value"), sample("bad"))
def test_bad_values_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        read(field, value)


@pytest.mark.parametrize(("field", "value"), sample("good"))
def test_good_values_are_taken(field: str, value: Any) -> None:
    assert read(field, value)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("EXAMPLE.com", "example.com"),
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("中文.中国", "xn--fiq228c.xn--fiqs8s"),
        ("ΒΌΛΟΣ.com", "xn--nxasmq6b.com"),
        ("mu\u0308nchen.de", "xn--mnchen-3ya.de"),
        ("straße.de", "xn--strae-oqa.de"),
    ],
)
def test_domains_are_stored_in_one_form(given: str, stored: str) -> None:
    assert normalise_domain(given) == stored


@pytest.mark.parametrize(
    "name", ["github.io", "example.internal", "a.b.lan", "xn--a.com", "xn--xample-2of.com", "a.0x1f"]
)
def test_more_names_that_nobody_may_have(name: str) -> None:
    with pytest.raises(ValueError):
        normalise_domain(name)


def test_is_within_compares_whole_labels() -> None:
    assert is_within("a.example.com", "example.com")
    assert is_within("example.com", "example.com")
    assert not is_within("badexample.com", "example.com")


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\n", "\x7f", "\u0085", "\u2028", "\u202e", "\ud800"])
def test_no_text_holds_characters_that_forge_output(char: str) -> None:
    with pytest.raises((ValueError, ValidationError)):
        fields.clean_text(f"a{char}b")


def test_refusals_are_sentences_that_say_what_to_do() -> None:
    adapter: TypeAdapter[str] = TypeAdapter(fields.TenantName)
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python("Root!")
    assert "lower-case letters and digits" in str(caught.value)
