"""The Flask application: derived routes for every operation, and the few that are written by hand."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

import structlog
from flask import Flask, Response, current_app, g, request

from wcp360.api import health, openapi, problems, stream
from wcp360.api.caller import correlation_id
from wcp360.api.dispatch import Endpoint
from wcp360.api.metrics import Metrics
from wcp360.api.pulse import LongCalls, Pulse
from wcp360.api.rates import Rates
from wcp360.api.reading import WATCH
from wcp360.api.services import Bell, Limits, Services
from wcp360.core.actor import Actor
from wcp360.core.config import Settings
from wcp360.core.ports import Store
from wcp360.core.registry import Registry
from wcp360.core.routes import route_of
from wcp360.core.submit import Door

# What does not fit an operation, in one place; a test counts these against the URL map.
HAND_WRITTEN = ("/api/v1/openapi.json", "/api/v1/stream", "/healthz", "/metrics", "/readyz")
EXTENSION = "wcp360"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def create_app(
    *,
    door: Door,
    registry: Registry,
    verify_token: Callable[[str], Actor | None],
    store: Store,
    settings: Settings,
    bell: Bell,
    limits: Limits | None = None,
    checks: Mapping[str, Callable[[], object]] | None = None,
) -> Flask:
    """Make the application.

    ``verify_token`` gets the bare token; ``checks`` are further conditions of readiness, which raise when not met.
    """
    services = Services(
        door=door,
        registry=registry,
        verify_token=verify_token,
        store=store,
        settings=settings,
        bell=bell,
        pulse=Pulse(store),
        long_calls=LongCalls(settings.api.threads, settings.api.max_streams),
        metrics=Metrics(),
        rates=Rates(),
        limits=limits or Limits(),
        checks=checks or {},
    )
    app = Flask("wcp360", static_folder=None)
    # An odd path is an unknown path; a redirect would carry a change elsewhere.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    app.extensions[EXTENSION] = services
    app.before_request(_begin)
    app.after_request(_end)
    problems.install(app)
    _add_operations(app, services)
    openapi.install(app, registry)
    health.install(app, services)
    stream.install(app, services)
    return app


def services_of(app: Flask) -> Services:
    """Return what the application was made with."""
    services: Services = app.extensions[EXTENSION]
    return services


def _add_operations(app: Flask, services: Services) -> None:
    for operation in services.registry:
        route = route_of(operation)
        view = Endpoint(services, operation)
        app.add_url_rule(route.rule, operation.name, view, methods=[route.method])


def _begin() -> None:
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        WATCH.end()  # All of it is here; what follows may take its time.
    g.started = time.monotonic()
    g.correlation = correlation_id()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(correlation=g.correlation)
    trace = request.headers.get("traceparent", "")
    if _TRACEPARENT.fullmatch(trace):
        structlog.contextvars.bind_contextvars(traceparent=trace)


def _end(response: Response) -> Response:
    WATCH.end()
    response.headers["X-Request-Id"] = g.correlation
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    _account(response, services_of(current_app).metrics)
    return response


def _account(response: Response, metrics: Metrics) -> None:
    """Count and log the request under its operation's name; paths hold tenants' names and stay out of both."""
    operation = request.endpoint or "unknown"
    seconds = time.monotonic() - g.started
    metrics.requests.labels(operation, str(response.status_code)).inc()
    metrics.seconds.labels(operation).observe(seconds)
    structlog.get_logger().info(
        "request",
        method=request.method if operation != "unknown" else "",
        operation=operation,
        status=response.status_code,
        code=g.get("problem", ""),
        milliseconds=round(seconds * 1000, 1),
    )
