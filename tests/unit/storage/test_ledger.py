"""What the engine records: outcomes, superseded revisions, back-off, dead engines, previews."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from wcp360.core.errors import NotFound
from wcp360.core.ids import new_id
from wcp360.core.listing import newest
from wcp360.core.needs import needs
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.resources import Life, Ref, RoleItem
from wcp360.core.views import ChangeStatus, FileDiff, PredictedItem, RecordStatus
from wcp360.storage import Ledger, SqlStore
from wcp360.storage.times import now_text

from .helpers import NODE, DomainSpec, accept, converge, due, record, submit, want

SITE = Ref("domain", "example.com")
OTHER = Ref("domain", "other.test")


def outcome(ref: Ref, revision: int, status: str = "applied", reason: str = "", **kwargs) -> TargetOutcome:
    return TargetOutcome(ref, revision, TargetStatus(status), reason, **kwargs)


def change_of(store: SqlStore, change_id: str):
    with store.read() as state:
        return state.change(change_id)


def test_a_run_finishes_the_changes_that_it_carried(store: SqlStore, ledger: Ledger) -> None:
    change = submit(store, SITE, "a", tenant="acme")
    run = ledger.begin_run(NODE, due(ledger), correlation="c9")
    item = PredictedItem(
        resource=str(SITE), changed=True, failed=False, diff=[FileDiff(name="f", before="", after="x")]
    )
    done = [outcome(SITE, 1, facts={"digest": "d"})]
    assert ledger.conclude(run, done, RecordStatus.SUCCEEDED, "", [item]) == [change.id]
    with store.read() as state:
        view, kept = state.change(change.id), state.run(run)
        assert (view.status, view.runs, view.reason) == (ChangeStatus.SUCCEEDED, [run], "")
        assert (kept.node, kept.check, kept.resources, kept.changes) == (NODE, False, [str(SITE)], [change.id])
        assert kept.items == [item] and kept.finished
        assert state.facts(SITE) == {"digest": "d"}
        assert state.outcomes(SITE)[0].status is ChangeStatus.SUCCEEDED
        types = [event.type for event in state.events(tenants=None, limit=99, after=0)]
    assert types == ["change.accepted", "run.started", "change.finished", "run.finished"]


def test_one_bad_target_fails_alone(store: SqlStore, ledger: Ledger) -> None:
    with store.write() as unit:
        want(unit, SITE)
        want(unit, OTHER)
        both = accept(unit)
    single = submit(store, Ref("domain", "third.test"))
    targets = due(ledger)
    run = ledger.begin_run(NODE, targets, correlation="")
    results = [outcome(t.ref, 1, "failed" if t.ref == OTHER else "applied", "bad" * (t.ref == OTHER)) for t in targets]
    assert set(record(ledger, run, results)) == {both.id, single.id}
    view = change_of(store, both.id)
    assert view.status is ChangeStatus.FAILED and view.reason == "domain:other.test on web1: bad"
    assert {each.resource: each.status.value for each in view.resources} == {
        str(SITE): "succeeded",
        str(OTHER): "failed",
    }
    assert change_of(store, single.id).status is ChangeStatus.SUCCEEDED
    assert ledger.pending_nodes() == []


def test_what_is_asked_for_during_a_run_stays_pending(store: SqlStore, ledger: Ledger) -> None:
    first = submit(store, SITE, "one")
    run = ledger.begin_run(NODE, due(ledger), correlation="")
    second = submit(store, SITE, "two")
    assert record(ledger, run, [outcome(SITE, 1)]) == [first.id]
    (target,) = due(ledger)
    assert (target.wanted, target.applied) == (2, 1)
    assert target.applied_items == (RoleItem("nginx_sites", {"id": str(SITE), "text": "one"}),)
    assert converge(ledger) == [second.id]


@pytest.mark.parametrize("status", ["applied", "failed"])
def test_a_newer_revision_settles_the_older_changes_too(store: SqlStore, ledger: Ledger, status: str) -> None:
    changes = [submit(store, SITE, text).id for text in ("a", "b", "c")]
    assert converge(ledger, status, "refused" if status == "failed" else "") == changes
    expected = ChangeStatus.SUCCEEDED if status == "applied" else ChangeStatus.FAILED
    assert {change_of(store, each).status for each in changes} == {expected}


def test_a_refusal_keeps_what_was_applied_and_a_new_revision_clears_it(store: SqlStore, ledger: Ledger) -> None:
    submit(store, SITE, "good")
    converge(ledger)
    submit(store, SITE, "bad")
    converge(ledger, "failed", "checker says no")
    with store.read() as state:
        (target,) = state.targets()
        assert not target.pending and target.reason == "checker says no"
        assert target.applied_items[0].value["text"] == "good"
    fixed = submit(store, SITE, "better")
    assert converge(ledger) == [fixed.id]


def test_interrupted_targets_wait_longer_each_time(store: SqlStore, ledger: Ledger) -> None:
    slow = Ledger(store, retry=2, retry_max=5)
    change = submit(store, SITE)
    pauses = []
    for _ in range(4):
        with store.read() as state:
            targets = state.targets(pending=True)
        run = slow.begin_run(NODE, targets, correlation="")
        assert record(slow, run, [outcome(SITE, 1, "interrupted", "node web1 could not be reached")]) == []
        assert due(slow) == [] and slow.pending_nodes() == []
        pauses.append(next(pause for pause in range(1, 9) if slow.pending_nodes(now=now_text(pause + 0.5))))
    assert pauses == [2, 4, 5, 5]
    view = change_of(store, change.id)
    assert view.status is ChangeStatus.PENDING
    assert view.reason == "domain:example.com on web1: still waits: node web1 could not be reached"
    submit(store, SITE, "new")
    assert [target.attempts for target in due(slow)] == [4]
    converge(slow)
    assert change_of(store, change.id).reason == ""


def test_a_pause_ends(store: SqlStore) -> None:
    quick = Ledger(store, retry=1)
    submit(store, SITE)
    converge(quick, "interrupted", "x")
    assert due(quick) == []
    time.sleep(1.1)
    assert len(due(quick)) == 1 and quick.pending_nodes() == [NODE]


def test_a_run_records_only_what_it_carried(store: SqlStore, ledger: Ledger) -> None:
    submit(store, SITE)
    run = ledger.begin_run(NODE, due(ledger), correlation="")
    for wrong in (outcome(OTHER, 1), outcome(SITE, 2)):
        with pytest.raises(ValueError, match="did not carry"):
            record(ledger, run, [wrong])
    with pytest.raises(NotFound):
        record(ledger, new_id(), [outcome(SITE, 1)])
    with pytest.raises(ValueError, match="without a run"):
        ledger.refuse(NODE, [outcome(SITE, 1)])


def test_what_needs_a_refused_resource_is_refused_without_a_run(store: SqlStore, ledger: Ledger) -> None:
    change = submit(store, SITE)
    assert ledger.refuse(NODE, [outcome(SITE, 1, "failed", "skipped: needs tenant:acme, which failed")]) == [change.id]
    assert "tenant:acme" in change_of(store, change.id).reason


def test_a_dead_engine_s_runs_are_closed_and_tried_again(store: SqlStore) -> None:
    ledger = Ledger(store, retry=0.01)
    changes = [submit(store, ref).id for ref in (SITE, OTHER)]
    run = ledger.begin_run(NODE, due(ledger), correlation="")
    check = ledger.begin_run(NODE, (), correlation="", check=True, resources=[str(SITE)], preview_id="p")
    assert ledger.abandon_runs("web2", "x") == []
    assert ledger.abandon_runs(NODE, "the engine ended") == [run]
    assert ledger.abandon_runs(NODE, "the engine ended") == []
    with store.read() as state:
        assert state.run(run).status is RecordStatus.FAILED and state.run(check).status is RecordStatus.RUNNING
        assert [(t.ref, t.attempts) for t in state.targets(pending=True)] == [(SITE, 1), (OTHER, 1)]
    with pytest.raises(ValueError, match="is closed already"):
        record(ledger, run, [outcome(OTHER, 1, "failed", "too late")])
    time.sleep(0.05)
    assert converge(ledger) == changes
    assert ledger.last_run(NODE) not in (None, run) and ledger.last_run("web2") is None


def test_a_removed_resource_can_be_made_again(store: SqlStore, ledger: Ledger) -> None:
    submit(store, SITE, "a")
    converge(ledger)
    submit(store, SITE, life=Life.ABSENT)
    converge(ledger)
    change = submit(store, SITE, "a", tenant="other")
    assert change.resources[0].revision == 3, "a preview of the first one must not look like one of this"
    assert converge(ledger) == [change.id]


def test_leases(ledger: Ledger) -> None:
    assert ledger.lease("node:web1", "a", 30) and ledger.lease("node:web1", "a", 30)
    assert not ledger.lease("node:web1", "b", 30) and ledger.lease("node:web2", "b", 30)
    ledger.release("node:web1", "b")
    assert not ledger.renew("node:web1", "b", 30) and ledger.renew("node:web1", "a", 0.05)
    time.sleep(0.1)
    assert ledger.lease("node:web1", "b", 30) and not ledger.renew("node:web1", "a", 30)
    ledger.release("node:web1", "b")
    assert ledger.lease("node:web1", "a", 30)


def test_a_lease_from_a_wrong_clock_is_not_waited_for(ledger: Ledger) -> None:
    assert ledger.lease("node:web1", "dead", 60 * 86_400)
    assert not ledger.leased("node:web1")
    assert ledger.lease("node:web1", "b", 30) and ledger.leased("node:web1")
    assert not ledger.lease("node:web1", "dead", 30)


def keep_preview(store: SqlStore) -> str:
    preview_id = new_id()
    values = {"operation": "domain.update", "given": {}, "actor": "root", "tenant": "acme", "correlation": "c"}
    with store.write() as unit:
        unit.add_preview(preview_id, base={str(SITE): 3}, batches={NODE: {"targets": {str(SITE): 4}}}, **values)
    return preview_id


def test_a_preview_is_made_once(store: SqlStore, ledger: Ledger) -> None:
    first, second = keep_preview(store), keep_preview(store)
    assert ledger.preview_queue() == [first, second]
    assert ledger.begin_preview(first, "me", 30) and not ledger.begin_preview(first, "you", 30)
    assert ledger.preview_queue() == [second]
    assert ledger.batches_of(first) == {NODE: {"targets": {str(SITE): 4}}}
    item = PredictedItem(resource=str(SITE), changed=True, failed=False)
    ledger.finish_preview(first, RecordStatus.SUCCEEDED, "", [item], changed=True)
    assert not ledger.begin_preview(first, "you", 30)
    with store.read() as state:
        view = state.preview(first)
        assert (view.status, view.changed, view.items, view.base) == ("succeeded", True, [item], {str(SITE): 3})
        assert state.events(tenants=frozenset({"acme"}), limit=9, after=0)[-1].type == "preview.finished"
        assert [each.id for each in state.page("preview", newest(1)).items] == [second]


def test_a_dead_engine_s_preview_is_made_again(store: SqlStore, ledger: Ledger) -> None:
    preview = keep_preview(store)
    assert ledger.begin_preview(preview, "dead", 0.05)
    run = ledger.begin_run(NODE, (), correlation="", check=True, preview_id=preview)
    time.sleep(0.1)
    assert ledger.preview_queue() == [preview] and ledger.begin_preview(preview, "living", 30)
    with store.read() as state:
        assert state.run(run).status is RecordStatus.FAILED


def test_pages_of_records_are_newest_first_and_scoped(store: SqlStore, ledger: Ledger) -> None:
    ids = [submit(store, Ref("domain", f"d{number}.test"), tenant="acme").id for number in range(3)]
    with store.write() as unit:
        accept(unit, tenant=None)
    with store.read() as state:
        page = state.page("change", newest(2), tenants=frozenset({"acme"}))
        rest = state.page("change", replace(newest(2), place=(page.items[-1].id,)), tenants=frozenset({"acme"}))
        assert [each.id for each in [*page.items, *rest.items]] == sorted(ids, reverse=True)
        assert page.next is not None and rest.next is None
        assert len(state.page("change", newest(99)).items) == 4
        assert state.page("run", newest(5)).items == []
        with pytest.raises(NotFound):
            state.change("nothing")


def test_what_failed_for_want_of_another_is_tried_again_when_that_is_healed(store: SqlStore, ledger: Ledger) -> None:
    tenant, unrelated = Ref("tenant", "acme"), Ref("domain", "refused.test")
    submit(store, tenant)
    with store.write() as unit:
        for ref in (SITE, unrelated):
            unit.put(ref, DomainSpec(), tenant="acme")
            unit.want(ref, (RoleItem("nginx_sites", {"id": str(ref)}),), (NODE,), {NODE: (tenant,)})
        accept(unit)
    targets = due(ledger)
    run = ledger.begin_run(NODE, targets, correlation="")
    reasons = {tenant: "no space left", SITE: needs(tenant, "failed: no space left"), unrelated: "nginx refuses it"}
    record(ledger, run, [outcome(ref, 1, "failed", reason) for ref, reason in reasons.items()])
    assert due(ledger) == []
    with store.write() as unit:
        unit.retry(tenant)
        accept(unit)
    assert [target.ref for target in due(ledger)] == [tenant]
    converge(ledger)
    assert [target.ref for target in due(ledger)] == [SITE]
    converge(ledger)
    with store.read() as state:
        assert state.outcomes(SITE)[0].status is ChangeStatus.SUCCEEDED
        assert state.outcomes(unrelated)[0].reason == "nginx refuses it"


def test_a_node_that_is_gone_during_its_own_run_keeps_nobody_waiting(store: SqlStore, ledger: Ledger) -> None:
    local = Ref("node", "local")
    with store.write() as unit:
        unit.put(local, DomainSpec())
        unit.want(local, (), (NODE,), {})
        created = accept(unit)
    run = ledger.begin_run(NODE, due(ledger), correlation="")
    with store.write() as unit:
        unit.bury(local, purge=False)
        unit.want(local, (), (), {})
        assert accept(unit).status is ChangeStatus.SUCCEEDED
    assert change_of(store, created.id).status is ChangeStatus.SUCCEEDED
    assert record(ledger, run, [outcome(local, 1)]) == []
