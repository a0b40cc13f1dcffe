"""Draws operations at random: one generator for each changing operation that is declared, from small pools of names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from wcp360.core.hostnames import normalise_domain
from wcp360.core.operation import Operation
from wcp360.core.routes import changes_state

T = TypeVar("T")
Input = dict[str, Any]
CASES = json.loads((Path(__file__).parents[1] / "data" / "good_inputs.json").read_text(encoding="utf-8"))
NODE, SECOND = "web1", "web2"
MODULES = ("accounts", "webserver")
NO_RECORD = "01JD0000000000000000000000"


def good(*fields: str) -> list[str]:
    """Return the good values of some fields of the collection of inputs."""
    return [case["value"] for case in CASES if case["field"] in fields]


TENANTS = ("acme", "bolt", *good("username"))
# Given as people write them; the long ones of the collection are left to the test that is about them.
DOMAINS = (
    "acme.test",
    "bolt.test",
    "shop.acme.test",
    *(name for name in good("domain", "domain_unicode_input") if len(name) < 100),
)
ALIASES = ("www.acme.test", "www.bolt.test", "old.test", "alias.test")
REDIRECTS = ("", "https://example.com/", *good("redirect_url"))
ROOTS = ("public", "public", "app/public", "a..b")
SETTINGS = (*(value.split("=", 1) for value in good("php_setting")), ["memory_limit", "64M"], ["display_errors", "on"])
SHELLS = ("/usr/sbin/nologin", "/bin/bash", "/bin/sh")


@dataclass
class World:
    """What a panel has at the moment, as far as the next operation depends on it; change sets look ahead in a copy."""

    node: Input
    nodes: set[str] = field(default_factory=set)
    tenants: dict[str, str] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    previews: list[str] = field(default_factory=list)

    def after(self, operation: str, given: Input) -> World:
        """Return what it will be when an operation is done; near enough for the next one to be about something."""
        tenants, domains = dict(self.tenants), dict(self.domains)
        name = given.get("name", "")
        if operation == "tenant.create":
            tenants[name] = "present"
        elif operation == "domain.create":
            domains[normalise_domain(name)] = given["tenant"]
        elif operation == "tenant.delete":
            tenants.pop(name, None)
            domains = {domain: tenant for domain, tenant in domains.items() if tenant != name}
        elif operation == "domain.delete":
            domains.pop(name, None)
        return World(self.node, self.nodes, tenants, domains, self.modules, self.failed, self.changes, self.previews)


Generator = Callable[[Random, World], Input]


@dataclass(frozen=True)
class Drawn:
    """One operation to be asked for."""

    operation: str
    input: Input


class Generators:
    """What draws the input of each operation; ``weight`` says how often one is wanted where it makes sense."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Generator]] = {}

    def of(self, name: str, weight: float = 1.0) -> Callable[[Generator], Generator]:
        """Declare the generator of an operation."""

        def keep(generator: Generator) -> Generator:
            self._known[name] = (weight, generator)
            return generator

        return keep

    def names(self) -> set[str]:
        """Return the operations that can be drawn."""
        return set(self._known)

    def missing(self, operations: Iterable[Operation]) -> list[str]:
        """Return the changing operations that nothing draws."""
        return sorted(each.name for each in operations if changes_state(each) and each.name not in self._known)

    def draw(self, rng: Random, world: World, names: Sequence[str]) -> Drawn:
        """Draw one of the operations with its input."""
        while True:
            name = rng.choices(names, [self._known[name][0] for name in names])[0]
            with suppress(NothingThere):
                return Drawn(name, self._known[name][1](rng, world))


GENERATORS = Generators()


def _some(rng: Random, pool: Sequence[T], most: int) -> list[T]:
    return rng.sample(list(pool), rng.randint(0, min(most, len(pool))))


class NothingThere(Exception):
    """An operation would have nothing to do; another is drawn."""


def _mostly(rng: Random, likely: Iterable[str], pool: Sequence[str]) -> str:
    """Return one of what there is, and now and then any other."""
    there = sorted(likely)
    if rng.random() < 0.1:
        return rng.choice(pool)
    if not there:
        raise NothingThere
    return rng.choice(there)


def _tenant_fields(rng: Random) -> Input:
    given: Input = {
        "display_name": rng.choice(["", "Acme Ltd", *good("display_name")]),
        "shell": rng.choice(SHELLS),
        "authorized_keys": _some(rng, good("ssh_key"), 2),
        "php_settings": dict(_some(rng, SETTINGS, 2)),
    }
    return {key: given[key] for key in given if rng.random() < 0.5}


