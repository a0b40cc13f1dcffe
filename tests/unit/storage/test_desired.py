"""Desired state: revisions, tombstones, claims, counters."""

from __future__ import annotations

import pytest

from tests.postgresql import Databases
from wcp360.core.errors import Conflict, NotFound, Unavailable
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.resources import Life, Ref, RoleItem
from wcp360.core.views import ChangeStatus
from wcp360.storage import Ledger, SqlStore

from .helpers import NODE, DomainSpec, accept, content_hash, converge, due, record, remove, submit, want

ACME = Ref("tenant", "acme")
SITE = Ref("domain", "example.com")


def test_a_resource_is_kept_as_it_was_written(store: SqlStore) -> None:
    submit(store, SITE, "hé {{ x }}", tenant="acme", nodes=("web1", "web2"))
    with store.read() as state:
        resource = state.get(SITE)
    assert (resource.tenant, resource.spec, resource.revision) == ("acme", {"text": "hé {{ x }}"}, 1)
    assert (resource.nodes, resource.life, resource.purge) == (("web1", "web2"), Life.PRESENT, False)


def test_only_another_content_is_a_new_revision(store: SqlStore) -> None:
    assert [submit(store, SITE, text, tenant="acme").resources[0].revision for text in ("a", "b", "b")] == [1, 2, 2]
    assert submit(store, SITE, "b", life=Life.SUSPENDED).resources[0].revision == 3
    assert submit(store, SITE, "b", life=Life.SUSPENDED, purge=True).resources[0].revision == 4


def test_settling_twice_in_a_transaction_counts_once(store: SqlStore) -> None:
    with store.write() as unit:
        want(unit, SITE, "a")
        want(unit, SITE, "b")
        assert accept(unit).resources[0].revision == 1
    with store.write() as unit:
        unit.retry(SITE)
        want(unit, SITE, "c")
        assert accept(unit).resources[0].revision == 2
    with store.read() as state:
        assert state.targets()[0].items == (RoleItem("nginx_sites", {"id": str(SITE), "text": "c"}),)


def test_the_dependencies_count_as_content(store: SqlStore) -> None:
    submit(store, ACME)
    submit(store, SITE, "a", tenant="acme")
    with store.write() as unit:
        unit.put(SITE, DomainSpec(text="a"))
        items = (RoleItem("nginx_sites", {"id": str(SITE), "text": "a"}),)
        unit.want(SITE, items, (NODE,), {NODE: (ACME,)})
        assert accept(unit).resources[0].revision == 2
    with store.read() as state:
        assert state.targets(refs=[SITE])[0].depends == (ACME,)


def test_targets_come_in_the_order_in_which_they_were_asked_for(store: SqlStore) -> None:
    names = ["zeta.test", "alpha.test", "mid.test"]
    for name in names:
        submit(store, Ref("domain", name), "1")
    submit(store, Ref("domain", "zeta.test"), "2")
    with store.read() as state:
        assert [target.ref.name for target in state.targets([NODE], pending=True)] == [
            "alpha.test",
            "mid.test",
            "zeta.test",
        ]
        assert state.targets(["other"]) == [] and state.targets(refs=[]) == []


def test_an_unchanged_change_waits_for_what_is_pending_and_is_done_when_nothing_is(
    store: SqlStore, ledger: Ledger
) -> None:
    first, second = submit(store, SITE, "a"), submit(store, SITE, "a")
    assert second.status is ChangeStatus.PENDING and second.resources[0].revision == 1
    assert sorted(converge(ledger)) == sorted([first.id, second.id])
    third = submit(store, SITE, "a")
    assert third.status is ChangeStatus.SUCCEEDED and third.finished and third.resources == []


def test_a_change_that_is_done_at_once_tells_so_after_it_was_accepted(store: SqlStore) -> None:
    with store.write() as unit:
        change = accept(unit)
    with store.read() as state:
        events = state.events(tenants=None, limit=10, after=0)
    assert [(event.type, event.data["change"]) for event in events] == [
        ("change.accepted", change.id),
        ("change.finished", change.id),
    ]


