"""Events: numbered without gaps, in the order of commits, resumable and scoped."""

from __future__ import annotations

import logging

import pytest

from wcp360.core.views import EventView
from wcp360.storage import Ledger, SqlStore


def add(store: SqlStore, *names: str, tenant: str | None = None) -> None:
    with store.write() as unit:
        for name in names:
            unit.add_event(name, {"n": name}, tenant=tenant, correlation="c")


def test_a_reader_goes_on_where_it_stopped(store: SqlStore) -> None:
    add(store, *(f"e{number}" for number in range(25)))
    seen: list[EventView] = []
    while True:
        with store.read() as state:
            page = state.events(tenants=None, limit=10, after=seen[-1].id if seen else 0)
        if not page:
            break
        seen += page
    assert [event.type for event in seen] == [f"e{number}" for number in range(25)]
    assert [event.id for event in seen] == list(range(1, 26))
    assert seen[3].data == {"n": "e3"} and seen[3].correlation == "c" and seen[3].time.endswith("Z")


def test_only_what_may_be_seen(store: SqlStore) -> None:
    add(store, "server")
    add(store, "a", tenant="acme")
    add(store, "o", tenant="other")
    with store.read() as state:
        for tenants, types in (({"acme"}, ["a"]), (set(), []), ({"acme", "other"}, ["a", "o"])):
            assert [e.type for e in state.events(tenants=frozenset(tenants), limit=9, after=0)] == types
        assert len(state.events(tenants=None, limit=9, after=0)) == 3


def test_subscribers_hear_what_is_committed_after_it_is(store: SqlStore, ledger: Ledger) -> None:
    heard: list[tuple[int, int]] = []

    def listen(event: EventView) -> None:
        with store.read() as state:
            heard.append((event.id, len(state.events(tenants=None, limit=99, after=0))))

    end = store.on_event(listen)
    add(store, "one", "two")
    with pytest.raises(ValueError), store.write() as unit:
        unit.add_event("lost", {})
        raise ValueError
    ledger.event("three", {})
    end()
    add(store, "four")
    assert heard == [(1, 2), (2, 2), (3, 3)]


def test_a_subscriber_that_fails_harms_nobody(store: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []

    def fail(event: EventView) -> None:
        raise RuntimeError("subscriber")

    store.on_event(fail)
    store.on_event(lambda event: heard.append(event.id))
    with caplog.at_level(logging.ERROR):
        add(store, "one")
    assert heard == [1] and "subscriber" in caplog.text