def _domain_fields(rng: Random) -> Input:
    given: Input = {
        "aliases": _some(rng, ALIASES, 2),
        "redirect": rng.choice(REDIRECTS),
        "document_root": rng.choice(ROOTS),
        "php": rng.random() < 0.7,
    }
    return {key: given[key] for key in given if rng.random() < 0.4}


@GENERATORS.of("tenant.create", 3)
def _tenant_create(rng: Random, world: World) -> Input:
    fresh = [name for name in TENANTS if name not in world.tenants]
    node = {"node": NODE} if rng.random() < 0.95 else {"node": "elsewhere"}
    return {"name": _mostly(rng, fresh, TENANTS), **_tenant_fields(rng), **node}


@GENERATORS.of("tenant.update", 2)
def _tenant_update(rng: Random, world: World) -> Input:
    return {"name": _mostly(rng, world.tenants, TENANTS), **_tenant_fields(rng)}


@GENERATORS.of("tenant.suspend")
@GENERATORS.of("tenant.unsuspend")
def _tenant(rng: Random, world: World) -> Input:
    return {"name": _mostly(rng, world.tenants, TENANTS)}


@GENERATORS.of("tenant.delete")
def _tenant_delete(rng: Random, world: World) -> Input:
    return {"name": _mostly(rng, world.tenants, TENANTS), "purge": rng.random() < 0.5}


@GENERATORS.of("domain.create", 4)
def _domain_create(rng: Random, world: World) -> Input:
    fresh = [name for name in DOMAINS if normalise_domain(name) not in world.domains]
    tenant = _mostly(rng, world.tenants, TENANTS)
    return {"name": _mostly(rng, fresh, DOMAINS), "tenant": tenant, **_domain_fields(rng)}


@GENERATORS.of("domain.update", 2)
def _domain_update(rng: Random, world: World) -> Input:
    return {"name": _mostly(rng, world.domains, DOMAINS), **_domain_fields(rng)}


@GENERATORS.of("domain.suspend")
@GENERATORS.of("domain.unsuspend")
def _domain(rng: Random, world: World) -> Input:
    return {"name": _mostly(rng, world.domains, DOMAINS)}


@GENERATORS.of("domain.delete", 1.5)
def _domain_delete(rng: Random, world: World) -> Input:
    return {"name": _mostly(rng, world.domains, DOMAINS), "purge": rng.random() < 0.5}


@GENERATORS.of("node.create", 0.3)
def _node_create(rng: Random, world: World) -> Input:
    return {**world.node, "name": rng.choice([NODE, SECOND])}


@GENERATORS.of("node.check", 0.3)
def _node_check(rng: Random, world: World) -> Input:
    return {"name": _mostly(rng, world.nodes, (NODE, SECOND, "elsewhere"))}


@GENERATORS.of("node.delete", 0.3)
def _node_delete(rng: Random, world: World) -> Input:
    return {"name": rng.choice([NODE, SECOND, SECOND])}


# All on one node: a second name for the same server must not be given what the first one manages.
@GENERATORS.of("module.install", 0.1)
@GENERATORS.of("module.enable", 0.3)
@GENERATORS.of("module.disable", 0.2)
@GENERATORS.of("module.remove", 0.1)
def _module(rng: Random, world: World) -> Input:
    return {"name": rng.choice([*MODULES, "email"]), "node": NODE}


@GENERATORS.of("change.retry", 0.7)
def _change_retry(rng: Random, world: World) -> Input:
    return {"id": _mostly(rng, world.failed, [*world.changes[:3], NO_RECORD])}


@GENERATORS.of("preview.apply", 0.5)
def _preview_apply(rng: Random, world: World) -> Input:
    return {"id": rng.choice([*world.previews[:3], NO_RECORD])}


NOT_IN_SETS = frozenset({"change.create", "preview.apply"})


def opening(rng: Random) -> Drawn:
    """Return a change set that gives a sequence something to work with: a tenant with a domain or two."""
    tenant = rng.choice(TENANTS)
    members = [Drawn("tenant.create", {"name": tenant, "node": NODE, **_tenant_fields(rng)})]
    for name in rng.sample(DOMAINS[:3], rng.randint(1, 2)):
        members.append(Drawn("domain.create", {"name": name, "tenant": tenant, "aliases": [], **_domain_fields(rng)}))
    return Drawn("change.create", {"operations": [asdict(member) for member in members]})


@GENERATORS.of("change.create", 3)
def _change_create(rng: Random, world: World) -> Input:
    names = sorted(GENERATORS.names() - NOT_IN_SETS)
    members = []
    for _ in range(rng.randint(1, 4)):
        drawn = GENERATORS.draw(rng, world, names)
        world = world.after(drawn.operation, drawn.input)
        members.append({"operation": drawn.operation, "input": drawn.input})
    return {"operations": members}
