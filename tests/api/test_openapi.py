"""The OpenAPI document: valid, complete, in step with the URL map and docs, and true under generated requests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from tests.api.panel import API, Panel, running
from wcp360.api.app import HAND_WRITTEN, create_app
from wcp360.api.docs import operations_page
from wcp360.api.openapi import openapi_document
from wcp360.core.config import Settings
from wcp360.core.routes import route_of
from wcp360.wiring import build, build_registry

ROOT = Path(__file__).parents[2]


def test_the_document_is_valid_and_holds_every_route() -> None:
    registry = build_registry()
    document = openapi_document(registry)
    validate(document)
    routes = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert routes == {(route_of(o).method, route_of(o).path) for o in registry}
    assert len(routes) == len(registry)


def test_the_url_map_holds_the_operations_and_the_few_written_by_hand(tmp_path: Path) -> None:
    """A route that is not derived has to be added to HAND_WRITTEN, where people look for them."""
    system = build(Settings(state_dir=tmp_path))
    app = create_app(
        door=system.door,
        registry=system.registry,
        verify_token=system.tokens.verify,
        store=system.store,
        settings=system.settings,
        bell=system.bell,
    )
    derived = {(route_of(o).rule, route_of(o).method) for o in system.registry}
    found = {(rule.rule, method) for rule in app.url_map.iter_rules() for method in rule.methods or ()}
    found = {(rule, method) for rule, method in found if method not in ("HEAD", "OPTIONS")}
    assert found - derived == {(path, "GET") for path in HAND_WRITTEN}
    assert derived <= found


def test_the_operations_page_is_in_step() -> None:
    assert (ROOT / "docs/operations.md").read_text() == operations_page(build_registry()), (
        "Run `python -m wcp360.api.docs > docs/operations.md`."
    )


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Panel]:
    """Return a server that waits for nothing: generated requests ask for waits, and no engine ends them."""
    with running(tmp_path, WCP360_API__MAX_WAIT="0.01") as started:
        yield started


@pytest.mark.timeout(180)
def test_generated_requests_find_no_fault(hasty: Panel) -> None:
    """schemathesis sends what the document allows and what it does not: no 5xx, no undocumented answer."""
    panel = hasty
    panel.submit("tenant.create", name="acme")
    command = [
        *(
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"http://127.0.0.1:{panel.port}{API}/openapi.json",
        ),
        *("--header", f"Authorization: Bearer {panel.tokens['root']}"),
        *("--phases", "examples,fuzzing", "--max-examples", "5", "--seed", "1", "--workers", "1"),
        *(
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ),
        # Its example is a server on a documentation address, which is not asked but takes its time to fail.
        *("--exclude-operation-id", "node.create", "--no-color"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    log = [json.loads(line) for line in (panel.state_dir / "api.log").read_text().splitlines() if line.startswith("{")]
    answered = {line["operation"] for line in log if line.get("event") == "request"}
    assert {o.name for o in build_registry()} - answered <= {"node.create"}
    assert re.search(r"\d+ passed|No issues found", done.stdout)
