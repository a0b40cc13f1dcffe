"""The one place that joins the parts: settings in, a working system out."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points

from flask import Flask

from wcp360.api.app import create_app
from wcp360.core.config import Settings
from wcp360.core.registry import Module, Registry
from wcp360.core.submit import Door
from wcp360.engine.batch import compile_batches
from wcp360.engine.bell import Bell
from wcp360.modules import accounts, domains, lifecycle, nodes, records, webserver
from wcp360.storage import Ledger, SqlStore, Tokens

ENTRY_POINT = "wcp360.modules"
DATABASE = "wcp360.db"


@dataclass(frozen=True, slots=True)
class System:
    """Everything that a process of WCP360 works with."""

    settings: Settings
    registry: Registry
    store: SqlStore
    ledger: Ledger
    tokens: Tokens
    door: Door
    bell: Bell


def build_registry(settings: Settings | None = None) -> Registry:
    """Declare all modules: ours, then those of installed packages (entry points ``wcp360.modules``).

    Without settings the defaults serve, which is enough for what is derived from the declarations alone.
    """
    settings = settings or Settings()
    others = [point.load()(settings) for point in entry_points(group=ENTRY_POINT)]
    services = [
        accounts.build(settings.panel.default_node),
        webserver.build(),
        *(module for module in others if module.roles),
    ]
    return _Wiring(settings, services, others).registry


class _Wiring:
    """Declares the modules; the records module asks for the registry only when it is complete."""

    def __init__(self, settings: Settings, services: list[Module], others: list[Module]) -> None:
        panel = settings.panel
        always_on = [
            nodes.build(),
            domains.build(panel.reserved_hostnames()),
            lifecycle.build({module.name: module for module in services}),
            records.build(lambda: self.registry, compile_batches),
        ]
        known = {module.name for module in services}
        self.registry = Registry([*always_on, *services, *(m for m in others if m.name not in known)])


def build(settings: Settings) -> System:
    """Join store, registry, door, ledger, tokens and bell; opens no file yet."""
    registry = build_registry(settings)
    store = SqlStore(settings.storage.url.get_secret_value() or settings.state_dir / DATABASE)
    return System(
        settings=settings,
        registry=registry,
        store=store,
        ledger=Ledger(store, retry=settings.engine.retry),
        tokens=Tokens(store),
        door=Door(store, registry, compile_batches),
        bell=Bell(settings),
    )


def build_app(system: System) -> Flask:
    """Make the Flask application of the API."""
    return create_app(
        door=system.door,
        registry=system.registry,
        verify_token=system.tokens.verify,
        store=system.store,
        settings=system.settings,
        bell=system.bell,
    )
