"""What `preview apply` accepts, and what it refuses before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.modules.test_scope import CLIENT, asked, settle_all, submit
from wcp360.core.actor import SYSTEM, Actor
from wcp360.core.config import Settings
from wcp360.core.errors import Conflict, Forbidden, NotFound
from wcp360.core.ports import Target, TargetOutcome, TargetStatus
from wcp360.core.views import ChangeStatus, FileDiff, PredictedItem, RecordStatus
from wcp360.engine.choice import next_work
from wcp360.storage import migrate
from wcp360.wiring import System, build

ITEM = PredictedItem(
    resource="domain:acme.test", changed=True, failed=False, diff=[FileDiff(name="/x", before="", after="y")]
)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = build(Settings(state_dir=tmp_path / "state"))
    migrate(made.store)
    submit(made, SYSTEM, "node.create", name="local", connection="local")
    for tenant in ("acme", "other"):
        submit(made, SYSTEM, "tenant.create", name=tenant)
    settle_all(made, TargetStatus.APPLIED)
    submit(made, SYSTEM, "domain.create", name="other.test", tenant="other")
    settle_all(made, TargetStatus.APPLIED)
    yield made
    made.store.close()


NEW_DOMAIN = ("domain.create", {"name": "acme.test", "tenant": "acme"})


def previewed(
    system: System, actor: Actor = SYSTEM, failed: bool = False, of: tuple[str, dict[str, Any]] = NEW_DOMAIN
) -> str:
    """Keep a preview, made as the engine would."""
    preview = system.door.preview(asked(system, actor, of[0], **of[1]))
    assert system.ledger.begin_preview(preview.id, "me", 30)
    item = ITEM.model_copy(update={"failed": failed, "message": "no" if failed else ""})
    run = system.ledger.begin_run("local", (), correlation="c", check=True, preview_id=preview.id)
    system.ledger.finish_run(run, RecordStatus.SUCCEEDED, "", [item])
    system.ledger.finish_preview(preview.id, RecordStatus.SUCCEEDED, "", [item], True)
    return preview.id


def refused(system: System, preview: str, code: str) -> Conflict:
    with system.store.read() as state:
        before = [target for target in state.targets()]
    with pytest.raises(Conflict) as caught:
        submit(system, SYSTEM, "preview.apply", id=preview)
    assert caught.value.code == code
    with system.store.read() as state:
        assert state.targets() == before
    return caught.value


def test_it_is_applied_alone_with_what_it_showed(system: System) -> None:
    preview = previewed(system)
    submit(system, SYSTEM, "tenant.suspend", name="other")
    change = submit(system, SYSTEM, "preview.apply", id=preview)
    assert (change.status, change.preview) == (ChangeStatus.PENDING, preview)
    first = next_work(system.store, system.ledger, "local", 50)
    assert first is not None and set(first.batch["targets"]) == {"tenant:other", "domain:other.test"}
    settle_all_of(system, first.targets)
    second = next_work(system.store, system.ledger, "local", 50)
    assert second is not None and second.preview == preview and second.kept == (ITEM,)
    assert set(second.batch["targets"]) == {"tenant:acme", "domain:acme.test"}
    refused(system, preview, "preview_applied")


def settle_all_of(system: System, targets: list[Target]) -> None:

    run = system.ledger.begin_run("local", targets, correlation="c")
    outcomes = [TargetOutcome(target.ref, target.wanted, TargetStatus.APPLIED) for target in targets]
    system.ledger.conclude(run, outcomes, RecordStatus.SUCCEEDED, "", [])


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda system: submit(system, SYSTEM, "domain.create", name="acme.test", tenant="acme"),
        lambda system: submit(system, SYSTEM, "domain.create", name="second.test", tenant="acme"),
        lambda system: submit(system, SYSTEM, "tenant.update", name="acme", php_settings={"memory_limit": "64M"}),
        lambda system: submit(system, SYSTEM, "tenant.delete", name="acme"),
    ],
)
def test_a_stale_one_is_refused_and_nothing_is_written(system: System, meanwhile: Callable[[System], object]) -> None:
    preview = previewed(system)
    meanwhile(system)
    assert "acme" in refused(system, preview, "preview_stale").detail


def test_one_that_is_not_made_or_failed_is_refused(system: System) -> None:
    kept = system.door.preview(asked(system, SYSTEM, "domain.create", name="acme.test", tenant="acme"))
    refused(system, kept.id, "preview_unfinished")
    refused(system, previewed(system, failed=True), "preview_failed")


def stored(system: System) -> dict[str, list[dict[str, Any]]]:
    """Return what is stored, but for numbers that only count."""
    counted = {"wanted", "applied", "failed", "asked", "bulk", "turn", "asked_by"}
    with system.store.read() as unit:
        tables = {name: list(getattr(unit.tables, name).select()) for name in ("resource", "target", "claim")}
    rows = {
        name: [
            {key: value for key, value in row.items() if key not in counted}
            | {"done": row.get("applied") == row.get("wanted"), "refused": row.get("failed") == row.get("wanted")}
            for row in found
        ]
        for name, found in tables.items()
    }
    return {name: sorted(found, key=repr) for name, found in rows.items()}


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        NEW_DOMAIN,
        ("tenant.create", {"name": "third"}),
        ("tenant.suspend", {"name": "other"}),
        ("tenant.delete", {"name": "other", "purge": True}),
        ("domain.delete", {"name": "other.test"}),
        ("domain.update", {"name": "other.test", "aliases": ("new.other.test",)}),
    ],
)
def test_what_a_refused_one_asked_for_is_taken_back(system: System, operation: str, given: dict[str, Any]) -> None:
    before = stored(system)
    preview = previewed(system, of=(operation, given))
    change = submit(system, SYSTEM, "preview.apply", id=preview)
    assert stored(system) != before
    assert system.ledger.give_up("local", preview, "/x moved.") == [change.id]
    with system.store.read() as state:
        ended = state.change(change.id)
    assert (ended.status, "/x moved." in ended.reason) == (ChangeStatus.FAILED, True)
    assert stored(system) == before
    assert next_work(system.store, system.ledger, "local", 50) is None
    again = submit(system, SYSTEM, "preview.apply", id=previewed(system, of=(operation, given)))
    settle_all(system, TargetStatus.APPLIED)
    with system.store.read() as state:
        assert state.change(again.id).status is ChangeStatus.SUCCEEDED


def test_what_others_have_built_on_is_not_taken_back(system: System) -> None:
    preview = previewed(system, of=("tenant.create", {"name": "third"}))
    submit(system, SYSTEM, "preview.apply", id=preview)
    submit(system, SYSTEM, "domain.create", name="third.test", tenant="third")
    system.ledger.give_up("local", preview, "/x moved.")
    with system.store.read() as state:
        assert {"tenant:third", "domain:third.test"} <= {str(target.ref) for target in state.targets()}


def test_who_could_not_ask_for_the_operation_cannot_apply_it(system: System) -> None:
    preview = previewed(system)
    with pytest.raises(Forbidden, match=r"domain\.write"):
        submit(system, Actor("a", frozenset({"preview.write"}), None), "preview.apply", id=preview)
    with pytest.raises(NotFound):
        submit(system, Actor("b", frozenset({"*"}), frozenset({"other"})), "preview.apply", id=preview)
    submit(system, CLIENT, "preview.apply", id=preview)


def test_what_is_asked_meanwhile_overtakes_it(system: System) -> None:
    change = submit(system, SYSTEM, "preview.apply", id=previewed(system))
    submit(system, SYSTEM, "domain.update", name="acme.test", aliases=())
    assert next_work(system.store, system.ledger, "local", 50) is None, "the rest of it is given up"
    with system.store.read() as state:
        ended = state.change(change.id)
    assert ended.status is ChangeStatus.FAILED and "domain:acme.test" in ended.reason
    work = next_work(system.store, system.ledger, "local", 50)
    assert work is None or not work.preview
