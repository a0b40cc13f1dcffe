"""Many clients at once, on both databases: no update is lost, and the last one accepted is what the node gets."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from wcp360.core.actor import SYSTEM
from wcp360.core.config import Settings, StorageSettings
from wcp360.core.errors import Conflict, NotFound
from wcp360.core.ids import new_id
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.resources import Ref
from wcp360.core.submit import Asked
from wcp360.core.views import ChangeStatus, RecordStatus
from wcp360.wiring import System, build

NODE = "local"
CLIENTS = 50
Submit = Callable[..., Any]


@pytest.fixture
def system(url: str, tmp_path: Path) -> Iterator[System]:
    built = build(Settings(state_dir=tmp_path, storage=StorageSettings(url=SecretStr(url))))
    submit = submitter(built)
    submit("node.create", name=NODE, connection="local")
    submit("tenant.create", name="acme")
    yield built
    built.store.close()


def submitter(system: System) -> Submit:
    def submit(operation_name: str, **given: Any) -> Any:
        operation = system.registry.operation(operation_name)
        asked = Asked(operation, operation.input.model_validate(given, strict=False), SYSTEM, new_id())
        try:
            return system.door.submit(asked)
        finally:
            if threading.current_thread() is not threading.main_thread():
                system.store.close()

    return submit


def converge(system: System) -> int:
    """Apply what waits, as the engine does."""
    targets = system.ledger.pending(NODE)
    if targets:
        run = system.ledger.begin_run(NODE, targets, correlation="")
        system.ledger.record(run, [TargetOutcome(t.ref, t.wanted, TargetStatus.APPLIED) for t in targets])
        system.ledger.finish_run(run, RecordStatus.SUCCEEDED, "", [])
    return len(targets)


class Engine:
    """Converges beside the clients until it is told to end, and then once more."""

    def __init__(self, system: System) -> None:
        self._system, self._done = system, threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Engine:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        while converge(self._system):
            pass

    def _work(self) -> None:
        while not self._done.wait(0.01):
            converge(self._system)
        self._system.store.close()


def test_fifty_clients_on_one_tenant_lose_no_update(system: System) -> None:
    submit = submitter(system)
    submit("domain.create", name="shared.test", tenant="acme")

    def client(number: int) -> list[str]:
        name = f"d{number}.test"
        done = [submit("domain.create", name=name, tenant="acme").id]
        done.append(submit("domain.update", name=name, document_root=f"root{number}").id)
        if number < 4:
            fields = [
                {"php": False},
                {"redirect": "https://other.test"},
                {"document_root": "site"},
                {"aliases": ["x.test"]},
            ]
            done.append(submit("domain.update", name="shared.test", **fields[number]).id)
        return done

    with Engine(system), ThreadPoolExecutor(CLIENTS) as pool:
        accepted = [change for changes in pool.map(client, range(CLIENTS)) for change in changes]
    with system.store.read() as state:
        assert {state.change(change).status for change in accepted} == {ChangeStatus.SUCCEEDED}
        specs = [state.get(Ref("domain", f"d{number}.test")).spec for number in range(CLIENTS)]
        assert [spec["document_root"] for spec in specs] == [f"root{number}" for number in range(CLIENTS)]
        shared = state.get(Ref("domain", "shared.test")).spec
        assert (shared["php"], shared["document_root"], list(shared["aliases"])) == (False, "site", ["x.test"])
        assert shared["redirect"] == "https://other.test"
        assert state.verify_audit().intact
        applied = {target.ref: target for target in state.targets()}
    assert all(target.applied == target.wanted and target.items == target.applied_items for target in applied.values())
    assert len(applied) == 1 + 2 + 1 + CLIENTS + 1, "node, two modules, tenant, one domain a client, the shared one"


def test_create_delete_and_create_by_many_end_as_the_last_accepted(system: System) -> None:
    submit, ref = submitter(system), Ref("domain", "contested.test")
    rng = random.Random(11)
    jobs = [(rng.choice(("create", "delete", "update")), number) for number in range(120)]

    def client(job: tuple[str, int]) -> None:
        verb, number = job
        given = {} if verb == "delete" else {"document_root": f"root{number}"}
        given |= {"tenant": "acme"} if verb == "create" else {}
        for _ in range(10):
            with contextlib.suppress(Conflict, NotFound):
                submit(f"domain.{verb}", name=ref.name, **given)
                break
            time.sleep(0.01)

    with Engine(system), ThreadPoolExecutor(8) as pool:
        list(pool.map(client, jobs))
    with system.store.read() as state:
        log = [entry for entry in state.audit(limit=10_000, after=0) if entry.operation.startswith("domain.")]
        accepted = [entry for entry in log if entry.outcome == "accepted"]
        found, last = state.find(ref), accepted[-1]
        verbs = {entry.operation for entry in accepted}
        assert verbs == {"domain.create", "domain.delete", "domain.update"}, [entry.outcome for entry in log]
        if last.operation == "domain.delete":
            assert found is None and state.targets(refs=[ref]) == [] and state.claims_near(ref.name) == []
        else:
            (target,) = state.targets(refs=[ref])
            assert target.applied == target.wanted
            assert target.applied_items[0].value["document_root"] == last.input["document_root"]
