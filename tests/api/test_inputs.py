"""The samples of bad and good input, against the real server.

Every bad one is refused with its field named and nothing written; every good one is accepted and stored.
"""

from __future__ import annotations

import ast
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.panel import API, Answer, Panel, segment

DATA = Path(__file__).parents[1] / "data"
Sample = dict[str, Any]
_numbers = itertools.count()


def samples(kind: str, field: str) -> list[Any]:
    """Return the samples of one field as test parameters named by their reason."""
    found: list[Sample] = json.loads((DATA / f"{kind}_inputs.json").read_text())
    return [pytest.param(s, id=s["why"][:50]) for s in found if s["field"] == field]


def fresh_name(prefix: str = "t") -> str:
    """Return a tenant name that no test has used."""
    return f"{prefix}{next(_numbers)}x"


def post(panel: Panel, path: str, given: dict[str, Any]) -> Answer:
    """Send JSON, lone surrogates as escapes."""
    body = json.dumps(given, ensure_ascii=True).encode()
    return panel.send("POST", API + path, body, headers={"Content-Type": "application/json"})


@pytest.fixture(scope="module", autouse=True)
def owners(panel: Panel) -> None:
    """Give the tests a tenant to own domains, and another whose domain is taken."""
    panel.submit("tenant.create", name="owner")
    panel.submit("tenant.create", name="victim")
    panel.submit("domain.create", name="victim.com", tenant="victim")


