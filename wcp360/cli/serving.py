"""``wcp360 serve``: sees that the server can start, and becomes its supervisor."""

from __future__ import annotations

import fcntl
import os
import pwd
import sys
from pathlib import Path
from typing import NoReturn

from wcp360.cli.setup import open_store
from wcp360.cli.supervisor import log
from wcp360.core.config import Settings
from wcp360.core.errors import Conflict

LOCK_FILE = "serve.lock"


def serve(settings: Settings) -> NoReturn:
    """Become the supervisor, with the same process id. Raises Problem where the system cannot start."""
    _ready(settings)
    _only_one(settings.state_dir)
    account = pwd.getpwuid(os.geteuid()).pw_name
    log(
        f"API and engine share the account {account!r} here, and this account is root on its nodes: whoever takes "
        "over the API has the nodes. For more than a trial, give them an account each."
    )
    where = settings.api.socket or f"http://{settings.api.host}:{settings.api.port}"
    log(f"state in {settings.state_dir}, listening on {where}; stop with Ctrl-C or SIGTERM to pid {os.getpid()}")
    # What was imported to get here would stay in memory for as long as the server runs.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "wcp360.cli.supervisor"])  # noqa: S606 - no shell, on purpose


def _ready(settings: Settings) -> None:
    from wcp360.storage import pending_migrations

    store = open_store(settings)
    waiting = pending_migrations(store)
    store.close()
    if waiting:
        raise Conflict(
            f"The database in {settings.state_dir} is not ready ({', '.join(waiting)}); run `wcp360 init` on a new "
            "server, or `wcp360 migrate` after an upgrade.",
            code="not_migrated",
        )


def _only_one(state_dir: Path) -> None:
    """Take the state directory's lock, which the kernel lets go when this process ends in whatever way."""
    descriptor = os.open(state_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(descriptor, 20).decode(errors="replace").strip()
        raise Conflict(
            f"A WCP360 server runs on {state_dir} already (pid {pid}); stop it first, or set another "
            "WCP360_STATE_DIR and WCP360_API__PORT.",
            code="already_running",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    # The supervisor holds it on; its children are started without it.
    os.set_inheritable(descriptor, True)
