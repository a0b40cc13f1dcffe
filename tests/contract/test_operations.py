"""Every operation of the registry keeps the contract of its declaration, over HTTP.

The tables below say how to make the states that a declaration speaks of; an operation that is missing in them fails.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.panel import API, Answer, Panel, running, segment
from wcp360.core.ids import new_id
from wcp360.core.operation import Kind, Operation
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.resources import Ref
from wcp360.core.routes import Carrier, changes_state, route_of
from wcp360.core.views import RecordStatus
from wcp360.wiring import build_registry

REGISTRY = build_registry()
OPERATIONS = sorted(REGISTRY, key=lambda operation: operation.name)
every = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)

# For each object a key of valid form that nothing has.
NOWHERE = {
    "audit": "",
    "change": "01JD0000000000000000000001",
    "domain": "nosuch.example",
    "event": "",
    "module": "nosuch",
    "node": "nosuch",
    "operation": "no.such",
    "preview": "01JD0000000000000000000001",
    "run": "01JD0000000000000000000001",
    "tenant": "nosuch",
}
# What a creation refers to, so that it can be missing.
MISSING_REFERENCE = {
    "change.create": {"operations": [{"operation": "tenant.suspend", "input": {"name": "nosuch"}}]},
    "domain.create": {"name": "lost.example", "tenant": "nosuch"},
    "tenant.create": {"name": "lost", "node": "nosuch"},
}
# Creations that refer to nothing.
SELF_CONTAINED = {"node.create"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5yoFGzpPcqWnhqtA7a9tw1XzsmqRVRHzZZ1mAQ5Ggu"


def call(panel: Panel, operation: Operation, given: dict[str, Any], *, query: str = "", **options: Any) -> Answer:
    """Send an operation's input by its route."""
    route, given = route_of(operation), dict(given)
    path = route.path
    if route.key:
        path = path.replace(f"{{{route.key}}}", segment(str(given.pop(route.key))))
    if route.carrier is Carrier.BODY:
        return panel.send(route.method, path + query, given, **options)
    pairs = [f"{name}={segment(str(value))}" for name, value in given.items()]
    pairs += [query.removeprefix("?")] if query else []
    return panel.send(route.method, path + ("?" + "&".join(pairs) if pairs else ""), **options)


def settle(panel: Panel, status: TargetStatus = TargetStatus.APPLIED) -> None:
    """Do what the engine does: converge all that is pending."""
    ledger = panel.system.ledger
    while nodes := ledger.pending_nodes():
        for node in nodes:
            targets = ledger.pending(node)
            run = ledger.begin_run(node, targets, correlation=new_id())
            ledger.record(run, [TargetOutcome(t.ref, t.wanted, status, "As the test wants it.") for t in targets])
            ledger.finish_run(run, RecordStatus.SUCCEEDED, "", [])


@pytest.fixture
def fresh(tmp_path: Path):
    """Return a panel of the test's own, with the tenant acme and its domain acme.example."""
    with running(tmp_path) as panel:
        panel.submit("tenant.create", name="acme")
        panel.submit("domain.create", name="acme.example", tenant="acme")
        settle(panel)
        yield panel


@every
def test_401_without_a_valid_token(panel: Panel, operation: Operation) -> None:
    for options in ({"caller": None}, {"headers": {"Authorization": "Bearer wcp_wrong"}}):
        answer = call(panel, operation, dict(operation.example), **options)
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@every
def test_403_without_the_permission(panel: Panel, operation: Operation) -> None:
    answer = call(panel, operation, dict(operation.example), caller="powerless")
    assert (answer.status, answer.code) == (403, "forbidden")
    assert operation.permission in answer.json["detail"]


