"""What an inventory outside of the panel learns of a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.modules.test_scope import asked, settle_all, submit
from wcp360.core.actor import SYSTEM, Actor
from wcp360.core.config import Settings
from wcp360.core.errors import Forbidden, Invalid, NotFound
from wcp360.core.ports import TargetStatus
from wcp360.core.views import Page
from wcp360.modules.nodes.variables import RoleVariable
from wcp360.storage import migrate
from wcp360.wiring import System, build


@pytest.fixture
def panel(tmp_path: Path) -> System:
    made = build(Settings(state_dir=tmp_path / "state"))
    migrate(made.store)
    submit(made, SYSTEM, "node.create", name="local", connection="local")
    submit(made, SYSTEM, "tenant.create", name="acme")
    submit(made, SYSTEM, "domain.create", name="acme.test", tenant="acme")
    return made


def variables(panel: System, **given: object) -> Page[RoleVariable]:
    answer = panel.door.ask(asked(panel, SYSTEM, "node.variables", name="local", **given))
    assert isinstance(answer, Page)
    return answer


def test_the_node_shall_have_what_was_asked_for(panel: System) -> None:
    found = [(entry.variable, entry.resource) for entry in variables(panel).items]
    assert ("tenant_accounts", "tenant:acme") in found
    assert ("nginx_sites", "domain:acme.test") in found
    server = [entry.value for entry in variables(panel).items if entry.variable == "server"]
    assert {key: value for entry in server for key, value in entry.items()} == {
        "tenant": True,
        "php_fpm": True,
        "nginx": True,
    }


def test_what_a_node_refused_is_still_wanted(panel: System) -> None:
    settle_all(panel, TargetStatus.FAILED)
    assert "nginx_sites" in {entry.variable for entry in variables(panel).items}


def test_pages_hold_everything_once(panel: System) -> None:
    seen, cursor = [], ""
    while True:
        page = variables(panel, limit=1, cursor=cursor)
        seen += page.items
        if page.next is None:
            break
        cursor = page.next
    assert seen == variables(panel).items


@pytest.mark.parametrize("cursor", ["_w", "A", "____"])
def test_a_cursor_of_somebody_else_is_refused(panel: System, cursor: str) -> None:
    with pytest.raises(Invalid):
        variables(panel, cursor=cursor)


def test_a_token_for_one_tenant_gets_nothing(panel: System) -> None:
    reseller = Actor("reseller", frozenset({"*"}), frozenset({"acme"}))
    with pytest.raises((Forbidden, NotFound)):
        panel.door.ask(asked(panel, reseller, "node.variables", name="local"))


def test_a_node_that_does_not_exist_is_not_found(panel: System) -> None:
    with pytest.raises(NotFound):
        panel.door.ask(asked(panel, SYSTEM, "node.variables", name="nosuch"))
