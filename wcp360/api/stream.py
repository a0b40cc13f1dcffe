"""The event stream: ``/api/v1/stream`` over WebSocket, one text frame for each event that the caller may see.

All that can be refused is refused before the handshake, as an ordinary problem. A stream ends with 1001 when the server
stops, 1013 when its reader takes nothing, 1008 when its token no longer holds, 1003 when the reader talks.
"""

from __future__ import annotations

import re
import socket
import time

import structlog
from flask import Blueprint, Flask, Response, g, request
from flask_sock import Sock
from simple_websocket import Server

from wcp360.api.caller import authenticate, bearer, check_origin
from wcp360.api.patient import PatientSocket, SlowReader
from wcp360.api.problems import answer
from wcp360.api.pulse import Told
from wcp360.api.services import Services
from wcp360.core.actor import Actor
from wcp360.core.errors import FieldError, Forbidden, Invalid, Malformed, TooManyRequests
from wcp360.core.routes import PREFIX

PATH = f"{PREFIX}/stream"
PERMISSION = "event.read"
BATCH = 200
MAX_MESSAGE = 1024
GOODBYE = 0.7
"""Seconds that a reader has to answer the end of its stream."""


class UpgradeNeeded(Malformed):
    """The path is a WebSocket and the request is no handshake."""

    status, code, title = 426, "upgrade_needed", "Open a WebSocket here"


def install(app: Flask, services: Services) -> None:
    """Add the route."""
    blueprint = Blueprint("stream", __name__)
    blueprint.before_request(lambda: _admit(services))
    blueprint.teardown_request(lambda error: _give_back(services))
    # Copied into each connection by flask-sock; the ping thread is simple-websocket's.
    app.config["SOCK_SERVER_OPTIONS"] = {
        "ping_interval": services.limits.heartbeat,
        "max_message_size": MAX_MESSAGE,
    }

    def stream(ws: Server) -> None:
        _serve(services, ws, g.actor, g.after)

    Sock().route(PATH, bp=blueprint)(stream)
    app.register_blueprint(blueprint)
    app.add_url_rule(PATH, "stream.plain", _plain, methods=["GET"])


def _plain() -> Response:
    """Answer a request that is no WebSocket handshake."""
    response = answer(UpgradeNeeded("This path is a WebSocket. GET /api/v1/events answers events page by page."))
    response.headers["Upgrade"] = "websocket"
    return response


def _admit(services: Services) -> None:
    """Refuse, or reserve a thread and note who reads from where."""
    check_origin(services)
    actor = authenticate(services)
    if not actor.has(PERMISSION):
        raise Forbidden(f"The stream needs the permission {PERMISSION!r}. Ask an administrator for it.")
    after = _after(services)
    if services.pulse.stopped or not services.long_calls.take_stream():
        raise TooManyRequests("As many streams are open as this server keeps. Close one or try again later.")
    services.metrics.streams.inc()
    g.actor, g.after, g.has_stream = actor, after, True
    request.environ["gunicorn.socket"] = PatientSocket(_socket(), services.limits.patience)


def _socket() -> socket.socket:
    found: socket.socket | None = request.environ.get("gunicorn.socket")
    if found is None:
        raise RuntimeError("Streams need gunicorn; this server gives no access to its sockets.")
    return found


def _give_back(services: Services) -> None:
    if g.pop("has_stream", False):
        services.metrics.streams.dec()
        services.long_calls.give_stream()


def _after(services: Services) -> int:
    """Return the number after which the caller wants events: the newest there is, unless given."""
    unknown = set(request.args) - {"after"}
    given = request.args.getlist("after")
    if unknown or len(given) > 1 or (given and re.fullmatch(r"[0-9]{1,18}", given[0], re.ASCII) is None):
        message = "Give the number of the last event that you have, once, and no other parameter."
        raise Invalid(f"after: {message}", errors=(FieldError("after", message),))
    return int(given[0]) if given else services.pulse.newest()


def _serve(services: Services, ws: Server, actor: Actor, after: int) -> None:
    token, checked = bearer(), time.monotonic()
    while ws.connected:
        if services.pulse.stopped:
            return _end(services, ws, 1001, "The server stops. Connect again with after=N.", "stop")
        if time.monotonic() - checked >= services.limits.recheck:
            if services.verify_token(token) is None:
                return _end(services, ws, 1008, "The token no longer holds.", "token")
            checked = time.monotonic()
        if ws.input_buffer:
            return _end(services, ws, 1003, "This stream only talks; close it to end it.", "talks")
        told, reached = _following(services, actor, after)
        try:
            for event in told:
                ws.sock.await_room()
                ws.sock.send(event.frame)
        except SlowReader:
            return _end(services, ws, 1013, "You read too slowly. Connect again with after=N.", "slow")
        except OSError:
            return None  # The reader is gone.
        after = reached
        services.pulse.wait(after, 1.0)
    return None


def _following(services: Services, actor: Actor, after: int) -> tuple[list[Told], int]:
    """Return the next events that the actor may see, and the number up to which these are all."""
    known = services.pulse.known
    told = services.pulse.since(after)
    if told is not None:
        return [event for event in told if actor.sees(event.tenant)], told[-1].id if told else after
    with services.store.read() as state:
        events = [Told.of(event) for event in state.events(tenants=actor.tenants, limit=BATCH, after=after)]
    last = events[-1].id if events else after
    # With fewer than asked for, nothing up to the number that was known before is left.
    return events, last if len(events) == BATCH else max(known, last)


def _end(services: Services, ws: Server, code: int, reason: str, label: str) -> None:
    services.metrics.dropped.labels(label).inc()
    structlog.get_logger().info("stream closed", code=code, reason=reason)
    ws.sock.hurry()
    if ws.connected:
        ws.close(code, reason)
        # The reader's answer ends simple-websocket's thread. Who does not answer is not waited for by gunicorn, whose
        # one loop for all connections would stand still meanwhile.
        ws.thread.join(GOODBYE)
    ws.sock.finish()
