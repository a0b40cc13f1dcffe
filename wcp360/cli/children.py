"""The two processes of ``wcp360 serve``: ``python -m wcp360.cli.children api|engine SUPERVISOR``."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from wcp360.core.config import load_settings
from wcp360.core.errors import Problem

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(supervisor: int) -> None:
    """Have the kernel end this process when its parent goes, however that goes."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # The parent may have gone before the call.
    if os.getppid() != supervisor:
        sys.exit(f"The supervisor {supervisor} is gone.")


def api() -> None:
    """Serve HTTP until SIGTERM."""
    from wcp360.api.server import serve_api
    from wcp360.wiring import build, build_app

    settings = load_settings()
    # The application is made after gunicorn's fork, so that no connection to the database crosses it.
    serve_api(lambda: build_app(build(settings)), settings)


def engine(supervisor: int) -> None:
    """Converge nodes until SIGTERM."""
    from wcp360.api.logs import configure_logging
    from wcp360.engine.consumer import serve_engine
    from wcp360.wiring import build

    settings = load_settings()
    configure_logging(settings.log_level)
    system = build(settings)
    declared = system.registry.footprints()
    serve_engine(system.store, system.ledger, settings, supervisor=supervisor, declared=declared)


def main() -> None:
    """Become one of the two."""
    role, supervisor = sys.argv[1], int(sys.argv[2])
    die_with(supervisor)
    try:
        api() if role == "api" else engine(supervisor)
    except Problem as problem:
        sys.exit(problem.detail)


if __name__ == "__main__":
    main()
