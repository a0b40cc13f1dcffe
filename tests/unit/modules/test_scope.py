"""What an actor with a narrow scope cannot do or see: through change sets, retries, previews and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wcp360.core.actor import SYSTEM, Actor
from wcp360.core.config import Settings
from wcp360.core.errors import Conflict, Forbidden, Invalid, NotFound
from wcp360.core.ids import new_id
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.submit import Asked
from wcp360.core.views import ChangeView, FileDiff, PredictedItem, RecordStatus
from wcp360.modules.records.inputs import MOST_MEMBERS
from wcp360.storage import migrate
from wcp360.wiring import System, build

CLIENT = Actor("acme-client", frozenset({"*"}), frozenset({"acme"}))


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = build(Settings(state_dir=tmp_path / "state"))
    migrate(made.store)
    submit(made, SYSTEM, "node.create", name="local", connection="local")
    for tenant in ("acme", "bbb"):
        submit(made, SYSTEM, "tenant.create", name=tenant)
    yield made
    made.store.close()


def asked(system: System, actor: Actor, name: str, /, **given: Any) -> Asked:
    operation = system.registry.operation(name)
    return Asked(operation, operation.input.model_validate(given), actor, new_id())


def submit(system: System, actor: Actor, name: str, /, **given: Any) -> ChangeView:
    return system.door.submit(asked(system, actor, name, **given))


def change_set(*members: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"operations": [{"operation": name, "input": given} for name, given in members]}


def outcomes(system: System) -> list[str]:
    with system.store.read() as state:
        return [f"{entry.actor} {entry.operation} {entry.outcome}" for entry in state.audit(limit=1000, after=0)]


def settle_all(system: System, status: TargetStatus) -> None:
    """Finish what is pending on the node as the engine would."""
    targets = system.ledger.next_batch("local", 1000)
    run = system.ledger.begin_run("local", targets, correlation=new_id())
    outcomes = [TargetOutcome(t.ref, t.wanted, status, "refused") for t in targets]
    system.ledger.conclude(run, outcomes, RecordStatus.SUCCEEDED, "", [])


def test_no_io_is_done_for_who_may_not_ask_for_it(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wcp360.modules.nodes.module.confirmed_key", lambda *args: pytest.fail("the server was asked"))
    node = {"name": "web1", "address": "192.0.2.1"}
    with pytest.raises(Forbidden):
        submit(system, CLIENT, "node.create", **node)
    with pytest.raises(Forbidden):
        submit(system, CLIENT, "change.create", **change_set(("node.create", node)))
    without = Actor("weak", frozenset({"change.write"}), None)
    with pytest.raises(Forbidden):
        submit(system, without, "change.create", **change_set(("node.create", node)))


def test_a_set_with_a_foreign_member_writes_nothing(system: System) -> None:
    members = (("domain.create", {"name": "a.test", "tenant": "acme"}), ("tenant.suspend", {"name": "bbb"}))
    with pytest.raises(NotFound):
        submit(system, CLIENT, "change.create", **change_set(*members))
    with pytest.raises(NotFound):
        system.door.ask(asked(system, SYSTEM, "domain.show", name="a.test"))
    assert outcomes(system)[-1] == "acme-client change.create denied: not_found"


def test_a_set_belongs_to_a_tenant_only_if_all_of_it_does(system: System) -> None:
    own = change_set(("tenant.update", {"name": "acme", "shell": "/bin/bash"}))
    mixed = change_set(("tenant.update", {"name": "acme", "shell": "/bin/sh"}), ("node.check", {"name": "local"}))
    assert submit(system, SYSTEM, "change.create", **own).tenant == "acme"
    assert submit(system, SYSTEM, "change.create", **mixed).tenant is None


def test_a_set_has_a_bound(system: System) -> None:
    members = [("tenant.suspend", {"name": "acme"})] * (MOST_MEMBERS + 1)
    with pytest.raises(ValueError, match=str(MOST_MEMBERS)):
        submit(system, SYSTEM, "change.create", **change_set(*members))


def test_a_retry_does_not_touch_what_is_another_tenants_by_now(system: System) -> None:
    settle_all(system, TargetStatus.APPLIED)
    failed = submit(system, SYSTEM, "domain.create", name="a.test", tenant="acme")
    settle_all(system, TargetStatus.FAILED)
    submit(system, SYSTEM, "domain.delete", name="a.test")
    settle_all(system, TargetStatus.APPLIED)
    submit(system, SYSTEM, "domain.create", name="a.test", tenant="bbb")
    settle_all(system, TargetStatus.FAILED)
    assert {outcome.resource for outcome in failed.resources} >= {"domain:a.test", "tenant:acme"}
    again = submit(system, CLIENT, "change.retry", id=failed.id)
    assert {outcome.resource for outcome in again.resources} == {"tenant:acme"}


def test_a_preview_shows_a_tenant_its_own_differences_and_one_line_of_shared_ones(system: System) -> None:
    kept = system.door.preview(asked(system, SYSTEM, "domain.create", name="a.test", tenant="acme"))
    diff = [FileDiff(name="/etc/x", before="", after="secret of the server")]
    items = [
        PredictedItem(resource=r, changed=True, failed=False, diff=diff) for r in ("server:nginx", "domain:a.test")
    ]
    assert system.ledger.begin_preview(kept.id, "engine", 60)
    system.ledger.finish_preview(kept.id, RecordStatus.SUCCEEDED, "", items, True)
    answer: Any = system.door.ask(asked(system, CLIENT, "preview.show", id=kept.id))
    assert [bool(item.diff) for item in answer.items] == [False, True]
    assert "secret" not in answer.items[0].model_dump_json()
    listed = system.door.ask(asked(system, CLIENT, "preview.list")).model_dump_json()
    assert kept.id in listed and "secret" not in listed


def test_a_name_of_another_tenant_is_taken_whoever_asks(system: System) -> None:
    submit(system, SYSTEM, "domain.create", name="a.test", tenant="bbb")
    for name in ("a.test", "sub.a.test"):
        with pytest.raises(Conflict) as caught:
            submit(system, CLIENT, "domain.create", name=name, tenant="acme")
        assert caught.value.code == "name_taken"
        assert "bbb" not in caught.value.detail


def test_the_panels_own_names_are_nobodys(tmp_path: Path) -> None:
    panel = {"hostname": "panel.example.org", "name_servers": ("ns1.panel.example.org",)}
    made = build(Settings.model_validate({"state_dir": tmp_path / "state", "panel": panel}))
    migrate(made.store)
    submit(made, SYSTEM, "node.create", name="local", connection="local")
    submit(made, SYSTEM, "tenant.create", name="acme")
    for name in ("panel.example.org", "ns1.panel.example.org", "deep.panel.example.org"):
        with pytest.raises(Invalid) as caught:
            submit(made, SYSTEM, "domain.create", name=name, tenant="acme")
        assert [error.field for error in caught.value.errors] == ["name"]
    made.store.close()


def test_a_fault_of_ours_is_audited_and_writes_nothing(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("wcp360.core.submit.settle", broken)
    with pytest.raises(ZeroDivisionError):
        submit(system, SYSTEM, "tenant.suspend", name="acme")
    assert outcomes(system)[-1] == "system tenant.suspend failed: internal"
    assert system.door.ask(asked(system, SYSTEM, "tenant.show", name="acme")).state == "present"  # type: ignore[attr-defined]