@every
def test_other_tenants_do_not_exist_and_the_server_is_out_of_reach(panel: Panel, operation: Operation) -> None:
    """A token that is limited to acme gets 404 for what others own, 403 for what the server owns."""
    if panel.send("GET", f"{API}/tenants/other").status == 404:
        panel.submit("tenant.create", name="other")
        panel.submit("domain.create", name="other.example", tenant="other")
    theirs = {"tenant": {"name": "other"}, "domain": {"name": "other.example"}}
    records = {"change": "/changes", "preview": "/previews"}
    if operation.object in theirs and operation.key:
        given = {**operation.example, **theirs[operation.object]}
        given |= {"tenant": "other"} if operation.name == "domain.create" else {}
        answer = call(panel, operation, given, caller="acme-only")
        assert (answer.status, answer.code) == (404, "not_found")
    elif operation.object in records and operation.key:
        call(panel, REGISTRY.operation("tenant.suspend"), {"name": "other"}, query="?dry_run=true")
        found = panel.send("GET", API + records[operation.object]).json["items"]
        foreign = next(item["id"] for item in found if item["tenant"] == "other")
        answer = call(panel, operation, {"id": foreign}, caller="acme-only")
        assert (answer.status, answer.code) == (404, "not_found")
    elif operation.kind is Kind.QUERY and operation.tenant_of.__name__ == "of_actor":
        answer = call(panel, operation, dict(operation.example), caller="acme-only")
        assert answer.status == 200
        assert b'"other' not in answer.raw
    elif operation.name == "change.create":
        given = {"operations": [{"operation": "tenant.suspend", "input": {"name": "other"}}]}
        assert call(panel, operation, given, caller="acme-only").code == "not_found"
    else:
        answer = call(panel, operation, dict(operation.example), caller="acme-only")
        assert (answer.status, answer.code) == (403, "forbidden")


@every
def test_404_for_what_does_not_exist(panel: Panel, operation: Operation) -> None:
    if not operation.key and operation.kind is Kind.QUERY:
        return  # It answers a list or a verdict, which always exist.
    if operation.verb == "create":
        assert (operation.name in MISSING_REFERENCE) != (operation.name in SELF_CONTAINED)
        given = MISSING_REFERENCE.get(operation.name)
        if given is None:
            return
    else:
        given = {**operation.example, operation.key: NOWHERE[operation.object]}
    before = panel.state_hash()
    answer = call(panel, operation, given)
    assert (answer.status, answer.code) == (404, "not_found")
    assert panel.state_hash() == before


@every
def test_422_names_the_wrong_field(panel: Panel, operation: Operation) -> None:
    before = panel.state_hash()
    answer = call(panel, operation, {**operation.example, "no_such_field": "x"})
    assert (answer.status, answer.code, answer.fields) == (422, "invalid", ["no_such_field"])
    for name, field in operation.input.model_fields.items():
        route = route_of(operation)
        wrong: Any = "\x1b\u202e" if route.carrier is Carrier.QUERY or name == route.key else {"$ne": None}
        answer = call(panel, operation, {**operation.example, name: wrong})
        assert (answer.status, answer.code) == (422, "invalid"), name
        assert answer.fields, name
        assert all(path == name or path.startswith(f"{name}.") for path in answer.fields), answer.fields
        if field.is_required() and name != route.key:
            rest = {key: value for key, value in operation.example.items() if key != name}
            answer = call(panel, operation, rest)
            assert (answer.status, answer.fields) == (422, [name])
    assert panel.state_hash() == before


@every
def test_bodies_that_are_not_objects(panel: Panel, operation: Operation) -> None:
    route = route_of(operation)
    if route.carrier is not Carrier.BODY:
        return
    path = route.path.replace(f"{{{route.key}}}", segment(str(operation.example.get(route.key, ""))))
    before = panel.state_hash()
    for body in (b"", b"null", b"[]", b'"x"', b"{", b"\xff"):
        answer = panel.send(route.method, path, body, headers={"Content-Type": "application/json"})
        assert (answer.status, answer.code) == (400, "malformed"), body
    assert panel.state_hash() == before


