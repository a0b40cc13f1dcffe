"""The view behind every derived route: authenticate, read, pass through the door, answer."""

from __future__ import annotations

from typing import NoReturn

import structlog
from flask import Response, g

from wcp360.api.caller import ANONYMOUS, authenticate, check_origin
from wcp360.api.edge import DRY_RUN, read_input, wanted_wait, wants_dry_run
from wcp360.api.once import wanted_once
from wcp360.api.services import Services
from wcp360.api.waiting import Record, wait_for
from wcp360.core.actor import Actor
from wcp360.core.errors import Forbidden, Problem, TooManyRequests
from wcp360.core.operation import Operation, View
from wcp360.core.policy import check_permission
from wcp360.core.routes import PREFIX, changes_state, route_of
from wcp360.core.submit import Asked, refuse_unread
from wcp360.core.views import ChangeStatus

_OWN = frozenset({DRY_RUN})


class Endpoint:
    """One operation over HTTP."""

    def __init__(self, services: Services, operation: Operation) -> None:
        self._services = services
        self._operation = operation
        self._route = route_of(operation)

    def __call__(self, **address: str) -> Response:
        """Answer a request; ``address`` holds the path's key."""
        if changes_state(self._operation):
            return self._change(address)
        actor = authenticate(self._services)
        check_permission(actor, self._operation)
        given = read_input(self._operation, self._route, address)
        view = self._services.door.ask(Asked(self._operation, given, actor, g.correlation))
        return json_answer(view)

    def _change(self, address: dict[str, str]) -> Response:
        actor: Actor | None = None
        try:
            # In this order: requests without a token are limited, and so is what they can add to the audit log.
            actor = authenticate(self._services)
            check_origin(self._services)
            given = read_input(self._operation, self._route, address, _OWN)
            once = wanted_once(g.get("body", b""))
            dry_run = wants_dry_run()
            if dry_run:
                self._services.rates.hit(self._services.limits.dry_runs, "dry run", actor.name)
        except Problem as problem:
            self._refuse(actor, problem)
        asked = Asked(self._operation, given, actor, g.correlation, once)
        return self._preview(asked) if dry_run else self._submit(asked)

    def _refuse(self, actor: Actor | None, problem: Problem) -> NoReturn:
        """Audit a request that does not reach the door, and raise what the caller may know of the reason.

        Who lacks the permission learns that, and nothing about the input. Requests over a rate limit are not audited:
        the limit is what keeps the audit log from being flooded.
        """
        if actor is not None:
            try:
                check_permission(actor, self._operation)
            except Forbidden as denied:
                problem = denied
        if not isinstance(problem, TooManyRequests):
            name = actor.name if actor else ANONYMOUS
            refuse_unread(self._services.store, self._operation, name, g.correlation, problem)
        raise problem

    def _submit(self, asked: Asked) -> Response:
        with self._services.ongoing.claimed(asked.actor.name, asked.once):
            change = self._services.door.submit(asked)
        waiting = {target.node for target in change.resources if target.status is ChangeStatus.PENDING}
        for node in sorted(waiting):
            self._ring(self._services.bell.node, node)
        return self._answer(Record("change", change), asked.actor)

    def _preview(self, asked: Asked) -> Response:
        with self._services.ongoing.claimed(asked.actor.name, asked.once):
            preview = self._services.door.preview(asked)
        self._ring(self._services.bell.preview, preview.id)
        return self._answer(Record("preview", preview), asked.actor)

    def _ring(self, ring: object, name: str) -> None:
        """Ring, and go on whatever happens: the change is accepted, and the engine's sweep finds it."""
        try:
            ring(name)  # type: ignore[operator]
        except Exception:
            structlog.get_logger().exception("The engine could not be told; its sweep will find the work.")

    def _answer(self, record: Record, actor: Actor) -> Response:
        seconds = wanted_wait(self._services.settings.api.max_wait)
        waited = self._waited(record, actor, seconds) if seconds else None
        view = record.view if waited is None else waited
        done = waited is not None and getattr(waited, "finished", None) is not None
        response = json_answer(view, 200 if done else 202)
        response.headers["Location"] = f"{PREFIX}/{record.kind}s/{record.view.id}"
        if waited is not None:
            response.headers["Preference-Applied"] = f"wait={seconds:g}"
        return response

    def _waited(self, record: Record, actor: Actor, seconds: float) -> View | None:
        """Wait; where that fails the record is accepted all the same, and the answer must not say anything else."""
        try:
            return wait_for(self._services, record, actor, seconds)
        except Problem as problem:
            structlog.get_logger().warning("A caller could not wait to the end.", reason=problem.detail)
            return None


def json_answer(view: View, status: int = 200) -> Response:
    """Return a view as JSON."""
    return Response(view.model_dump_json(), status=status, content_type="application/json")
