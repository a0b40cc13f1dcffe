"""The wheel carries the collection and works outside the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(ROOT))
    (built,) = directory.glob("wcp360-*.whl")
    return built


def run(*argv: str, cwd: Path = Path("/")) -> str:
    """Run a program outside the checkout and return what it printed; a failure shows all of it."""
    environment = {"PATH": "/usr/bin:/bin", "WCP360_CONFIG": "/dev/null", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    if argv[1:3] == ("-m", "pip"):
        environment = None  # pip needs to know where this machine gets its packages from
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_collection_in_the_wheel_is_the_one_in_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {
            name.removeprefix("wcp360/collection/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("wcp360/collection/")
        }
    tracked = run("git", "-C", str(ROOT), "ls-files", "galaxy.yml", "meta", "playbooks", "plugins", "roles").split()
    assert {name for name in shipped if "__pycache__" not in name} == set(tracked)
    assert all(shipped[name] == (ROOT / name).read_bytes() for name in tracked)


def test_the_installed_panel_finds_its_playbook_and_its_commands(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import wcp360; from wcp360.engine.consumer import collection_root;"
        "root = collection_root(); print(wcp360.__file__); print(root);"
        "print((root / 'playbooks' / 'converge.yml').is_file())"
    )
    module, root, found = run(sys.executable, "-P", "-c", program, str(target), cwd=tmp_path).split()
    assert module.startswith(str(target))
    assert (root, found) == (str(target / "wcp360" / "collection"), "True")
