"""The HTTP side as such: methods, headers, bodies, waits, problems, audit, on a real server."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.api.panel import API, ORIGIN, Panel, running
from wcp360.core.ids import is_id, new_id
from wcp360.core.ports import TargetOutcome, TargetStatus
from wcp360.core.views import RecordStatus


def test_a_change_is_accepted_with_its_location(panel: Panel) -> None:
    answer = panel.send("POST", f"{API}/tenants", {"name": "first"})
    assert answer.status == 202
    change = answer.json
    assert answer.headers["location"] == f"{API}/changes/{change['id']}"
    assert (change["operation"], change["status"], change["actor"]) == ("tenant.create", "pending", "root")
    assert panel.send("GET", answer.headers["location"]).json["id"] == change["id"]
    assert panel.send("GET", f"{API}/tenants/first").json["uid"] >= 20000


def test_a_dry_run_keeps_a_preview_and_changes_nothing(panel: Panel) -> None:
    before = panel.send("GET", f"{API}/tenants?limit=1000").json
    answer = panel.send("POST", f"{API}/tenants?dry_run=true", {"name": "maybe"})
    assert answer.status == 202
    assert answer.headers["location"] == f"{API}/previews/{answer.json['id']}"
    assert answer.json["status"] == "queued"
    assert panel.send("GET", f"{API}/tenants/maybe").status == 404
    assert panel.send("GET", f"{API}/tenants?limit=1000").json == before
    assert panel.audit()[-1]["outcome"] == "previewed"


def test_dry_run_takes_true_and_false_only(panel: Panel) -> None:
    for query in ("dry_run=1", "dry_run=", "dry_run=true&dry_run=false", "dry_run=True"):
        answer = panel.send("POST", f"{API}/tenants?{query}", {"name": "nothere"})
        assert (answer.status, answer.fields) == (422, ["dry_run"])
    assert panel.send("GET", f"{API}/tenants/nothere").status == 404


def test_a_wait_ends_with_the_change(panel: Panel) -> None:
    finisher = threading.Thread(target=_finish_next, args=(panel, "patient"))
    finisher.start()
    began = time.monotonic()
    answer = panel.send("POST", f"{API}/tenants", {"name": "patient"}, headers={"Prefer": "wait=20"})
    finisher.join()
    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=20"
    assert time.monotonic() - began < 10


def test_a_wait_ends_after_its_time(panel: Panel) -> None:
    began = time.monotonic()
    answer = panel.send("POST", f"{API}/tenants", {"name": "impatient"}, headers={"Prefer": "wait=1"})
    assert (answer.status, answer.json["status"]) == (202, "pending")
    assert 0.9 < time.monotonic() - began < 5


def _finish_next(panel: Panel, name: str) -> None:
    """Do what the engine does, as soon as the tenant is there."""
    ledger = panel.system.ledger
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        targets = ledger.pending("local")
        if any(target.ref.name == name for target in targets):
            run = ledger.begin_run("local", targets, correlation=new_id())
            ledger.record(run, [TargetOutcome(t.ref, t.wanted, TargetStatus.APPLIED) for t in targets])
            ledger.finish_run(run, RecordStatus.SUCCEEDED, "", [])
            return
        time.sleep(0.05)


@pytest.mark.parametrize("prefer", ["wait=abc", "wait", "respond-async", "wait=-1", "handling=lenient"])
def test_preferences_that_mean_nothing_are_ignored(panel: Panel, prefer: str) -> None:
    answer = panel.send("POST", f"{API}/tenants?dry_run=true", {"name": "other"}, headers={"Prefer": prefer})
    assert answer.status == 202
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", f"{API}/tenants/", 404, "not_found"),
        ("GET", "/api//v1/tenants", 404, "not_found"),
        ("GET", f"{API}/../api/v1/tenants", 404, "not_found"),
        ("GET", f"{API}/operations/a%2Fb", 404, "not_found"),
        ("PUT", f"{API}/tenants", 405, "method_not_allowed"),
        ("TRACE", f"{API}/tenants", 405, "method_not_allowed"),
        ("DELETE", f"{API}/tenants", 405, "method_not_allowed"),
        ("GET", f"{API}/stream", 426, "upgrade_needed"),
    ],
)
def test_unknown_paths_and_methods(panel: Panel, method: str, path: str, status: int, code: str) -> None:
    answer = panel.send(method, path)
    assert (answer.status, answer.code) == (status, code)


def test_other_methods_change_nothing(panel: Panel) -> None:
    """OPTIONS and HEAD carry no change, and no header turns a method into another."""
    before = panel.state_hash()
    body = {"name": "sneaky"}
    assert panel.send("OPTIONS", f"{API}/tenants", body).status == 200
    assert panel.send("OPTIONS", "/x", body).status == 404
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert panel.send("GET", f"{API}/tenants", headers={name: "POST"}).status == 200
    assert panel.send("GET", f"{API}/tenants?_method=POST").status == 422
    head = panel.send("HEAD", f"{API}/tenants")
    assert (head.status, head.raw) == (200, b"")
    assert panel.send("HEAD", f"{API}/tenants", caller=None).status == 401
    assert panel.state_hash() == before


def test_methods_without_a_body_refuse_one(panel: Panel) -> None:
    assert panel.send("GET", f"{API}/tenants", {"limit": 1}).code == "malformed"
    assert panel.send("DELETE", f"{API}/tenants/first", {"purge": True}).code == "malformed"


@pytest.mark.parametrize(
    "declared", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", ""]
)
def test_other_media_types_are_refused(panel: Panel, declared: str) -> None:
    answer = panel.send("POST", f"{API}/tenants", b'{"name": "media"}', headers={"Content-Type": declared})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert panel.send("GET", f"{API}/tenants/media").status == 404


def test_untrusted_headers_are_ignored(panel: Panel) -> None:
    """Neither Location nor anything else in an answer comes from Host or a forwarding header."""
    headers = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-For": "9.9.9.9, 203.0.113.5",
        "X-Forwarded-Proto": "https",
        "Script-Name": "/evil",
    }
    answer = panel.send("POST", f"{API}/tenants?dry_run=true", {"name": "proxied"}, headers=headers)
    assert answer.status == 202
    assert answer.headers["location"].startswith(f"{API}/previews/")
    assert "evil" not in str(answer.headers) + answer.raw.decode()


@pytest.mark.parametrize("origin", ["https://evil.example", f"{ORIGIN}.evil.com", "null", ORIGIN.upper(), ""])
def test_changes_from_other_origins_are_refused(panel: Panel, origin: str) -> None:
    answer = panel.send("POST", f"{API}/tenants", {"name": "csrf"}, headers={"Origin": origin})
    assert (answer.status, answer.code) == (403, "origin_not_allowed")
    # Without a token the limit on failed authentication counts, or anybody could fill the audit log.
    assert panel.send("POST", f"{API}/tenants", {"name": "csrf"}, caller=None, headers={"Origin": origin}).status == 401
    assert panel.send("POST", f"{API}/tenants?dry_run=true", {"name": "own"}, headers={"Origin": ORIGIN}).status == 202


def test_the_correlation_id_goes_through(panel: Panel) -> None:
    mine = new_id()
    answer = panel.send("POST", f"{API}/tenants", {"name": "traced"}, headers={"X-Request-Id": mine})
    assert answer.headers["x-request-id"] == answer.json["correlation"] == mine
    assert panel.audit()[-1]["correlation"] == mine
    log = (panel.state_dir / "api.log").read_text().splitlines()
    lines = [json.loads(line) for line in log]
    assert any(line.get("correlation") == mine and line.get("operation") == "tenant.create" for line in lines)
    other = panel.send("GET", "/healthz", headers={"X-Request-Id": "evil value"})
    assert is_id(other.headers["x-request-id"])


def test_every_refused_change_has_one_audit_entry(panel: Panel) -> None:
    cases: list[tuple[str, str, Any, str | None, str, str]] = [
        ("POST", "/tenants", {"name": "Not Valid"}, "root", "root", "refused: invalid"),
        ("POST", "/tenants", b"{", "root", "root", "refused: malformed"),
        ("POST", "/tenants", {"name": "fine"}, "powerless", "powerless", "denied: forbidden"),
        ("POST", "/tenants", {"name": "Bad"}, "powerless", "powerless", "denied: forbidden"),
        ("POST", "/tenants", {"name": "fine"}, None, "anonymous", "denied: unauthenticated"),
        ("PATCH", "/tenants/nosuch", {"shell": "/bin/bash"}, "root", "root", "denied: not_found"),
        ("POST", "/tenants", {"name": "first"}, "root", "root", "refused: name_taken"),
        ("POST", "/tenants?dry_run=true", {"name": "first"}, "root", "root", "refused: name_taken"),
        ("DELETE", "/tenants/first?purge=maybe", None, "root", "root", "refused: invalid"),
    ]
    if panel.send("GET", f"{API}/tenants/first").status == 404:
        panel.submit("tenant.create", name="first")
    for method, path, body, caller, actor, outcome in cases:
        before, count = panel.state_hash(), len(panel.audit())
        headers = {"Content-Type": "application/json"} if isinstance(body, bytes) else None
        panel.send(method, API + path, body, caller=caller, headers=headers)
        entries = panel.audit()
        assert len(entries) == count + 1, (method, path)
        assert (entries[-1]["actor"], entries[-1]["outcome"]) == (actor, outcome)
        assert panel.state_hash() == before
    assert panel.send("GET", f"{API}/audit/verify").json["intact"] is True


def test_what_is_not_http_is_answered_in_the_same_shape(panel: Panel) -> None:
    for data in (b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        head, _, body = panel.raw(data).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in head
        assert json.loads(body)["code"] == "malformed"


@pytest.mark.parametrize("body", [b"1\r\n{\r\nzz\r\n", b"ffffffffffffffff\r\n{", b"-1\r\n\r\n"])
def test_badly_chunked_bodies(panel: Panel, body: bytes) -> None:
    head = (
        f"POST {API}/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {panel.tokens['root']}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    with panel.connect() as connection:
        connection.sendall(head + body)
        connection.shutdown(1)
        assert b" 400 " in connection.recv(65536).splitlines()[0]


def test_chunked_bodies_have_the_same_limit(panel: Panel) -> None:
    head = (
        f"POST {API}/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {panel.tokens['root']}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with panel.connect() as connection:
        connection.sendall(head + chunk * 17 + b"0\r\n\r\n")
        assert b" 413 " in connection.recv(65536).splitlines()[0]


def test_health_and_metrics(panel: Panel) -> None:
    assert panel.send("GET", "/healthz", caller=None).json == {"status": "ok"}
    assert panel.send("GET", "/readyz", caller=None).json == {"status": "ready"}
    metrics = panel.send("GET", "/metrics", caller=None)
    assert b'wcp360_http_requests_total{operation="tenant.create"' in metrics.raw
    proxied = {"X-Forwarded-For": "192.0.2.1"}
    assert panel.send("GET", "/metrics", caller=None, headers=proxied).status == 401
    assert panel.send("GET", "/metrics", caller="acme-only", headers=proxied).status == 403
    assert panel.send("GET", "/metrics", headers=proxied).status == 200


def test_the_unix_socket_serves_too_and_is_not_for_everybody(panel: Panel) -> None:
    assert stat.S_IMODE(os.stat(panel.socket).st_mode) == 0o660
    assert b"200 OK" in panel.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", unix=True)


def test_slow_requests_are_ended(tmp_path: Path) -> None:
    """A body, or a header, that does not arrive in time costs no thread for longer than that."""
    with running(tmp_path, WCP360_TEST_READ="2", WCP360_API__THREADS="4") as panel:
        stalled = [panel.connect() for _ in range(4)]
        token = panel.tokens["root"]
        for connection in stalled[:3]:
            connection.sendall(
                f"POST {API}/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{".encode()
            )
        stalled[3].sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        began = time.monotonic()
        for connection in stalled[:3]:
            connection.settimeout(10)
            answer = b""
            while b"correlation" not in answer:
                part = connection.recv(65536)
                assert part, answer
                answer += part
            assert b" 408 " in answer.splitlines()[0]
            assert b"request_timeout" in answer
        assert time.monotonic() - began < 6
        assert panel.send("GET", "/healthz").status == 200
        for connection in stalled:
            connection.close()
        assert [entry["outcome"] for entry in panel.audit()].count("refused: request_timeout") == 3


def test_rate_limits(tmp_path: Path) -> None:
    with running(tmp_path, WCP360_TEST_FAILED="3/minute", WCP360_TEST_DRY_RUNS="2/minute") as panel:
        wrong = {"Authorization": "Bearer wcp_wrong"}
        seen = [panel.send("GET", f"{API}/tenants", headers=wrong).status for _ in range(5)]
        assert seen == [401, 401, 401, 429, 429]
        assert panel.send("GET", f"{API}/tenants").status == 200
        dry = [panel.send("POST", f"{API}/tenants?dry_run=true", {"name": "dry"}).status for _ in range(4)]
        assert dry == [202, 202, 429, 429]
        assert panel.send("POST", f"{API}/tenants", {"name": "wet"}).status == 202


def test_change_sets_may_be_larger_than_other_bodies(panel: Panel) -> None:
    """1,200 operations of two kilobytes each pass the limit; what is wrong with them is said of their fields."""
    member = {"operation": "tenant.create", "input": {"name": "!", "display_name": "x" * 2000}}
    body = json.dumps({"operations": [member] * 1200}).encode()
    assert 2**20 < len(body) < 4 * 2**20
    answer = panel.send("POST", f"{API}/changes", body, headers={"Content-Type": "application/json"})
    assert answer.status == 422
    for path, length in (("tenants", 2**20 + 1), ("changes", 4 * 2**20 + 1)):
        head = f"POST {API}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {panel.tokens['root']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        assert b" 413 " in panel.raw(head.encode()).splitlines()[0]
