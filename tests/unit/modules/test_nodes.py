"""A node that nothing lives on goes without being reached; one with something on it is kept until that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.modules.test_scope import asked, settle_all, submit
from wcp360.core.actor import SYSTEM
from wcp360.core.config import Settings
from wcp360.core.errors import Conflict, NotFound
from wcp360.core.ports import TargetStatus
from wcp360.core.views import ChangeStatus
from wcp360.storage import migrate
from wcp360.wiring import System, build


@pytest.fixture
def bare(tmp_path: Path) -> System:
    made = build(Settings(state_dir=tmp_path / "state"))
    migrate(made.store)
    submit(made, SYSTEM, "node.create", name="local", connection="local")
    return made


def test_a_node_that_was_never_reached_can_be_taken_back(bare: System) -> None:
    assert submit(bare, SYSTEM, "node.delete", name="local").status is ChangeStatus.SUCCEEDED
    with pytest.raises(NotFound):
        bare.door.ask(asked(bare, SYSTEM, "node.show", name="local"))
    assert submit(bare, SYSTEM, "node.create", name="local", connection="local").status is ChangeStatus.PENDING


def test_a_node_with_a_tenant_stays_and_one_with_modules_waits_for_their_removal(bare: System) -> None:
    submit(bare, SYSTEM, "tenant.create", name="acme")
    settle_all(bare, TargetStatus.APPLIED)
    with pytest.raises(Conflict, match="still serves tenant:acme"):
        submit(bare, SYSTEM, "node.delete", name="local")
    submit(bare, SYSTEM, "tenant.delete", name="acme")
    settle_all(bare, TargetStatus.APPLIED)
    change = submit(bare, SYSTEM, "node.delete", name="local")
    assert {outcome.resource for outcome in change.resources} == {"node:local", "module:accounts@local"}
    settle_all(bare, TargetStatus.APPLIED)
    with pytest.raises(NotFound):
        bare.door.ask(asked(bare, SYSTEM, "node.show", name="local"))