def test_repeating_what_was_refused_is_not_called_a_success(store: SqlStore, ledger: Ledger) -> None:
    submit(store, SITE, "bad")
    converge(ledger, "failed", "nginx refuses it")
    again = submit(store, SITE, "bad")
    assert again.status is ChangeStatus.FAILED and "nginx refuses it" in again.reason
    assert due(ledger) == []


def test_retry_is_a_new_revision_of_the_same_content(store: SqlStore, ledger: Ledger) -> None:
    submit(store, SITE, "bad")
    converge(ledger, "failed", "no space left")
    with store.write() as unit:
        unit.retry(SITE)
        change = accept(unit)
    assert change.status is ChangeStatus.PENDING
    assert converge(ledger) == [change.id]


def test_a_tombstone_holds_its_name_and_claims_until_it_is_applied(store: SqlStore, ledger: Ledger) -> None:
    with store.write() as unit:
        want(unit, SITE, tenant="acme")
        unit.claim(SITE, "acme", ["example.com", "www.example.com"])
        accept(unit)
    converge(ledger)
    change = remove(store, SITE)
    with store.read() as state:
        tombstone = state.find(SITE)
        assert tombstone is not None and tombstone.life is Life.ABSENT
        assert len(state.claims_near("example.com")) == 2
        with pytest.raises(NotFound, match="being removed"):
            state.get(SITE)
    assert converge(ledger) == [change.id]
    with store.read() as state:
        assert state.find(SITE) is None and state.claims_near("example.com") == [] and state.targets() == []
        assert state.change(change.id).status is ChangeStatus.SUCCEEDED


def test_burying_keeps_what_was_written_and_is_done_once(store: SqlStore, ledger: Ledger) -> None:
    submit(store, SITE, "a", tenant="acme")
    converge(ledger)
    items = (RoleItem("nginx_sites", {"id": str(SITE), "state": "absent"}),)
    for purge in (True, False):
        with store.write() as unit:
            unit.bury(SITE, purge=purge)
            assert unit.touched == {SITE}
            unit.want(SITE, items, (NODE,), {})
            change = accept(unit)
        assert change.resources[0].revision == 2 and change.status is ChangeStatus.PENDING
    with store.read() as state:
        tombstone = state.find(SITE)
        assert tombstone is not None and tombstone.purge and tombstone.spec == {"text": "a"}
        with pytest.raises(RuntimeError):
            state.bury(SITE, purge=False)
    with pytest.raises(NotFound), store.write() as unit:
        unit.bury(ACME, purge=False)


def test_burying_a_refused_tombstone_again_tries_it_again(store: SqlStore, ledger: Ledger) -> None:
    submit(store, SITE, tenant="acme")
    converge(ledger)
    remove(store, SITE)
    converge(ledger, "failed", "the file is busy")
    with store.write() as unit:
        unit.bury(SITE, purge=False)
        change = accept(unit)
    assert change.status is ChangeStatus.PENDING
    assert converge(ledger) == [change.id]
    with store.read() as state:
        assert state.find(SITE) is None


def test_a_tombstone_waits_for_every_node(store: SqlStore, ledger: Ledger) -> None:
    submit(store, SITE, nodes=("web1", "web2"))
    for node in ("web1", "web2"):
        converge(ledger, node=node)
    change = submit(store, SITE, nodes=("web1", "web2"), life=Life.ABSENT)
    assert converge(ledger, node="web1") == []
    with store.read() as state:
        assert state.find(SITE) is not None
    assert converge(ledger, node="web2") == [change.id]


def test_a_tenant_stays_until_all_it_owns_is_gone(store: SqlStore, ledger: Ledger) -> None:
    submit(store, ACME)
    submit(store, SITE, tenant="acme")
    converge(ledger)
    with store.write() as unit:
        for ref in (ACME, SITE):
            want(unit, ref, life=Life.ABSENT)
        accept(unit)
    targets = due(ledger)
    run = ledger.begin_run(NODE, targets, correlation="")
    outcomes = {each.ref: TargetOutcome(each.ref, each.wanted, TargetStatus.APPLIED) for each in targets}
    record(ledger, run, [outcomes[ACME]])
    with store.read() as state:
        assert [resource.ref for resource in state.of_tenant("acme")] == [SITE, ACME]
    record(ledger, ledger.begin_run(NODE, due(ledger), correlation=""), [outcomes[SITE]])
    with store.read() as state:
        assert state.of_tenant("acme") == []


