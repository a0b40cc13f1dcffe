"""One server for all tests that do not need their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.panel import Panel, running


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """Return a running panel with a node ``local`` and callers root, powerless and acme-only."""
    with running(tmp_path_factory.mktemp("panel")) as started:
        yield started
