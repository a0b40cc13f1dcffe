from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.panel import NODE, FreeSpec, Panel
from wcp360.core.ports import Target, TargetOutcome, TargetStatus
from wcp360.core.resources import Life, Ref, RoleItem
from wcp360.core.views import RecordStatus
from wcp360.engine.batch import compile_batches, expected_reports, items_to_send
from wcp360.engine.pace import MOST

DEMO = Ref("tenant", "demo")


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    return Panel.make(tmp_path)


def compiled(panel: Panel) -> dict[str, Any]:
    with panel.store.read() as state:
        return compile_batches(state)


def settle(panel: Panel, status: TargetStatus, *names: str) -> None:
    """Make one imagined run over all that is pending, in which ``names`` end with ``status``."""
    targets = panel.ledger.next_batch(NODE, MOST)
    run = panel.ledger.begin_run(NODE, targets, correlation="c")
    outcomes = [
        TargetOutcome(t.ref, t.wanted, status if t.ref.name in names else TargetStatus.APPLIED, "no") for t in targets
    ]
    panel.ledger.conclude(run, outcomes, RecordStatus.SUCCEEDED, "", [])


def target(ref: Ref, tenant: str | None = None, **kwargs: Any) -> Target:
    values: dict[str, Any] = {
        "ref": ref, "node": NODE, "tenant": tenant, "life": Life.PRESENT, "wanted": 1, "applied": 0, "failed": 0,
        "items": (), "applied_items": (), "depends": (), "reason": "", "attempts": 0,
    }  # fmt: skip
    return Target(**(values | kwargs))


def test_a_batch_holds_what_is_pending_after_what_it_needs(panel: Panel) -> None:
    panel.submit("demo", "x")
    batch = compiled(panel)[NODE]
    assert batch["order"] == ["node:local", "tenant:demo"]
    assert batch["targets"] == {"node:local": 1, "tenant:demo": 1}
    assert batch["request"]["tenant_accounts"][0]["comment"] == "x"
    assert batch["request"]["server"]["tenant"] is True
    assert batch["node"] == {"connection": "local", "name": "local"}
    assert batch["expects"]["tenant:demo"] == {"reports": [["tenant", "tenant:demo"]], "server": []}


def test_what_is_applied_is_not_sent_again(panel: Panel) -> None:
    panel.submit("demo", "x")
    settle(panel, TargetStatus.APPLIED)
    assert compiled(panel) == {}
    panel.submit("next", "x", depends=(DEMO,))
    assert compiled(panel)[NODE]["order"] == ["tenant:next"]


def test_what_needs_a_refused_resource_is_skipped_and_so_is_what_needs_that(panel: Panel) -> None:
    panel.submit("demo", "x")
    settle(panel, TargetStatus.FAILED, "demo")
    panel.submit("second", "x", depends=(DEMO,))
    panel.submit("third", "x", depends=(Ref("tenant", "second"),))
    batch = compiled(panel)[NODE]
    assert batch["targets"] == {}
    assert batch["skipped"]["tenant:second"]["reason"] == "skipped: needs tenant demo, which failed: no"
    assert batch["skipped"]["tenant:third"]["reason"].startswith(
        "skipped: needs tenant second, which cannot be applied"
    )


def test_what_is_taken_away_needs_nothing(panel: Panel) -> None:
    panel.submit("demo", "x")
    panel.submit("second", "x", depends=(DEMO,))
    settle(panel, TargetStatus.FAILED, "demo")
    panel.submit("second", "", life=Life.ABSENT, depends=(DEMO,))
    assert compiled(panel)[NODE]["order"] == ["tenant:second"]


def test_a_refused_update_leaves_what_was_applied_to_be_built_on(panel: Panel) -> None:
    panel.submit("demo", "x")
    settle(panel, TargetStatus.APPLIED)
    panel.submit("demo", "bad")
    settle(panel, TargetStatus.FAILED, "demo")
    panel.submit("second", "x", depends=(DEMO,))
    assert compiled(panel)[NODE]["order"] == ["tenant:second"]


