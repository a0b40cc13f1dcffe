"""What the HTTP side is given by the wiring, in one frozen value; nothing here is looked up globally."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wcp360.api.metrics import Metrics
from wcp360.api.once import Ongoing
from wcp360.api.pulse import LongCalls, Pulse
from wcp360.api.rates import Rates
from wcp360.core.actor import Actor
from wcp360.core.config import Settings
from wcp360.core.ports import Store
from wcp360.core.registry import Registry
from wcp360.core.submit import Door


class Bell(Protocol):
    """Tells the engine that there is work. A lost ring harms nothing: the engine's sweep finds the work."""

    def node(self, name: str) -> object:
        """Ring for a node with pending targets."""

    def preview(self, preview_id: str) -> object:
        """Ring for a queued preview."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the HTTP side that are no settings; tests lower them.

    ``heartbeat``, ``patience`` and ``recheck`` are seconds: between pings, until a reader that takes nothing is
    dropped, and between checks that a stream's token still holds.
    """

    heartbeat: float = 20.0
    patience: float = 10.0
    recheck: float = 15.0
    failed_logins: str = "60/minute"
    dry_runs: str = "300/minute"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a request may need."""

    door: Door
    registry: Registry
    verify_token: Callable[[str], Actor | None]
    store: Store
    settings: Settings
    bell: Bell
    pulse: Pulse
    long_calls: LongCalls
    metrics: Metrics
    rates: Rates
    limits: Limits = field(default_factory=Limits)
    ongoing: Ongoing = field(default_factory=Ongoing)
    checks: Mapping[str, Callable[[], object]] = field(default_factory=dict)
