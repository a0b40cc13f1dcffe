"""``Prefer: wait=N``: hold an answer until a change or preview is finished, within bounds."""

from __future__ import annotations

import time
from dataclasses import dataclass

from wcp360.api.services import Services
from wcp360.core.actor import Actor
from wcp360.core.errors import NotFound
from wcp360.core.operation import View
from wcp360.core.views import ChangeView, PreviewView


@dataclass(frozen=True, slots=True)
class Record:
    """What was just accepted: ``kind`` is ``change`` or ``preview``."""

    kind: str
    view: ChangeView | PreviewView


def wait_for(services: Services, record: Record, actor: Actor, seconds: float) -> View | None:
    """Return the record once it is finished, or as it stands after ``seconds`` or when the server stops.

    None: no thread is left for waiting, the caller gets its answer at once and asks again.
    """
    deadline = time.monotonic() + seconds
    with services.long_calls.waiting() as taken:
        if not taken:
            return None
        while True:
            seen = services.pulse.known
            view = _look(services, record, actor)
            remaining = deadline - time.monotonic()
            if getattr(view, "finished", None) is not None or remaining <= 0 or services.pulse.stopped:
                return view
            services.pulse.wait(seen, min(remaining, 1.0))


def _look(services: Services, record: Record, actor: Actor) -> View:
    """Read the record as its own query shows it, so that what that hides from an actor stays hidden here."""
    with services.store.read() as state:
        try:
            show = services.registry.operation(f"{record.kind}.show")
        except NotFound:
            read = state.change if record.kind == "change" else state.preview
            return read(record.view.id)
        given = show.input.model_validate({show.key: record.view.id})
        view: View = show.function(state, given, actor)
        return view
