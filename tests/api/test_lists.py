"""Every list over HTTP: pages join to the whole in each order that it declares, and cursors stay with their list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import urlencode

import pytest

from tests.api.panel import API, Panel, running
from wcp360.core.ids import new_id
from wcp360.core.listing import By, ListInput
from wcp360.core.operation import Operation
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.routes import route_of
from wcp360.core.views import FileDiff, Page, PredictedItem, RecordStatus
from wcp360.wiring import build_registry

LISTS = sorted((o for o in build_registry() if o.verb == "list"), key=lambda operation: operation.name)
every = pytest.mark.parametrize("operation", LISTS, ids=lambda operation: operation.name)
DIFF = "the text of a difference"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """Return a panel with several of everything that can be listed."""
    with running(tmp_path_factory.mktemp("lists")) as panel:
        panel.submit("node.create", name="second", connection="local")
        for name in ("acme", "bolt", "corp", "dune"):
            panel.submit("tenant.create", name=name)
            panel.submit("domain.create", name=f"{name}.example", tenant=name)
            panel.send("POST", f"{API}/tenants/{name}/suspend?dry_run=true")
        ledger = panel.system.ledger
        items = [
            PredictedItem(resource="x", changed=True, failed=False, diff=[FileDiff(name="f", before="", after=DIFF)])
        ]
        for preview in ledger.preview_queue():
            ledger.begin_preview(preview, "test", 60)
            ledger.finish_preview(preview, RecordStatus.SUCCEEDED, "", items, True)
        for status, shell in ((TargetStatus.FAILED, "/bin/sh"), (TargetStatus.APPLIED, "/bin/bash")):
            targets = ledger.pending("local")
            run = ledger.begin_run("local", targets, correlation=new_id())
            ledger.record(run, [TargetOutcome(t.ref, t.wanted, status, "Said so.") for t in targets])
            ledger.finish_run(run, RecordStatus.SUCCEEDED, "", items)
            panel.submit("tenant.update", name="bolt", shell=shell)
        yield panel


def get(panel: Panel, operation: Operation, **given: Any) -> Any:
    """Ask for a list."""
    return panel.send("GET", f"{route_of(operation).path}?{urlencode(given)}")


def walked(panel: Panel, operation: Operation, **given: Any) -> list[Any]:
    """Follow a list to its end."""
    items, cursor = [], ""
    while cursor is not None:
        page = get(panel, operation, **given, **({"cursor": cursor} if cursor else {})).json
        items += page["items"]
        cursor = page["next"]
    return items


def orders(operation: Operation) -> tuple[str, ...]:
    return get_args(operation.input.model_fields["sort"].annotation)


@every
def test_it_is_declared_as_a_list(operation: Operation) -> None:
    assert issubclass(operation.input, ListInput)
    assert issubclass(operation.result, Page)
    filters = [f for f in operation.input.model_fields.values() if any(isinstance(m, By) for m in f.metadata)]
    assert filters
    assert len(orders(operation)) == 2 * len({order.removeprefix("-") for order in orders(operation)})


@every
def test_pages_join_to_the_whole_in_every_order(full: Panel, operation: Operation) -> None:
    for order in orders(operation):
        whole = get(full, operation, sort=order, limit=1000).json
        assert whole["next"] is None
        assert len(whole["items"]) >= 2
        assert walked(full, operation, sort=order, limit=3) == whole["items"]
        turned = order.removeprefix("-") if order.startswith("-") else f"-{order}"
        assert get(full, operation, sort=turned, limit=1000).json["items"] == whole["items"][::-1]


@every
def test_a_cursor_belongs_to_its_list_filters_and_order(full: Panel, operation: Operation) -> None:
    first, second, *_ = orders(operation)
    cursor = get(full, operation, sort=first, limit=1).json["next"]
    assert get(full, operation, sort=first, limit=2, cursor=cursor).status == 200
    other = {o.name: {"created_since": "2026-01-01"} for o in LISTS if "created_since" in o.input.model_fields}
    filtered = other.get(operation.name, {"name_prefix": "a"} if operation.name == "operation.list" else {"name": "x"})
    for given in ({"sort": second}, {"sort": first, **filtered}):
        answer = get(full, operation, limit=1, cursor=cursor, **given)
        assert (answer.status, answer.fields) == (422, ["cursor"])
        assert answer.json["errors"][0]["code"] == "wrong_cursor"
    elsewhere = LISTS[LISTS.index(operation) - 1]
    assert get(full, elsewhere, cursor=cursor).status == 422
    for garbage in ("AAAA", "W10", "x" * 900, "eyJ9"):
        assert get(full, operation, cursor=garbage).fields == ["cursor"]


@every
def test_an_undeclared_order_is_refused(full: Panel, operation: Operation) -> None:
    assert get(full, operation, sort="spec").fields == ["sort"]


def test_rows_of_records_are_light(full: Panel) -> None:
    for noun in ("changes", "previews", "runs"):
        rows = full.send("GET", f"{API}/{noun}").json["items"]
        assert rows
        assert not {"items", "input", "resources", "base"} & set(rows[0])
        assert DIFF not in json.dumps(rows)
    preview = full.send("GET", f"{API}/previews").json["items"][0]["id"]
    assert DIFF.encode() in full.send("GET", f"{API}/previews/{preview}").raw


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tenants?status=pending", ["bolt"]),
        ("tenants?status=failed", ["acme", "corp", "dune"]),
        ("tenants?name_prefix=a", ["acme"]),
        ("tenants?name_contains=o&sort=-name", ["corp", "bolt"]),
        ("tenants?node=second", []),
        ("tenants?state=suspended", []),
        ("tenants?created_before=2026-01-01T00:00:00%2B01:00", []),
        ("domains?tenant=acme", ["acme.example"]),
        ("domains?tenant=acme&name_prefix=bolt", []),
        ("nodes?name_contains=eco", ["second"]),
        ("modules?node=second&state=not%20installed&sort=name", ["accounts", "webserver"]),
        ("modules?node=second&state=enabled", []),
        ("operations?name_prefix=tenant.&kind=query", ["tenant.list", "tenant.show"]),
    ],
)
def test_filters(full: Panel, path: str, expected: list[str]) -> None:
    assert [item["name"] for item in full.send("GET", f"{API}/{path}").json["items"]] == expected


def test_filters_on_records(full: Panel) -> None:
    def rows(path: str) -> list[Any]:
        found: list[Any] = full.send("GET", f"{API}/{path}").json["items"]
        return found

    failed = rows("changes?status=failed&operation=domain.create&tenant=acme&actor=system&node=local")
    assert [row["tenant"] for row in failed] == ["acme"]
    assert rows("changes?resource=domain:acme.example&status=succeeded") == []
    assert rows("changes?created_before=2020-01-01") == []
    assert len(rows("changes?resource=tenant:acme")) == 2
    assert {row["id"] for row in rows(f"runs?change={failed[0]['id']}&check=false&node=local")} == {
        row["id"] for row in rows("runs?sort=created&limit=1")
    }
    assert [row["tenant"] for row in rows("previews?status=succeeded&tenant=dune")] == ["dune"]
    assert {row["type"] for row in rows("events?type=preview.queued&tenant=corp&after=1")} == {"preview.queued"}
    assert {row["outcome"] for row in rows("audit?outcome=previewed&actor=root")} == {"previewed"}


def test_a_client_sees_its_own_alone(full: Panel) -> None:
    for noun in ("tenants", "domains", "changes", "previews", "events"):
        assert {row["tenant" if noun != "tenants" else "name"] for row in walked_as(full, noun)} == {"acme"}


def walked_as(panel: Panel, noun: str) -> list[Any]:
    found: list[Any] = panel.send("GET", f"{API}/{noun}?limit=1000", caller="acme-only").json["items"]
    return found


def test_what_is_created_between_pages_neither_repeats_nor_hides(full: Panel) -> None:
    first = full.send("GET", f"{API}/tenants?limit=2").json
    for name in ("aaaa", "zzzz"):
        full.submit("tenant.create", name=name)
    rest = full.send("GET", f"{API}/tenants?limit=1000&cursor={first['next']}").json["items"]
    assert [t["name"] for t in [*first["items"], *rest]] == ["acme", "bolt", "corp", "dune", "zzzz"]