def test_a_tombstone_that_is_nowhere_is_removed_at_once(store: SqlStore) -> None:
    submit(store, SITE, nodes=())
    assert submit(store, SITE, nodes=(), life=Life.ABSENT).status is ChangeStatus.SUCCEEDED
    with store.read() as state:
        assert state.find(SITE) is None


def test_a_resource_is_not_given_away_or_moved(store: SqlStore) -> None:
    submit(store, SITE, tenant="acme")
    for values, code in (({"tenant": "other"}, "tenant_fixed"), ({"nodes": ("web2",)}, "placement_fixed")):
        with pytest.raises(Conflict) as caught:
            submit(store, SITE, **values)
        assert caught.value.code == code and "acme" not in caught.value.detail


def test_claims_are_found_above_and_below(store: SqlStore) -> None:
    others = ["a-b.test", "ab.test", "xa.b.test", "b.test.other.test", "zz.b-c.test"]
    near = ["test.test", "b.test.test", "a.b.test.test", "deep.a.b.test.test"]
    with store.write() as unit:
        for name in others + near:
            want(unit, Ref("domain", name))
            unit.claim(Ref("domain", name), "acme", [name])
    with store.read() as state:
        assert {claim.hostname for claim in state.claims_near("b.test.test")} == set(near)
        assert state.claims_near("c.test.test")[0].owner == Ref("domain", "test.test")


def test_claims_are_replaced_and_taken_once(store: SqlStore) -> None:
    other = Ref("domain", "other.test")
    with store.write() as unit:
        for ref in (SITE, other):
            want(unit, ref)
        unit.claim(SITE, "acme", ["a.test", "b.test"])
        unit.claim(SITE, "acme", ["b.test", "c.test"])
        unit.claim(other, "acme", ["a.test"])
        with pytest.raises(Conflict) as caught:
            unit.claim(other, "acme", ["c.test"])
    assert caught.value.code == "hostname_taken"


def test_counters_never_go_back(store: SqlStore) -> None:
    with store.write() as unit:
        assert [unit.allocate("uid", 20000, 20002) for _ in range(3)] == [20000, 20001, 20002]
        with pytest.raises(Conflict) as caught:
            unit.allocate("uid", 20000, 20002)
        assert caught.value.code == "exhausted"
        assert unit.allocate("uid", 20000, 30000) == 20003


def test_a_block_that_raises_leaves_the_database_as_it_was(store: SqlStore) -> None:
    submit(store, SITE, "a", tenant="acme")
    before = content_hash(store)
    told: list[object] = []
    store.on_event(told.append)
    with pytest.raises(KeyError), store.write() as unit:
        unit.allocate("uid", 1, 9)
        want(unit, SITE, "b")
        want(unit, ACME)
        unit.claim(SITE, "acme", ["a.test"])
        accept(unit)
        unit.add_audit(actor="a", operation="b", tenant=None, outcome="c", given={}, correlation="")
        raise KeyError
    assert content_hash(store) == before and told == []


def test_a_reading_transaction_refuses_to_write_and_none_nest(store: SqlStore) -> None:
    with store.read() as state:
        with pytest.raises(RuntimeError):
            state.put(SITE, DomainSpec())
        with pytest.raises(RuntimeError), store.write():
            pass
    submit(store, SITE)


def test_a_reader_keeps_its_snapshot(store: SqlStore) -> None:
    import threading

    submit(store, SITE, "a")
    with store.read() as state:
        assert state.get(SITE).spec == {"text": "a"}
        writer = threading.Thread(target=submit, args=(store, SITE, "b"))
        writer.start()
        writer.join()
        assert state.get(SITE).spec == {"text": "a"}
    with store.read() as state:
        assert state.get(SITE).spec == {"text": "b"}