@every
def test_it_is_documented(panel: Panel, operation: Operation) -> None:
    route = route_of(operation)
    document = panel.send("GET", f"{API}/openapi.json", caller=None).json
    item = document["paths"][route.path][route.method.lower()]
    assert (item["operationId"], item["summary"]) == (operation.name, operation.summary)
    assert item["x-permission"] == operation.permission
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    assert f"## {operation.name}\n\n{operation.summary}" in page


@every
def test_a_dry_run_writes_no_desired_state(fresh_for_examples: Panel, operation: Operation) -> None:
    if not changes_state(operation):
        return
    panel = fresh_for_examples
    before = desired(panel)
    answer = call(panel, operation, example_of(panel, operation), query="?dry_run=true")
    # What the state does not admit is refused the same way as without the dry run.
    assert answer.status in (202, 404, 409), answer
    assert desired(panel) == before


def desired(panel: Panel) -> list[Any]:
    """Return what is wanted, with revisions."""
    with panel.system.store.read() as state:
        return [(t.ref, t.wanted, t.items, t.life) for t in state.targets()]


# The examples in an order in which each finds what it needs: (operation, what must happen before).
ORDER: list[tuple[str, str]] = [
    ("node.create", ""),
    ("node.list", ""),
    ("node.show", ""),
    ("node.variables", ""),
    ("node.check", ""),
    ("tenant.create", ""),
    ("tenant.list", ""),
    ("tenant.show", ""),
    ("tenant.update", ""),
    ("tenant.suspend", ""),
    ("tenant.unsuspend", ""),
    ("module.install", ""),
    ("module.list", ""),
    ("module.status", ""),
    ("module.disable", ""),
    ("module.enable", ""),
    ("domain.create", ""),
    ("domain.list", ""),
    ("domain.show", ""),
    ("domain.update", ""),
    ("domain.suspend", ""),
    ("domain.unsuspend", "fail"),
    ("change.list", ""),
    ("change.show", ""),
    ("change.retry", ""),
    ("preview.list", ""),
    ("preview.show", ""),
    ("preview.apply", "preview"),
    ("run.list", ""),
    ("run.show", ""),
    ("event.list", ""),
    ("audit.list", ""),
    ("audit.verify", ""),
    ("operation.list", ""),
    ("operation.show", ""),
    ("domain.delete", ""),
    ("tenant.delete", ""),
    ("change.create", ""),
    ("node.delete", ""),
    ("tenant.delete", ""),
    ("module.remove", ""),
]


def test_every_example_works(tmp_path: Path) -> None:
    """The examples run in an order that makes sense; each is accepted and answers what it declares."""
    assert {name for name, _ in ORDER} == {operation.name for operation in REGISTRY}
    with running(tmp_path) as panel:
        for name, then in ORDER:
            operation = REGISTRY.operation(name)
            if name == "preview.apply":
                finish_a_preview(panel)
            answer = call(panel, operation, example_of(panel, operation))
            assert answer.status == (202 if changes_state(operation) else 200), (name, answer)
            operation.result.model_validate_json(answer.raw)
            settle(panel, TargetStatus.FAILED if then == "fail" else TargetStatus.APPLIED)
            if name == "tenant.create":
                call(panel, REGISTRY.operation("tenant.update"), {"name": "acme"}, query="?dry_run=true")


def example_of(panel: Panel, operation: Operation) -> dict[str, Any]:
    """Return the example; the id in it is made that of a real record, for ids cannot be known beforehand."""
    given = dict(operation.example)
    if "id" in given:
        path = route_of(REGISTRY.operation(f"{operation.object}.list")).path
        items = panel.send("GET", path).json["items"]
        wanted = [item for item in items if operation.verb != "retry" or item["status"] == "failed"]
        given["id"] = (wanted or [{"id": given["id"]}])[0]["id"]
    return given


