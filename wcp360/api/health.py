"""``/healthz`` (the process lives), ``/readyz`` (it can work) and ``/metrics``."""

from __future__ import annotations

import ipaddress
import json

import structlog
from flask import Flask, Response, request

from wcp360.api.caller import authenticate
from wcp360.api.metrics import CONTENT_TYPE
from wcp360.api.services import Services
from wcp360.core.errors import Forbidden, Unavailable

METRICS_PERMISSION = "metrics.read"
_PROXIED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")


def install(app: Flask, services: Services) -> None:
    """Add the three routes."""
    app.add_url_rule("/healthz", "healthz", _healthz, methods=["GET"])
    app.add_url_rule("/readyz", "readyz", lambda: _readyz(services), methods=["GET"])
    app.add_url_rule("/metrics", "metrics", lambda: _metrics(services), methods=["GET"])


def _healthz() -> Response:
    return _json({"status": "ok"})


def _readyz(services: Services) -> Response:
    """Say which condition is not met; the reason itself is in the log, since anybody may ask here."""
    for name, check in {"database": lambda: _read_database(services), **services.checks}.items():
        try:
            check()
        except Exception:
            structlog.get_logger().exception("Not ready.", check=name)
            raise Unavailable(f"Not ready: {name}. The log says why.", code="not_ready", check=name) from None
    return _json({"status": "ready"})


def _read_database(services: Services) -> None:
    with services.store.read() as state:
        state.events(tenants=None, limit=1, after=0)


def _metrics(services: Services) -> Response:
    """Answer this machine itself without a token; everybody else, also by way of a proxy here, needs one."""
    if not _is_local():
        actor = authenticate(services)
        if not actor.has(METRICS_PERMISSION) or actor.tenants is not None:
            raise Forbidden(f"Metrics need the permission {METRICS_PERMISSION!r} and no limit to tenants.")
    return Response(services.metrics.render(), content_type=CONTENT_TYPE)


def _is_local() -> bool:
    if any(name in request.headers for name in _PROXIED):
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return not request.remote_addr  # A Unix socket has no address; who may open it is a matter of its mode.


def _json(body: dict[str, str]) -> Response:
    return Response(json.dumps(body), content_type="application/json")
