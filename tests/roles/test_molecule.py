"""Each role on a bare host through molecule: checked, converged, as predicted, idempotent, removed without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts.fixtures import require_hosts

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
# A scenario takes one to two minutes on two idle cores, and ten times that on a machine that is busy with other things.
LIMIT = 1800


@pytest.mark.hosts
@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str) -> None:
    """`molecule test` ends with 0 and has left no step out."""
    require_hosts()
    subprocess.run([sys.executable, "tests/hosts/hosts.py", "collections"], cwd=ROOT, check=True, capture_output=True)
    tools = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    done = subprocess.run(
        [f"{tools}/molecule", "test", "--scenario-name", scenario],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-12000:]
    assert "Missing playbook" not in said, "molecule passed over a step:\n" + said[-3000:]


def test_every_role_has_a_scenario() -> None:
    """A new role cannot be added without its proof."""
    roles = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
    assert roles == set(SCENARIOS)
