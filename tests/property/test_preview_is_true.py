"""Random sequences of operations do what their dry runs said, as told by the run and as seen from outside."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from random import Random

import pytest

from tests.property.campaign import Campaign
from tests.property.drawing import GENERATORS, MODULES, NODE, REDIRECTS, SECOND, Drawn, World, good, opening
from tests.property.effects import EXCLUSIONS
from tests.property.obstacles import left_files
from tests.soak import DEADLINE, PARTS, skip_when_time_is_up
from wcp360.core.validate import validate
from wcp360.wiring import build_registry

Tell = Callable[[str], None]
Tally = Callable[[Mapping[str, int]], None]
# One seed for all of xdist's workers.
SEED = os.environ.get("WCP360_SEED") or os.environ.get("PYTEST_XDIST_TESTRUNUID", secrets.token_hex(4))[:8]
SAMPLE = 6
LENGTH = 3
SOAK_SEQUENCES = int(os.environ.get("WCP360_SOAK_SEQUENCES") or 500)
SOAK_LENGTH = 4


def tour(campaign: Campaign) -> list[Drawn]:
    """Return a sequence with every operation on tenants, domains and nodes, each of which has something to do."""
    acme, site = {"name": "acme"}, {"name": "acme.test"}
    members = [
        {"operation": "tenant.create", "input": {**acme, "authorized_keys": good("ssh_key")}},
        {"operation": "domain.create", "input": {**site, "tenant": "acme"}},
    ]
    module = {"name": MODULES[0], "node": NODE}
    return [
        Drawn("module.install", module),
        Drawn("change.create", {"operations": members}),
        Drawn("tenant.create", {"name": "bolt", "shell": "/bin/bash", "php_settings": {"memory_limit": "64M"}}),
        Drawn("domain.create", {"name": "bolt.test", "tenant": "bolt", "redirect": REDIRECTS[1]}),
        Drawn("domain.suspend", site),
        Drawn("domain.unsuspend", site),
        Drawn("domain.update", {**site, "document_root": "app/public", "aliases": []}),
        Drawn("tenant.suspend", acme),
        Drawn("tenant.unsuspend", acme),
        Drawn("tenant.update", {**acme, "shell": "/bin/sh", "php_settings": {"memory_limit": "128M"}}),
        Drawn("module.disable", module),
        Drawn("module.enable", module),
        Drawn("node.check", {"name": NODE}),
        Drawn("node.create", {**campaign.node, "name": SECOND}),
        Drawn("node.delete", {"name": SECOND}),
        Drawn("domain.delete", site),
        Drawn("tenant.delete", {"name": "bolt", "purge": True}),
        Drawn("tenant.delete", acme),
    ]


def test_every_changing_operation_is_drawn() -> None:
    assert GENERATORS.missing(build_registry()) == []


def test_what_is_drawn_are_inputs() -> None:
    registry, rng = build_registry(), Random(1)  # the seed is of no matter
    world = World({"address": "192.0.2.1"}, {NODE}, {"acme": "present"}, {"acme.test": "acme"}, {}, [], [], [])
    for drawn in [opening(rng), *(GENERATORS.draw(rng, world, sorted(GENERATORS.names())) for _ in range(500))]:
        validate(registry.operation(drawn.operation).input, drawn.input)


@pytest.mark.timeout(600)
def test_every_operation_does_what_its_dry_run_said(campaign: Campaign) -> None:
    start = len(campaign.problems)
    for number, drawn in enumerate(tour(campaign)):
        if drawn.operation == "tenant.delete":
            campaign.eyes.run(left_files(drawn.input["name"], "").make)
        campaign.step(drawn, through_preview=number % 2 == 0)
    assert campaign.problems[start:] == []


@pytest.mark.timeout(900)
def test_a_sample_of_sequences_does_what_its_dry_runs_said(campaign: Campaign, tell: Tell, tally: Tally) -> None:
    run_sequences(campaign, range(SAMPLE), LENGTH, tell, tally, obstacle_chance=0)


@pytest.mark.soak
@pytest.mark.timeout(12 * 3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_many_sequences_do_what_their_dry_runs_said(campaign: Campaign, tell: Tell, tally: Tally, part: int) -> None:
    skip_when_time_is_up()
    run_sequences(campaign, range(part, SOAK_SEQUENCES, PARTS), SOAK_LENGTH, tell, tally)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("names", "together"),
    [(("webserver", "accounts"), False), (("accounts", "webserver"), False), (("webserver", "accounts"), True)],
    ids=["one by one", "the other way round", "together"],
)
def test_what_all_tenants_share_goes_as_its_dry_run_said(
    campaign: Campaign, names: tuple[str, ...], together: bool
) -> None:
    start = len(campaign.problems)
    campaign.step(tour(campaign)[1], through_preview=False)
    campaign.step(Drawn("tenant.delete", {"name": "acme", "purge": True}), through_preview=False)
    removals = [{"name": name, "node": NODE} for name in names]
    if together:
        operations = [{"operation": "module.remove", "input": removal} for removal in removals]
        campaign.step(Drawn("change.create", {"operations": operations}), through_preview=True)
    for removal in () if together else removals:
        campaign.step(Drawn("module.remove", removal), through_preview=True)
    campaign.step(Drawn("node.delete", {"name": NODE}), through_preview=False)
    campaign.clear_up(Random(1))  # the next sequences want a node
    assert campaign.problems[start:] == []


def test_every_exclusion_is_needed(campaign: Campaign) -> None:
    assert [rule for rule in EXCLUSIONS if rule not in campaign.used] == []


def run_sequences(
    campaign: Campaign, numbers: Iterable[int], length: int, tell: Tell, tally: Tally, **how: float
) -> None:
    """Run sequences that WCP360_SEED repeats; all of them, so that one difference does not hide the next."""
    tell(f"WCP360_SEED={SEED}, sequences of {length} operations")
    before = campaign.counts.copy()
    due = takewhile(lambda _: time.monotonic() < DEADLINE, numbers)
    found = [problem for number in due for problem in campaign.sequence(f"{SEED}-{number}", length, **how)]
    tally(campaign.counts - before)
    assert not found, "\n".join([f"WCP360_SEED={SEED}", *found])
