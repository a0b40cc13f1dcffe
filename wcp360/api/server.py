"""gunicorn, configured in code: one process, many threads, TCP and a Unix socket, a stop that does not hang."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import TConn, ThreadWorker

from wcp360.api.app import services_of
from wcp360.api.logs import configure_logging, logging_config
from wcp360.api.problems import CONTENT_TYPE
from wcp360.api.reading import WATCH
from wcp360.core.config import Settings
from wcp360.core.errors import Malformed
from wcp360.core.ids import new_id

# Streams and waits end at once when told to; this is for requests that are in the middle of a transaction.
GRACE_SECONDS = 2
# Owner and group may connect; who that is, the directory's owner decides.
SOCKET_UMASK = 0o117


def serve_api(build: Callable[[], Flask], settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then leave by SystemExit within 5 seconds.

    ``build`` is called in the worker process, after the fork, so that no database connection is shared.
    """
    configure_logging(settings.log_level)
    _Application(build, settings).run()


class Worker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker whose clients have a time limit, and whose streams end when it is told to stop."""

    def init_process(self) -> None:
        """Configure logging in the worker, then serve."""
        configure_logging(self.cfg.settings["loglevel"].get())
        super().init_process()

    def handle(self, conn: TConn) -> Any:
        """Serve a connection's next request, which must arrive in time."""
        WATCH.begin(conn.sock)
        try:
            return super().handle(conn)
        finally:
            WATCH.end()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop: let go of streams and waits, from a thread because a signal handler may take no locks."""
        super().handle_exit(sig, frame)
        threading.Thread(target=self._stop_waiting, name="stop", daemon=True).start()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what is not HTTP in the shape that all refusals have; what the client sent is not repeated."""
        correlation = new_id()
        structlog.get_logger().warning("unreadable request", reason=type(exc).__name__, correlation=correlation)
        problem = Malformed("The request is not valid HTTP. Check its first line and its headers.")
        body = json.dumps(problem.body() | {"correlation": correlation}).encode()
        head = (
            f"HTTP/1.1 {problem.status} Bad Request\r\nConnection: close\r\nX-Request-Id: {correlation}\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            client.sendall(head.encode("ascii") + body)
        except OSError:
            structlog.get_logger().debug("The client did not wait for its answer.")

    def _stop_waiting(self) -> None:
        services_of(self.app.wsgi()).pulse.stop()


class _Application(BaseApplication):  # type: ignore[misc]
    """Gives gunicorn its configuration; nothing is read from files, arguments or GUNICORN_CMD_ARGS."""

    def __init__(self, build: Callable[[], Flask], settings: Settings) -> None:
        self._build = build
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        for name, value in _options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make the application, in the worker."""
        return self._build()


def _options(settings: Settings) -> dict[str, Any]:
    api = settings.api
    address = f"[{api.host}]:{api.port}" if ":" in api.host else f"{api.host}:{api.port}"
    return {
        "bind": [address, *([f"unix:{api.socket}"] if api.socket else [])],
        "umask": SOCKET_UMASK,
        "workers": 1,
        "worker_class": Worker,
        "threads": api.threads,
        "timeout": 60,
        "graceful_timeout": GRACE_SECONDS,
        "keepalive": 5,
        "proc_name": "wcp360-api",
        # Nobody in front is believed: not for schemes, nor for script names.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "forwarder_headers": "",
        "limit_request_line": 4094,
        "limit_request_fields": 64,
        "limit_request_field_size": 8190,
        "control_socket_disable": True,
        "loglevel": settings.log_level,
        "logconfig_dict": logging_config(settings.log_level),
    }