def finish_a_preview(panel: Panel) -> None:
    """Make a preview that can be applied, as an engine would; it is the newest then."""
    operation, ledger = REGISTRY.operation("tenant.update"), panel.system.ledger
    preview = call(panel, operation, {"name": "acme", "display_name": "Previewed"}, query="?dry_run=true").json["id"]
    ledger.begin_preview(preview, "test", 30)
    run = ledger.begin_run("local", (), correlation="c", check=True, preview_id=preview)
    ledger.finish_run(run, RecordStatus.SUCCEEDED, "", [])
    ledger.finish_preview(preview, RecordStatus.SUCCEEDED, "", [], True)


@pytest.fixture(scope="module")
def fresh_for_examples(tmp_path_factory: pytest.TempPathFactory):
    """Return a panel with the things that examples speak of."""
    with running(tmp_path_factory.mktemp("examples")) as panel:
        panel.submit("node.create", name="web1", address="192.0.2.10", host_key=KEY)
        panel.submit("tenant.create", name="acme")
        panel.submit("domain.create", name="acme.example", tenant="acme")
        settle(panel)
        yield panel


# ---- 409: one way to provoke every declared code ----


def _being_removed_tenant(panel: Panel) -> Answer:
    panel.submit("tenant.delete", name="acme")
    return call(panel, REGISTRY.operation("tenant.create"), {"name": "acme"})


def _exhausted(panel: Panel) -> Answer:
    with panel.system.store.write() as unit:
        unit.allocate("uid", 59_999, 59_999)
    return call(panel, REGISTRY.operation("tenant.create"), {"name": "toomany"})


def _being_removed_domain(panel: Panel) -> Answer:
    panel.submit("domain.delete", name="acme.example")
    return call(panel, REGISTRY.operation("domain.create"), {"name": "acme.example", "tenant": "acme"})


def _module_disabled(panel: Panel) -> Answer:
    panel.submit("module.disable", name="webserver")
    return call(panel, REGISTRY.operation("domain.create"), {"name": "more.example", "tenant": "acme"})


def _module_not_installed(panel: Panel) -> Answer:
    panel.submit("domain.delete", name="acme.example")
    settle(panel)
    panel.submit("module.remove", name="webserver")
    settle(panel)
    panel.token("modest", {"domain.write"}, {"acme"})
    given = {"name": "more.example", "tenant": "acme"}
    return call(panel, REGISTRY.operation("domain.create"), given, caller="modest")


def _alias_taken(panel: Panel) -> Answer:
    panel.submit("domain.create", name="second.example", tenant="acme")
    given = {"name": "second.example", "aliases": ["acme.example"]}
    return call(panel, REGISTRY.operation("domain.update"), given)


def _module_being_removed(panel: Panel) -> Answer:
    panel.submit("domain.delete", name="acme.example")
    settle(panel)
    panel.submit("module.remove", name="webserver")
    return call(panel, REGISTRY.operation("module.install"), {"name": "webserver"})


def _set_name_taken(panel: Panel) -> Answer:
    given = {"operations": [{"operation": "tenant.create", "input": {"name": "acme"}}]}
    return call(panel, REGISTRY.operation("change.create"), given)


def _not_failed(panel: Panel) -> Answer:
    change = panel.submit("tenant.update", name="acme", display_name="Fine")
    return call(panel, REGISTRY.operation("change.retry"), {"id": change.id})


def _again(operation: str, **given: Any) -> Callable[[Panel], Answer]:
    return lambda panel: call(panel, REGISTRY.operation(operation), given)


def _tenant_where_disabled(panel: Panel) -> Answer:
    panel.submit("module.disable", name="accounts")
    return call(panel, REGISTRY.operation("tenant.create"), {"name": "late"})


def _tenant_where_not_installed(panel: Panel) -> Answer:
    panel.submit("node.create", name="bare", address="192.0.2.11", host_key=KEY)
    panel.token("modest", {"tenant.write"}, None)
    return call(panel, REGISTRY.operation("tenant.create"), {"name": "late", "node": "bare"}, caller="modest")


