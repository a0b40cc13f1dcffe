"""Serve the API of the configured state directory; a test may lower the limits by environment variables."""

from __future__ import annotations

import os

from wcp360.api import reading
from wcp360.api.app import create_app
from wcp360.api.server import serve_api
from wcp360.api.services import Limits
from wcp360.core.config import Settings, load_settings
from wcp360.wiring import build


def main() -> None:
    """Read settings and limits, then serve until told to stop."""
    limits = Limits(
        heartbeat=float(os.environ.pop("WCP360_TEST_HEARTBEAT", "20")),
        patience=float(os.environ.pop("WCP360_TEST_PATIENCE", "10")),
        recheck=float(os.environ.pop("WCP360_TEST_RECHECK", "15")),
        failed_logins=os.environ.pop("WCP360_TEST_FAILED", "10000/minute"),
        dry_runs=os.environ.pop("WCP360_TEST_DRY_RUNS", "10000/minute"),
    )
    reading.WATCH.seconds = float(os.environ.pop("WCP360_TEST_READ", "20"))
    settings = load_settings()
    serve_api(lambda: _app(settings, limits), settings)


def _app(settings: Settings, limits: Limits):
    system = build(settings)
    return create_app(
        door=system.door,
        registry=system.registry,
        verify_token=system.tokens.verify,
        store=system.store,
        settings=settings,
        bell=system.bell,
        limits=limits,
    )


if __name__ == "__main__":
    main()
