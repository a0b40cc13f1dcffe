"""Lists in storage: filters, orders and pages that neither repeat nor lose a row, whatever happens in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.storage.helpers import NODE, converge, submit, want
from wcp360.core.errors import Invalid
from wcp360.core.listing import Condition, Match, Place, Query
from wcp360.core.ports import Tenants
from wcp360.core.resources import Life, Ref
from wcp360.core.status import status_of, statuses_of
from wcp360.core.views import Page
from wcp360.storage import Ledger, SqlStore


def is_(column: str, value: Any) -> Condition:
    return Condition(column, Match.IS, value)


def names(page: Page[Any]) -> list[str]:
    return [resource.ref.name for resource in page.items]


def fill(store: SqlStore, first: int, last: int) -> None:
    with store.write() as unit:
        for number in range(first, last):
            want(unit, Ref("domain", f"d{number:02d}.test"), tenant="acme" if number % 2 else "other")


def following(query: Query, page: Page[Any]) -> Query:
    import base64
    import json

    assert page.next is not None
    found = json.loads(base64.urlsafe_b64decode(page.next + "=" * (-len(page.next) % 4)))
    place: Place = tuple(found[1:])
    return replace(query, place=place)


@pytest.mark.parametrize("sort", ["name", "created", "tenant"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_join_to_the_whole_in_every_order(store: SqlStore, sort: str, descending: bool) -> None:
    fill(store, 0, 7)
    query = Query(sort=sort, descending=descending, limit=3)
    with store.read() as state:
        whole = names(state.page("domain", replace(query, limit=100)))
        seen, page = [], state.page("domain", query)
        while True:
            seen += names(page)
            if page.next is None:
                break
            page = state.page("domain", following(query, page))
    assert len(whole) == 7 and seen == whole
    if sort == "name":
        assert whole == sorted(whole, reverse=descending)


def test_what_is_added_or_removed_between_pages_neither_repeats_nor_hides_a_row(store: SqlStore) -> None:
    fill(store, 10, 20)
    query = Query(limit=4)
    with store.read() as state:
        first = state.page("domain", query)
    fill(store, 0, 5)
    fill(store, 30, 32)
    with store.write() as unit:
        unit.tables.resource.delete().where(unit.tables.resource.name == "d13.test").execute()
    with store.read() as state:
        second = state.page("domain", following(query, first))
    assert names(first) + names(second) == [f"d{number}.test" for number in range(10, 18)]


def test_only_what_may_be_seen(store: SqlStore) -> None:
    fill(store, 0, 5)
    acme: Tenants = frozenset({"acme"})
    with store.read() as state:
        assert len(state.page("domain", tenants=acme).items) == 2
        assert state.page("domain", Query((is_("tenant", "other"),)), tenants=acme).items == []
        assert state.page("domain", tenants=frozenset()).items == []
        assert state.page("domain").items[0].nodes == (NODE,)


def test_the_filter_on_status_says_what_the_status_says(store: SqlStore) -> None:
    ledger = Ledger(store)
    for name, status in (("applied", "applied"), ("failed", "failed"), ("gone-failed", "failed")):
        life = Life.ABSENT if name.startswith("gone") else Life.PRESENT
        submit(store, Ref("domain", f"{name}.test"), tenant="acme", life=life)
        converge(ledger, status, "Refused.")
    submit(store, Ref("domain", "pending.test"), tenant="acme")
    submit(store, Ref("domain", "removing.test"), tenant="acme", life=Life.ABSENT)
    with store.read() as state:
        every = state.page("domain").items
        said = statuses_of(state, every)
        assert said == {one.ref: status_of(state, one) for one in every}
        assert {status for status, _ in said.values()} == {"applied", "failed", "pending", "removing"}
        for status in ("applied", "failed", "pending", "removing"):
            found = names(state.page("domain", Query((is_("status", status),))))
            assert found == sorted(ref.name for ref, (word, _) in said.items() if word == status)


def test_filters_by_name_node_and_time(store: SqlStore) -> None:
    fill(store, 0, 12)
    submit(store, Ref("domain", "elsewhere.test"), nodes=("web2",))

    def found(*conditions: Condition) -> list[str]:
        with store.read() as state:
            return names(state.page("domain", Query(conditions)))

    assert found(Condition("name", Match.STARTS, "d1")) == ["d10.test", "d11.test"]
    assert found(Condition("name", Match.CONTAINS, "where")) == ["elsewhere.test"]
    # The wildcards of LIKE are no wildcards here.
    assert found(Condition("name", Match.CONTAINS, "_")) == []
    assert found(is_("node", "web2")) == ["elsewhere.test"]
    assert len(found(Condition("created", Match.SINCE, "2000-01-01T00:00:00.000Z"))) == 13
    assert found(Condition("created", Match.BEFORE, "2000-01-01T00:00:00.000Z")) == []
    assert found(is_("state", "suspended")) == []


def test_records(store: SqlStore) -> None:
    changes = [submit(store, Ref("domain", f"d{number}.test"), tenant="acme") for number in range(4)]
    converge(Ledger(store))
    newest = Query(sort="created", descending=True, limit=2)
    with store.read() as state:
        first = state.page("change", newest)
        second = state.page("change", following(newest, first))
        ids = [row.id for row in [*first.items, *second.items]]
        assert ids == sorted((change.id for change in changes), reverse=True) and second.next is None
        touching = Query((is_("resource", "domain:d2.test"),), sort="created")
        assert [row.id for row in state.page("change", touching).items] == [changes[2].id]
        assert state.page("change", Query((is_("node", "nowhere"),), sort="created")).items == []
        (run,) = state.page("run", Query((is_("change", ids[0]), is_("check", False)), sort="created")).items
        assert not hasattr(run, "items") and run.node == NODE
        events = state.page("event", Query(sort="created", limit=3))
        assert [event.id for event in events.items] == [1, 2, 3]
        more = state.page("event", following(Query(sort="created", limit=3), events))
        assert more.items[0].id == 4


def test_a_place_of_another_kind_is_refused(store: SqlStore) -> None:
    with store.read() as state:
        for kind, place in (("event", ("x",)), ("event", (1, 2)), ("change", (1,)), ("domain", ("a", "b"))):
            sort = "name" if kind == "domain" else "created"
            with pytest.raises(Invalid):
                state.page(kind, Query(sort=sort, place=place))


def test_a_list_takes_the_same_few_statements_for_many_rows(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    database = store.dialect.database
    execute = database.execute_sql
    monkeypatch.setattr(database, "execute_sql", lambda sql, *more: (counted.append(sql), execute(sql, *more))[1])

    def statements() -> int:
        counted.clear()
        with store.read() as state:
            page = state.page("domain")
            statuses_of(state, page.items)
            state.facts_of([resource.ref for resource in page.items])
        return len([sql for sql in counted if sql.startswith("SELECT")])

    fill(store, 0, 2)
    few = statements()
    fill(store, 2, 60)
    assert statements() == few