def test_a_database_without_tables_says_so(tmp_path) -> None:
    with pytest.raises(Unavailable, match="no such table"), SqlStore(tmp_path / "empty.db").read() as state:
        state.find(SITE)


def test_a_postgresql_database_without_tables_says_so(databases: Databases) -> None:
    name = databases.server.create()
    store = SqlStore(databases.server.url(name))
    with pytest.raises(Unavailable, match="does not exist"), store.read() as state:
        state.find(SITE)
    store.close()


def test_a_name_that_is_given_up_is_free_when_the_node_has_let_go(store: SqlStore, ledger: Ledger) -> None:
    other = Ref("domain", "other.test")

    def claim(ref: Ref, text: str, *names: str) -> None:
        with store.write() as unit:
            want(unit, ref, text, tenant="acme")
            unit.claim(ref, "acme", names)
            accept(unit)

    claim(SITE, "a b", "a.test", "b.test")
    converge(ledger)
    claim(SITE, "b", "b.test")
    with store.read() as state:
        assert [(near.owner, near.leaving) for near in state.claims_near("a.test")] == [(SITE, True)]
    with pytest.raises(Conflict):
        claim(other, "a", "a.test")
    converge(ledger, "failed", "nginx refuses it")
    with pytest.raises(Conflict):
        claim(other, "a", "a.test")
    claim(SITE, "b again", "b.test")
    converge(ledger)
    claim(other, "a", "a.test")
    claim(SITE, "c", "c.test")
    claim(SITE, "back", "b.test", "c.test")
    converge(ledger)
    with store.read() as state:
        assert [near.leaving for near in state.claims_near("b.test") + state.claims_near("c.test")] == [False, False]


def test_a_transaction_sees_what_it_wrote_and_did_not_write_yet(store: SqlStore) -> None:
    submit(store, SITE, "a", tenant="acme")
    with store.write() as unit:
        for number in range(3):
            want(unit, Ref("domain", f"d{number}.test"), str(number), tenant="acme")
        unit.claim(Ref("domain", "d1.test"), "acme", ["d1.test", "x.d1.test"])
        want(unit, Ref("domain", "d2.test"), "again", tenant="acme")
        assert [claim.hostname for claim in unit.claims_near("d1.test")] == ["d1.test", "x.d1.test"]
        assert [claim.hostname for claim in unit.claims_near("deep.x.d1.test")] == ["d1.test", "x.d1.test"]
        assert unit.owns("acme", "domain", lambda domain: domain.spec["text"] == "again")
        assert not unit.owns("acme", "domain", lambda domain: domain.spec["text"] == "2")
        assert len(unit.of_tenant("acme")) == 4 and len(unit.targets(pending=True)) == 4
        assert len(unit.page("domain").items) == 4 and unit.get(Ref("domain", "d2.test")).spec == {"text": "again"}
        unit.bury(SITE, purge=False)
        assert unit.find(SITE).life is Life.ABSENT  # type: ignore[union-attr]
        assert [resource.life for resource in unit.of_tenant("acme")].count(Life.ABSENT) == 1
        accept(unit)
        unit.allocate("uid", 5, 9)
    with store.read() as state:
        assert len(state.of_tenant("acme")) == 4 and len(state.claims_near("d1.test")) == 2
        assert {target.wanted for target in state.targets()} == {1}


def test_what_a_tenant_owns_is_looked_at_only_as_far_as_needed(store: SqlStore) -> None:
    with store.write() as unit:
        want(unit, ACME)
        for number in range(30):
            want(unit, Ref("domain", f"d{number:02}.test"), str(number), tenant="acme")
    seen: list[str] = []
    with store.read() as state:
        assert state.owns("acme", "domain", lambda domain: seen.append(domain.ref.name) or True)
        assert seen == ["d00.test"]
        assert state.owns("acme", "domain", lambda domain: domain.spec["text"] == "29")
        assert not state.owns("acme", "database", lambda domain: True)
