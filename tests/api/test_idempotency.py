"""``Idempotency-Key`` on a real server: whatever breaks between, a request under one key is done once."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api.panel import API, Answer, Panel, running
from wcp360.cli.client import Client
from wcp360.cli.exits import Failure
from wcp360.cli.place import Place
from wcp360.storage.times import text_of

TENANTS = f"{API}/tenants"


def post(panel: Panel, key: str, name: str, query: str = "", **options: Any) -> Answer:
    """Create a tenant under a key."""
    return panel.send("POST", TENANTS + query, {"name": name}, headers={"Idempotency-Key": f'"{key}"'}, **options)


def changes(panel: Panel, tenant: str) -> int:
    """Count the changes of a tenant."""
    return len(panel.send("GET", f"{API}/changes?tenant={tenant}").json["items"])


def test_the_first_answer_is_given_again(panel: Panel) -> None:
    first = post(panel, "k1", "again")
    second = post(panel, "k1", "again")
    assert (first.status, second.status) == (202, 202)
    assert first.raw == second.raw
    assert first.headers["location"] == second.headers["location"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert changes(panel, "again") == 1
    # Without the key it is another request, and the name is taken.
    assert panel.send("POST", TENANTS, {"name": "again"}).code == "name_taken"
    # A bare token is the same key as a quoted string.
    bare = panel.send("POST", TENANTS, {"name": "again"}, headers={"Idempotency-Key": "k1"})
    assert bare.raw == first.raw


def test_another_request_under_the_key_is_refused(panel: Panel) -> None:
    assert post(panel, "k2", "first").status == 202
    for answer in (
        post(panel, "k2", "second"),
        post(panel, "k2", "first", "?dry_run=true"),
        panel.send("POST", f"{TENANTS}/first/suspend", headers={"Idempotency-Key": '"k2"'}),
    ):
        assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert changes(panel, "first") == 1
    assert panel.send("GET", f"{TENANTS}/second").status == 404


def test_a_key_is_its_actors_own(panel: Panel) -> None:
    assert post(panel, "k3", "acme").status == 202
    assert post(panel, "k3", "acme", caller="acme-only").code == "name_taken"


def test_every_changing_method_and_dry_runs(panel: Panel) -> None:
    panel.submit("tenant.create", name="methods")
    headers = {"Idempotency-Key": '"m"'}
    for number, (method, path, body) in enumerate(
        [
            ("PATCH", f"{TENANTS}/methods", {"shell": "/bin/bash"}),
            ("POST", f"{TENANTS}/methods/suspend?dry_run=true", None),
            ("POST", f"{API}/changes", {"operations": [{"operation": "tenant.suspend", "input": {"name": "methods"}}]}),
            ("DELETE", f"{TENANTS}/methods?purge=true", None),
        ]
    ):
        headers = {"Idempotency-Key": f'"method-{number}"'}
        before = panel.send("GET", f"{API}/changes?limit=1000").json["items"]
        answers = [panel.send(method, path, body, headers=headers) for _ in range(3)]
        assert {answer.status for answer in answers} == {202}, answers[0]
        assert len({answer.raw for answer in answers}) == 1
        after = panel.send("GET", f"{API}/changes?limit=1000").json["items"]
        assert len(after) - len(before) == ("dry_run" not in path)


def test_a_refusal_is_not_kept(panel: Panel) -> None:
    """Nothing was done, so the same request may be right a moment later."""
    given = {"name": "late.example", "tenant": "latecomer"}
    headers = {"Idempotency-Key": '"k4"'}
    assert panel.send("POST", f"{API}/domains", given, headers=headers).status == 404
    panel.submit("tenant.create", name="latecomer")
    assert panel.send("POST", f"{API}/domains", given, headers=headers).status == 202


@pytest.mark.parametrize("key", ['""', "", '"a', 'a"b', '"ä"', "a, b", '"' + "x" * 256 + '"', "a b"])
def test_malformed_keys(panel: Panel, key: str) -> None:
    answer = panel.send(
        "POST", TENANTS, {"name": "malformed"}, headers={"Idempotency-Key": key.encode().decode("latin-1")}
    )
    assert (answer.status, answer.code) == (400, "idempotency_key_malformed")


def test_a_key_means_nothing_where_nothing_changes(panel: Panel) -> None:
    assert panel.send("GET", TENANTS, headers={"Idempotency-Key": "a b"}).status == 200


def test_keys_are_kept_for_a_day(panel: Panel) -> None:
    assert post(panel, "k5", "aged").status == 202
    store = panel.system.store
    with store.write() as unit:
        old = text_of(datetime.now(UTC) - timedelta(hours=24, seconds=1))
        unit.tables.answer.update(created=old).execute()
    assert post(panel, "k5", "aged").code == "name_taken"
    assert post(panel, "k6", "younger").status == 202
    with store.read() as unit:
        assert unit.tables.answer.select().count() == 1


def test_keys_and_requests_are_not_kept_themselves(panel: Panel) -> None:
    assert post(panel, "my-secret-key", "hashed").status == 202
    assert b"my-secret-key" not in b"".join(
        path.read_bytes() for path in panel.state_dir.glob("wcp360.db*") if path.is_file()
    )


def test_fifty_at_once_are_one_change(panel: Panel) -> None:
    barrier = threading.Barrier(50)

    def one(_: int) -> Answer:
        barrier.wait()
        return post(panel, "k7", "fifty")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(one, range(50)))
    found = Counter(answer.status for answer in answers)
    assert set(found) <= {202, 409} and found[202] >= 1
    assert {answer.code for answer in answers if answer.status == 409} <= {"request_in_progress"}
    assert len({answer.raw for answer in answers if answer.status == 202}) == 1
    assert changes(panel, "fifty") == 1
    assert len([entry for entry in panel.audit() if entry["tenant"] == "fifty"]) == 1


def test_a_repetition_waits_for_the_end_of_the_change_again(panel: Panel) -> None:
    post(panel, "k8", "waits")
    answer = panel.send(
        "POST", TENANTS, {"name": "waits"}, headers={"Idempotency-Key": '"k8"', "Prefer": "wait=0.1, wait=1"}
    )
    assert answer.status == 202 and answer.headers["preference-applied"] == "wait=1"


def place_of(panel: Panel) -> Place:
    """Return where the CLI's client finds the server."""
    token = panel.state_dir / "cli.token"
    token.write_text(panel.tokens["root"])
    token.chmod(0o600)
    return Place("127.0.0.1", panel.port, False, "", panel.state_dir, token)