def test_a_rehearsal_shows_nothing_of_another_tenant(panel: Panel) -> None:
    panel.submit("other", "secret")
    with panel.store.write() as tx:
        panel.write(tx, "demo", "x")
        batch = compile_batches(tx)[NODE]
    assert batch["order"] == ["node:local", "tenant:demo"]


def test_a_rehearsal_shows_that_what_was_refused_is_not_tried_again_as_it_is(panel: Panel) -> None:
    panel.submit("demo", "x")
    panel.submit("other", "x")
    settle(panel, TargetStatus.FAILED, "demo", "other")
    with panel.store.write() as tx:
        panel.write(tx, "demo", "x")
        batch = compile_batches(tx)[NODE]
    reason = "it is unchanged and was refused before (no); correct it, or retry the change that failed"
    assert (batch["targets"], batch["skipped"]) == ({}, {"tenant:demo": {"revision": 1, "reason": reason}})
    with panel.store.write() as tx:
        panel.write(tx, "demo", "y")
        batch = compile_batches(tx)[NODE]
    assert (batch["order"], batch["skipped"]) == (["tenant:demo"], {})


def test_a_rehearsal_shows_all_however_much_it_is(panel: Panel) -> None:
    names = [f"t{number}" for number in range(MOST + 1)]
    with panel.store.write() as tx:
        for name in names:
            panel.write(tx, name, "x")
        batch = compile_batches(tx)[NODE]
    assert {f"tenant:{name}" for name in names} <= set(batch["targets"])


def test_a_circle_goes_into_one_batch(panel: Panel) -> None:
    panel.submit("one", "x", depends=(Ref("tenant", "two"),))
    panel.submit("two", "x", depends=(Ref("tenant", "one"),))
    batch = compiled(panel)[NODE]
    assert sorted(batch["order"]) == ["node:local", "tenant:one", "tenant:two"]


def test_items_that_are_no_longer_wanted_are_taken_away() -> None:
    pool = RoleItem("php_fpm_pools", {"id": "tenant:demo", "name": "demo", "state": "present"})
    account = RoleItem("tenant_accounts", {"id": "tenant:demo", "name": "demo", "state": "present"})
    some = target(DEMO, items=(account,), applied_items=(account, pool))
    assert items_to_send(some) == (account, RoleItem("php_fpm_pools", {**pool.value, "state": "absent"}))
    assert expected_reports(some)["reports"] == [["tenant", "tenant:demo"], ["php_fpm", "tenant:demo"]]


@pytest.mark.parametrize("status", [TargetStatus.FAILED, TargetStatus.INTERRUPTED, None])
def test_what_a_run_has_only_tried_is_taken_away_too(panel: Panel, status: TargetStatus | None) -> None:
    pool = RoleItem("php_fpm_pools", {"id": "tenant:demo", "name": "demo", "state": "present"})
    with panel.store.write() as tx:
        panel.write(tx, "demo", "x")
        tx.want(DEMO, (pool,), (NODE,), {})
        panel.accept(tx)
    if status is None:  # the engine was killed before it recorded anything
        panel.ledger.begin_run(NODE, panel.ledger.next_batch(NODE, MOST), correlation="c")
    else:
        settle(panel, status, "demo")
    panel.submit("demo", "x", life=Life.ABSENT)
    request = compiled(panel)[NODE]["request"]
    assert [item["state"] for item in request["php_fpm_pools"]] == ["absent"]


def test_what_cannot_be_sent_is_skipped_alone(panel: Panel) -> None:
    panel.submit("demo", "x")
    with panel.store.write() as tx:
        ref = Ref("tenant", "odd")
        tx.put(ref, FreeSpec(), tenant="odd")
        tx.want(ref, (RoleItem("ansible_connection", {"name": "x"}),), (NODE,), {})
        panel.accept(tx)
    batch = compiled(panel)[NODE]
    assert "tenant:demo" in batch["targets"]
    assert "not a variable of the request file" in batch["skipped"]["tenant:odd"]["reason"]
