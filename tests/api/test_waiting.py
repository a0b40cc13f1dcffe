"""Waiting for a change that is accepted already."""

from __future__ import annotations

from pathlib import Path

from wcp360.api.app import create_app
from wcp360.core.actor import SYSTEM
from wcp360.core.config import Settings
from wcp360.storage import SqlStore, migrate
from wcp360.wiring import build


def test_an_accepted_change_is_answered_as_accepted_where_waiting_fails(tmp_path: Path) -> None:
    system = build(Settings(state_dir=tmp_path))
    migrate(system.store)
    away = SqlStore(tmp_path / "empty.db")  # has no tables, as a database that went away while somebody waits
    app = create_app(
        door=system.door,
        registry=system.registry,
        verify_token=lambda token: SYSTEM,
        store=away,
        settings=system.settings,
        bell=system.bell,
    )
    headers = {"Authorization": "Bearer x", "Prefer": "wait=5"}
    answer = app.test_client().post("/api/v1/nodes", json={"name": "local", "connection": "local"}, headers=headers)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/changes/{answer.json['id']}"
    with system.store.read() as state:
        assert state.change(answer.json["id"]).operation == "node.create"
    for store in (away, system.store):
        store.close()
