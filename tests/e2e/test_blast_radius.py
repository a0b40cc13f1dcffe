"""A run that would touch what its batch does not declare is refused, and nothing is done; a right one never is.

Thirty faulty roles and a few; CI meets the first, ``make soak`` all of them.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.faulty_roles import FAULTS, SAMPLE, Fault
from tests.hosts.fixtures import Host
from tests.soak import LONGER_IN_SOAK, SOAK
from wcp360.core.actor import SYSTEM
from wcp360.core.config import EngineSettings, Settings
from wcp360.core.ids import new_id
from wcp360.core.submit import Asked
from wcp360.core.views import ChangeStatus, ChangeView, RecordStatus
from wcp360.engine.consumer import collection_root
from wcp360.engine.converge import Tools, converge
from wcp360.engine.preview import make_preview
from wcp360.engine.runner import Ended, Executor, Permit, allow
from wcp360.storage import migrate
from wcp360.wiring import System, build

NODE = "web1"
pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1200), *LONGER_IN_SOAK]
BY_ENGINE = ("The run was refused",)
BY_MODULE = ("left alone", "nothing was changed", "already")
CHOSEN = FAULTS if SOAK else FAULTS[:SAMPLE]


class Panel:
    """A panel whose engine works in this process, one run at a time."""

    def __init__(self, base: Path) -> None:
        self.system: System = build(Settings(state_dir=base / "state", engine=EngineSettings(retry=0.01)))
        migrate(self.system.store)
        for name in ("runs", "cp", "ssh"):
            (base / "state" / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        executor = Executor(base / "state", 300, collection_root())
        declared = self.system.registry.footprints()
        self.tools = Tools(self.system.store, self.system.ledger, executor, new_id(), 30, threading.Event(), declared)

    def change(self, name: str, collection: Path | None = None, /, **given: Any) -> ChangeView:
        """Ask for a change and converge until it is finished, by the roles of ``collection`` where it is given."""
        operation = self.system.registry.operation(name)
        change = self.system.door.submit(Asked(operation, operation.input.model_validate(given), SYSTEM, new_id()))
        tools = self.tools
        if collection is not None:
            tools = replace(tools, executor=replace(tools.executor, collection=collection))
        for _ in range(10):
            if change.status is not ChangeStatus.PENDING:
                break
            converge(tools, NODE)
            with self.system.store.read() as state:
                change = state.change(change.id)
        return change

    def preview(self, name: str, /, **given: Any) -> str:
        """Make a preview and return its id."""
        operation = self.system.registry.operation(name)
        asked = Asked(operation, operation.input.model_validate(given), SYSTEM, new_id())
        preview = self.system.door.preview(asked)
        make_preview(self.tools, preview.id)
        with self.system.store.read() as state:
            made = state.preview(preview.id)
        assert (made.status, made.reason) == (RecordStatus.SUCCEEDED, "")
        return preview.id

    def wanted(self) -> list[tuple[Any, ...]]:
        """Return what the nodes shall have, and whether they have it."""
        with self.system.store.read() as state:
            return sorted(
                (str(target.ref), target.life, str(target.items), target.pending, target.applied == target.wanted)
                for target in state.targets()
            )

    def done(self, name: str, /, **given: Any) -> None:
        """Make a change that has to succeed."""
        change = self.change(name, None, **given)
        assert (change.status, change.reason) == (ChangeStatus.SUCCEEDED, ""), name


@pytest.fixture(scope="module")
def host(new_host: Callable[..., Host]) -> Host:
    return new_host(image="full")


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, host: Host) -> Iterator[Panel]:
    made = Panel(tmp_path_factory.mktemp("radius"))
    node = {"name": NODE, "connection": "ssh", "address": host.address, "port": host.port}
    made.done("node.create", **node, identity_file=host.key, host_key=host.host_key.split(" ", 1)[1])
    members = []
    for tenant in ("alpha", "beta"):
        members.append({"operation": "tenant.create", "input": {"name": tenant, "node": NODE}})
        members.append({"operation": "domain.create", "input": {"name": f"{tenant}.test", "tenant": tenant}})
    made.done("change.create", operations=members)
    yield made
    made.system.store.close()


@pytest.fixture(scope="module")
def ask(panel: Panel) -> Callable[[Path], ChangeView]:
    """Ask for a change of everything that alpha has, by other roles."""
    count = iter(range(1000))

    def change(collection: Path) -> ChangeView:
        number = next(count)
        settings = {"memory_limit": f"{64 + number}M"}
        members = [
            ("tenant.update", {"name": "alpha", "php_settings": settings, "authorized_keys": [key(number)]}),
            ("domain.update", {"name": "alpha.test", "aliases": [f"a{number}.alpha.test"]}),
        ]
        operations = [{"operation": name, "input": given} for name, given in members]
        return panel.change("change.create", collection, operations=operations)

    return change


def key(number: int) -> str:
    """Return an SSH key that no other number has."""
    blob = b"".join(len(part).to_bytes(4) + part for part in (b"ssh-ed25519", number.to_bytes(32)))
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return what differs, whatever generation it is in: their names are digests."""
    here, there = _by_name(before), _by_name(after)
    return {path for path in here.keys() | there.keys() if here.get(path) != there.get(path)}