@pytest.fixture
def dying(tmp_path: Path) -> Iterator[Panel]:
    """Return a server that is killed after the commit of each change, before it can answer."""
    with running(tmp_path, WCP360_KILL_AT="submit.after_commit") as panel:
        yield panel


def test_a_kill_between_commit_and_answer_is_answered_by_the_repetition(dying: Panel) -> None:
    with pytest.raises((http.client.HTTPException, OSError)):
        post(dying, "k9", "killed")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            answer = post(dying, "k9", "killed")
            break
        except (http.client.HTTPException, OSError):
            time.sleep(0.1)
    assert answer.status == 202 and answer.json["tenant"] == "killed"
    assert changes(dying, "killed") == 1


def test_the_cli_repeats_a_change_by_itself(dying: Panel) -> None:
    answer = Client(place_of(dying)).call("POST", TENANTS, body={"name": "retried"}, once="of-the-cli")
    assert answer.status == 202 and answer.body["tenant"] == "retried"
    assert changes(dying, "retried") == 1


def test_without_a_key_the_cli_does_not_repeat_a_change(dying: Panel) -> None:
    with pytest.raises(Failure, match="change list"):
        Client(place_of(dying)).call("POST", TENANTS, body={"name": "once"})


def test_a_kill_before_the_commit_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, WCP360_KILL_AT="submit.before_commit") as panel:
        with pytest.raises((http.client.HTTPException, OSError)):
            post(panel, "k10", "early")
        with panel.system.store.read() as unit:
            assert unit.tables.answer.select().count() == 0
            assert unit.page("tenant").items == []
