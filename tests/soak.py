"""Writes docs/soak.md from what the long campaigns did: what, when, with which versions, and how it ended.

A campaign that was not run this time keeps its line of an earlier run; one of several parts (WCP360_SOAK_PARTS, which
xdist runs side by side) has one line, with the sums. Without WCP360_SOAK=1 (`make soak`)
they are left out, and nothing is written.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.e2e.panel import WARM

SOAK = os.environ.get("WCP360_SOAK") == "1"
# Whoever has no hours says how many minutes a random campaign may draw: what it did in them stands on the page.
DEADLINE = time.monotonic() + 60 * float(os.environ.get("WCP360_SOAK_MINUTES") or "inf")
PARTS = int(os.environ.get("WCP360_SOAK_PARTS") or 10) if SOAK else 1
# For tests that CI runs as well, only shorter.
LONGER_IN_SOAK = [pytest.mark.soak] if SOAK else []
PAGE = Path(__file__).parents[1] / "docs" / "soak.md"
HEAD = """# Soak

Written by `make soak`, a line for each of its campaigns by the last run of it. What a campaign is, and what
variables of the environment it takes, stands at the top of its file; the seed repeats what was drawn.

| campaign | what it did | ended | minutes | when | on |
|---|---|---|---|---|---|
"""


@dataclass
class Campaign:
    """All parameters of one test function."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0
    told: dict[str, None] = field(default_factory=dict)  # in order, each once
    counts: Counter[str] = field(default_factory=Counter)


_campaigns: defaultdict[str, Campaign] = defaultdict(Campaign)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return what prints a sentence, and keeps it for the page."""

    def say(text: str) -> None:
        print(text, flush=True)
        record_property("told", text)

    return say


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Callable[[Mapping[str, int]], None]:
    """Return what prints numbers, and adds them to those of the campaign's other parts on the page."""

    def add(numbers: Mapping[str, int]) -> None:
        print(listed(numbers), flush=True)
        record_property("tally", dict(numbers))

    return add


def skip_when_time_is_up() -> None:
    """Leave a part of a campaign out that could only begin after WCP360_SOAK_MINUTES."""
    if time.monotonic() > DEADLINE:
        pytest.skip("WCP360_SOAK_MINUTES were over before this part began")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long campaigns out, unless they are asked for."""
    if SOAK:
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take up how a part of a test ended."""
    if not SOAK or "soak" not in report.keywords:
        return
    campaign = _campaigns[report.nodeid.partition("[")[0] + (" (warm)" if WARM else "")]
    campaign.seconds += report.duration
    if report.when == "call" or not report.passed:
        campaign.outcomes[report.outcome] += 1
    if report.when == "teardown":
        campaign.told |= {str(text): None for name, text in report.user_properties if name == "told"}
        for name, numbers in report.user_properties:
            if name == "tally" and isinstance(numbers, dict):
                campaign.counts.update(numbers)


def pytest_sessionfinish() -> None:
    """Write the page, unless no campaign was run."""
    if not _campaigns:
        return
    rows = _rows() | {name: _row(name, campaign) for name, campaign in _campaigns.items()}
    PAGE.write_text(HEAD + "".join(f"{rows[name]}\n" for name in sorted(rows)), encoding="utf-8")


def _rows() -> dict[str, str]:
    """Return the lines that the page has now, by campaign."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    return {line.split("`")[1]: line for line in lines if line.startswith("| `")}


def listed(numbers: Mapping[str, int]) -> str:
    """Return numbers as text."""
    return ", ".join(f"{name}: {number}" for name, number in sorted(numbers.items()))


def _row(name: str, campaign: Campaign) -> str:
    said = [*campaign.told, *([listed(campaign.counts)] if campaign.counts else [])]
    told = "; ".join(said).replace("|", "/").replace("\n", " ")
    ended = ", ".join(f"{number} {outcome}" for outcome, number in sorted(campaign.outcomes.items()))
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, ansible-core {version('ansible-core')}"
    return f"| `{name}` | {told} | {ended} | {campaign.seconds / 60:.1f} | {datetime.now(UTC):%Y-%m-%d} | {machine} |"