@pytest.fixture(autouse=True)
def nothing_written(panel: Panel, request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare the database before and after every test of a bad input."""
    if "bad" not in request.node.name:
        yield
        return
    before = panel.state_hash()
    yield
    assert panel.state_hash() == before


def refused(answer: Answer, field: str, *statuses: int) -> None:
    """Check a refusal of one field."""
    assert answer.status in (statuses or (422,)), answer
    assert answer.code
    if answer.status == 422:
        assert answer.fields, answer
        assert all(path == field or path.startswith(f"{field}.") for path in answer.fields), answer.fields


@pytest.mark.parametrize("sample", samples("bad", "username"))
def test_bad_username(panel: Panel, sample: Sample) -> None:
    refused(post(panel, "/tenants", {"name": sample["value"]}), "name")
    if isinstance(sample["value"], str) and sample["value"] not in ("", ".", ".."):
        assert panel.send("PATCH", f"{API}/tenants/{segment(sample['value'])}", {}).status in (404, 422)


@pytest.mark.parametrize("sample", [s for s in samples("bad", "domain") if s.values[0]["expect"] == "reject"])
def test_bad_domain(panel: Panel, sample: Sample) -> None:
    taken = sample["value"].endswith("victim.com") and " " not in sample["value"]
    answer = post(panel, "/domains", {"name": sample["value"], "tenant": "owner"})
    refused(answer, "name", *([409] if taken else []))
    given = {"name": "host.example", "tenant": "owner", "aliases": ["fine.example", sample["value"]]}
    refused(post(panel, "/domains", given), "aliases.1", *([409] if taken else []))


@pytest.mark.parametrize("sample", [s for s in samples("bad", "domain") if s.values[0]["expect"] != "reject"])
def test_domains_that_are_normalised(panel: Panel, sample: Sample) -> None:
    answer = post(panel, "/domains?dry_run=true", {"name": sample["value"], "tenant": "owner"})
    assert answer.status == 202
    stored = answer.json["input"]["name"]
    assert stored == {"EXAMPLE.com": "example.com", "münchen.de": "xn--mnchen-3ya.de"}[sample["value"]]


@pytest.mark.parametrize("field", ["redirect_url", "doc_root"])
def test_bad_site_fields(panel: Panel, field: str) -> None:
    name = {"redirect_url": "redirect", "doc_root": "document_root"}[field]
    for parameter in samples("bad", field):
        given = {"name": "site.example", "tenant": "owner", name: parameter.values[0]["value"]}
        refused(post(panel, "/domains", given), name)


@pytest.mark.parametrize("sample", samples("bad", "php_setting"))
def test_bad_php_setting(panel: Panel, sample: Sample) -> None:
    name, _, value = sample["value"].partition("=")
    refused(post(panel, "/tenants", {"name": fresh_name(), "php_settings": {name: value}}), "php_settings")


@pytest.mark.parametrize("field", ["ssh_key", "display_name"])
def test_bad_tenant_fields(panel: Panel, field: str) -> None:
    for parameter in samples("bad", field):
        value = parameter.values[0]["value"]
        if field == "ssh_key":
            refused(post(panel, "/tenants", {"name": fresh_name(), "authorized_keys": [value]}), "authorized_keys.0")
        else:
            refused(post(panel, "/tenants", {"name": fresh_name(), "display_name": value}), "display_name")


@pytest.mark.parametrize("sample", samples("bad", "ansible_extra_key"))
def test_bad_ansible_keys(panel: Panel, sample: Sample) -> None:
    """A caller's key never becomes a variable: it is no field, and no PHP setting."""
    key = sample["value"]
    refused(post(panel, "/tenants", {"name": fresh_name(), key: "/bin/x"}), key)
    refused(post(panel, "/tenants", {"name": fresh_name(), "php_settings": {key: "/bin/x"}}), "php_settings")


@pytest.mark.parametrize("sample", samples("bad", "object_id"))
@pytest.mark.parametrize("collection", ["changes", "previews", "runs"])
def test_bad_object_ids(panel: Panel, sample: Sample, collection: str) -> None:
    answer = panel.send("GET", f"{API}/{collection}/{segment(str(sample['value']))}")
    assert answer.status in (404, 422)
    assert answer.code in ("not_found", "invalid")


@pytest.mark.parametrize("sample", samples("bad", "operation_ident"))
def test_bad_operation_names(panel: Panel, sample: Sample) -> None:
    assert panel.send("GET", f"{API}/operations/{segment(sample['value'])}").status in (404, 422)
    given = {"operations": [{"operation": sample["value"], "input": {}}]}
    refused(post(panel, "/changes", given), "operations.0.operation")


@pytest.mark.parametrize("sample", samples("bad", "api_token"))
def test_bad_tokens(panel: Panel, sample: Sample) -> None:
    value = sample["value"].encode("latin-1")
    for head in (b"Bearer " + value, value, b"Basic cm9vdA0KdGZhX3ZlcmlmaWVkPTE="):
        request = (
            b"GET /api/v1/tenants HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: " + head + b"\r\n\r\n"
        )
        answer = panel.raw(request)
        status, body = answer.split(b" ", 2)[1], json.loads(answer.partition(b"\r\n\r\n")[2])
        # What is not even a header (NUL) is refused by the HTTP parser.
        assert (status, body["code"]) in ((b"401", "unauthenticated"), (b"400", "malformed"))


@pytest.mark.parametrize("sample", samples("bad", "json_body_raw"))
def test_bad_json(panel: Panel, sample: Sample) -> None:
    answer = panel.send(
        "POST", f"{API}/tenants", sample["value"].encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status in (400, 422), answer
    if answer.status == 422:
        assert answer.fields
    else:
        assert answer.code == "malformed"


@pytest.mark.parametrize("sample", samples("bad", "json_body_gen"))
def test_bad_generated_json(panel: Panel, sample: Sample) -> None:
    expression = sample["value"].removeprefix("gen:")
    if expression.startswith("Content-Length"):
        return  # A slow body: test_http.test_slow_requests_are_ended.
    body = _generate(expression)
    answer = panel.send("POST", f"{API}/tenants", body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.code) in ((400, "malformed"), (413, "too_large"))


def _generate(expression: str) -> bytes:
    """Make the body that a sample describes; the few forms are spelled out rather than evaluated."""
    known = {
        "'['*100000+']'*100000": b"[" * 100_000 + b"]" * 100_000,
        "'{\"a\":'*2000+'1'+'}'*2000": b'{"a":' * 2000 + b"1" + b"}" * 2000,
        "'{'+','.join('\"k%d\":1'%i for i in range(200000))+'}'": (
            "{" + ",".join(f'"k{i}":1' for i in range(200_000)) + "}"
        ).encode(),
        "b'{\"a\":1}'.encode('utf-16')": '{"a":1}'.encode("utf-16"),
    }
    return known[expression] if expression in known else ast.literal_eval(expression)


@pytest.mark.parametrize("body", [b'{"a": 1e999}', b'{"a": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}", b'{"\x00": 1}'])
def test_bad_numbers_and_marks(panel: Panel, body: bytes) -> None:
    answer = panel.send("POST", f"{API}/tenants", body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.code) == (400, "malformed")


def test_bad_input_is_judged_quickly(panel: Panel) -> None:
    """No expression of ours backtracks without end: the worst megabyte takes about what a good one takes."""
    for body in (
        b'{"name": "' + b"a" * 1_000_000 + b'"}',
        b"[" * 1_000_000,
        b'"\\' * 500_000,
        b'{"a":"' + b"\\" * 999_999,
    ):
        began = time.monotonic()
        answer = panel.send("POST", f"{API}/tenants", body, headers={"Content-Type": "application/json"})
        assert answer.status in (400, 422)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("sample", samples("good", "username"))
def test_good_username(panel: Panel, sample: Sample) -> None:
    assert post(panel, "/tenants", {"name": sample["value"]}).status == 202
    assert panel.send("GET", f"{API}/tenants/{sample['value']}").json["name"] == sample["value"]


@pytest.mark.parametrize("sample", samples("good", "domain"))
def test_good_domain(panel: Panel, sample: Sample) -> None:
    given = {"name": sample["value"], "tenant": "owner", "aliases": []}
    answer = post(panel, "/domains", given)
    assert answer.status == 202, answer
    assert panel.send("GET", f"{API}/domains/{sample['value']}").json["name"] == sample["value"]


@pytest.mark.parametrize("sample", samples("good", "redirect_url"))
def test_good_redirect(panel: Panel, sample: Sample) -> None:
    name = f"{fresh_name('r')}.example"
    given = {"name": name, "tenant": "owner", "redirect": sample["value"]}
    assert post(panel, "/domains", given).status == 202
    assert panel.send("GET", f"{API}/domains/{name}").json["redirect"] == sample["value"]


@pytest.mark.parametrize("field", ["display_name", "ssh_key", "php_setting"])
def test_good_tenant_fields(panel: Panel, field: str) -> None:
    for parameter in samples("good", field):
        value, name = parameter.values[0]["value"], fresh_name("g")
        given: dict[str, Any] = {
            "display_name": {"display_name": value},
            "ssh_key": {"authorized_keys": [value]},
            "php_setting": {"php_settings": dict([value.split("=", 1)])} if field == "php_setting" else {},
        }[field]
        assert post(panel, "/tenants", {"name": name, **given}).status == 202, value
        stored = panel.send("GET", f"{API}/tenants/{name}").json
        assert {key: stored[key] for key in given} == given


@pytest.mark.parametrize("sample", samples("good", "json_body_raw"))
def test_good_json(panel: Panel, sample: Sample) -> None:
    """The samples have a key ``a``; here its value is a tenant's display name."""
    name = fresh_name("j")
    body = sample["value"].replace('{"a":', f'{{"name":"{name}","display_name":').encode()
    answer = panel.send("POST", f"{API}/tenants", body, headers={"Content-Type": "application/json"})
    assert answer.status == 202
    assert panel.send("GET", f"{API}/tenants/{name}").json["display_name"] == json.loads(sample["value"])["a"]