def _by_name(snapshot: dict[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path, what in snapshot.items():
        found.setdefault(re.sub(r"/generations/[^/]+", "/generations/*", path), set()).add(what)
    return found


def test_every_faulty_role_is_refused_and_nothing_is_done(
    panel: Panel, host: Host, tmp_path: Path, ask: Callable[[Path], ChangeView], tell: Callable[[str], None]
) -> None:
    """What a change set asks for beside the faulty part may be done: no more moves than by the right roles."""
    tell(f"{len(CHOSEN)} faulty roles")
    right = Fault("nothing", "tenant", "pass").collection(tmp_path / "right")
    start = host.snapshot()
    assert ask(right).status is ChangeStatus.SUCCEEDED
    before = host.snapshot()
    own = moved(start, before)
    wrong: list[str] = []
    for number, fault in enumerate(CHOSEN):
        change = ask(fault.collection(tmp_path / str(number)))
        after = host.snapshot()
        beyond = moved(before, after) - own
        refusals = BY_MODULE if fault.by_module else BY_ENGINE
        refused = change.status is ChangeStatus.FAILED and any(words in change.reason for words in refusals)
        if not refused or beyond:
            wrong.append(f"{fault.name}: {change.status} {change.reason} {sorted(beyond)}")
        print(f"{fault.name}: {change.reason}")
        before = after
    assert not wrong, "\n".join(wrong)
    last = ask(right)
    assert (last.status, last.reason) == (ChangeStatus.SUCCEEDED, "")


def test_a_preview_is_applied_exactly(panel: Panel) -> None:
    preview = panel.preview("domain.update", name="alpha.test", aliases=("one.alpha.test",))
    applied = panel.change("preview.apply", None, id=preview)
    assert (applied.status, applied.reason) == (ChangeStatus.SUCCEEDED, "")
    with panel.system.store.read() as state:
        did, showed = state.run(applied.runs[0]).items, state.preview(preview).items
    assert {(diff.name, diff.before, diff.after) for item in did for diff in item.diff} == {
        (diff.name, diff.before, diff.after) for item in showed for diff in item.diff
    }


MOVES = {
    "a directory": ("install -d -o alpha -g www-data -m 0750 /home/alpha/web/moved.test", "/home/alpha/web/moved.test"),
    "a file": ("echo '# by hand' >> /etc/nginx/wcp360/current/sites/alpha.test.conf", "/etc/nginx/wcp360"),
    "a file's mode": ("chmod 0600 /etc/nginx/wcp360/current/sites/alpha.test.conf", "/etc/nginx/wcp360"),
    "an account": ("usermod --comment 'by hand' alpha", "account alpha"),
    "a unit": ("systemctl stop wcp360-php@alpha.socket", "service php-alpha"),
}


@pytest.mark.parametrize("moved", MOVES)
def test_a_preview_of_a_server_that_moved_is_refused_with_what_moved(panel: Panel, host: Host, moved: str) -> None:
    members = [
        ("domain.create", {"name": "moved.test", "tenant": "alpha"}),
        ("domain.update", {"name": "alpha.test", "aliases": [f"moved{len(moved)}.alpha.test"]}),
        ("tenant.update", {"name": "alpha", "php_settings": {"memory_limit": f"{500 + len(moved)}M"}}),
    ]
    operations = [{"operation": name, "input": given} for name, given in members]
    preview = panel.preview("change.create", operations=operations)
    command, name = MOVES[moved]
    host.run(command)
    before, wanted = host.snapshot(), panel.wanted()
    refused = panel.change("preview.apply", None, id=preview)
    assert refused.status is ChangeStatus.FAILED
    assert name in refused.reason and "make a new preview" in refused.reason
    after = host.snapshot()
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == set()
    assert panel.wanted() == wanted
    again = panel.preview("change.create", operations=operations)
    assert panel.change("preview.apply", None, id=again).status is ChangeStatus.SUCCEEDED
    panel.done("domain.delete", name="moved.test", purge=True)


class Between(Executor):
    """An executor that lets something happen between a prediction and what it allows."""

    happens: Callable[[], Any] = staticmethod(lambda: None)

    def execute(self, *given: Any, permit: Permit = allow, **how: Any) -> Ended:
        """Run, and do it before the answer."""

        def late(report: Any) -> str:
            answer = permit(report)
            self.happens()
            return answer

        return super().execute(*given, permit=late, **how)


def test_what_another_system_needs_is_not_done_unpredicted(panel: Panel, host: Host) -> None:
    panel.done("tenant.create", name="plain", node=NODE)
    upgraded = ["sed -i 's/^VERSION_ID=.*/VERSION_ID=\"13\"/' /etc/os-release"]
    between = Between(panel.tools.executor.state_dir, 300, collection_root())
    Between.happens = staticmethod(lambda: host.run(upgraded.pop()) if upgraded else None)
    tools, panel.tools = panel.tools, replace(panel.tools, executor=between)
    try:
        change = panel.change("tenant.update", None, name="plain", authorized_keys=(key(1000),))
        with panel.system.store.read() as state:
            first, *others = [state.run(run) for run in change.runs]
        assert first.status is RecordStatus.FAILED and "distribution_version moved" in first.reason
        assert (change.status, change.reason, len(others)) == (ChangeStatus.SUCCEEDED, "", 1)
    finally:
        panel.tools = tools
        host.run("sed -i 's/^VERSION_ID=.*/VERSION_ID=\"12\"/' /etc/os-release")
        panel.done("node.check", name=NODE)


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("tenant.suspend", {"name": "alpha"}),
        ("tenant.unsuspend", {"name": "alpha"}),
        ("domain.update", {"name": "alpha.test", "php": False}),
        ("domain.delete", {"name": "alpha.test"}),
    ],
)
def test_what_is_right_is_not_refused(panel: Panel, operation: str, given: dict[str, Any]) -> None:
    panel.done(operation, **given)