PROVOKED: dict[tuple[str, str], Callable[[Panel], Answer]] = {
    ("tenant.create", "name_taken"): _again("tenant.create", name="acme"),
    ("tenant.create", "being_removed"): _being_removed_tenant,
    ("tenant.create", "exhausted"): _exhausted,
    ("tenant.create", "module_disabled"): _tenant_where_disabled,
    ("tenant.create", "module_not_installed"): _tenant_where_not_installed,
    ("domain.create", "name_taken"): _again("domain.create", name="acme.example", tenant="acme"),
    ("domain.create", "being_removed"): _being_removed_domain,
    ("domain.create", "module_disabled"): _module_disabled,
    ("domain.create", "module_not_installed"): _module_not_installed,
    ("domain.update", "name_taken"): _alias_taken,
    ("node.create", "name_taken"): _again("node.create", name="local", connection="local"),
    ("node.delete", "in_use"): _again("node.delete", name="local"),
    ("module.install", "being_removed"): _module_being_removed,
    ("module.remove", "in_use"): _again("module.remove", name="webserver"),
    ("change.create", "name_taken"): _set_name_taken,
    ("change.retry", "not_failed"): _not_failed,
}
# Provoked where an SSH server answers: tests/e2e creates a node there.
# The codes of preview.apply are provoked in tests/unit/modules/test_apply.py, where previews are made.
ELSEWHERE = {("node.create", "host_key_unconfirmed")} | {
    ("preview.apply", f"preview_{word}") for word in ("applied", "failed", "stale", "unfinished")
}
DECLARED = {(operation.name, code) for operation in REGISTRY for code in operation.conflicts}


def test_every_conflict_is_provoked() -> None:
    assert set(PROVOKED) | ELSEWHERE == DECLARED
    assert not set(PROVOKED) & ELSEWHERE


@pytest.mark.parametrize("name, code", sorted(PROVOKED), ids=lambda value: value)
def test_409(fresh: Panel, name: str, code: str) -> None:
    answer = PROVOKED[(name, code)](fresh)
    assert (answer.status, answer.code) == (409, code)
    assert fresh.audit()[-1]["outcome"] == f"refused: {code}"


@pytest.mark.parametrize(
    "removals",
    [
        [
            ("domain.delete", {"name": "acme.example"}),
            ("tenant.delete", {"name": "acme"}),
            ("module.remove", {"name": "webserver"}),
        ],
        [("tenant.delete", {"name": "acme"})],
    ],
)
def test_a_removal_that_a_node_has_refused_is_tried_again(fresh: Panel, removals: list[tuple[str, Any]]) -> None:
    for name, given in removals:
        fresh.submit(name, **given)
        settle(fresh, TargetStatus.FAILED)
        assert not fresh.system.ledger.pending_nodes()
        assert call(fresh, REGISTRY.operation(name), given).status == 202
        settle(fresh)
        assert call(fresh, REGISTRY.operation(name), given).status == 404


def test_what_is_being_removed_takes_no_other_change(fresh: Panel) -> None:
    fresh.submit("domain.delete", name="acme.example")
    settle(fresh, TargetStatus.FAILED)
    for name in ("domain.update", "domain.suspend", "domain.unsuspend", "domain.show"):
        assert call(fresh, REGISTRY.operation(name), {"name": "acme.example"}).status == 404


def test_the_tombstone_holds_the_name(fresh: Panel) -> None:
    """What is being removed is no longer shown as there, and its name is free only after the node let go."""
    fresh.submit("tenant.delete", name="acme")
    assert call(fresh, REGISTRY.operation("tenant.show"), {"name": "acme"}).status == 404
    settle(fresh)
    with fresh.system.store.read() as state:
        assert state.find(Ref("tenant", "acme")) is None
    assert call(fresh, REGISTRY.operation("tenant.create"), {"name": "acme"}).status == 202
