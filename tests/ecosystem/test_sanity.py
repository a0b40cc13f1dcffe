"""ansible-test sanity on what is published, all its tests, with no ignore entries."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ecosystem.tools import ROOT, TOOLS
from tests.hosts.testhosts.common import cache_dir, locked

pytestmark = pytest.mark.timeout(900)

# ansible-test fetches pip's installer from a server of its own for the environments that it makes; Python has one.
INSTALL_PIP = """
import os, subprocess, sys
os.environ.pop("GET_PIP", None)
subprocess.check_call([sys.executable, "-m", "ensurepip"])
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *words]))
"""


def home() -> Path:
    """Return a home for ansible-test that is kept, because its environments take minutes to make."""
    place = cache_dir() / "ansible-test"
    cache = place / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    import ansible_test._internal as internal

    source = (Path(internal.__file__).parent / "python_requirements.py").read_text(encoding="utf-8")
    for version in re.findall(r"pip='([0-9.]+)'", source):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(INSTALL_PIP)
    settings = place / ".config" / "pip"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "pip.conf").write_text("[global]\n" + "".join(f"{k} = {v}\n" for k, v in pip_settings().items()))
    return place


def pip_settings() -> dict[str, str]:
    """Return where this machine gets its Python packages from; ansible-test passes on only what is in a file."""
    words = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        if key.startswith((":env:.", "global.")):
            found[key.partition(".")[2]] = str(ast.literal_eval(value)).replace("\n", " ")
    return found


def ansible_test(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-test in a tree of its own."""
    environment = {"HOME": str(home()), "PATH": f"{TOOLS}:{os.environ['PATH']}", "LANG": "C.UTF-8", "NO_COLOR": "1"}
    with locked("ansible-test"):
        return subprocess.run(
            [str(TOOLS / "ansible-test"), *words],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )


@pytest.fixture(scope="module")
def tree(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published files as a repository, which is how ansible-test finds them."""
    copy = tmp_path_factory.mktemp("sanity") / "ansible_collections" / "wcp360" / "hosting"
    shutil.copytree(installed / "ansible_collections/wcp360/hosting", copy)
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=copy, check=True, capture_output=True)
    return copy


def test_there_is_no_ignore_entry() -> None:
    assert list((ROOT / "tests").glob("**/ignore-*.txt")) == []


def test_sanity(tree: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = ansible_test(tree, "sanity", "--local", "--python", version, "--failure-ok")
    said = done.stdout + done.stderr
    ran = set(re.findall(r'^Running sanity test "([a-z0-9-]+)"', said, re.MULTILINE))
    print(f"ansible-test sanity ran: {', '.join(sorted(ran))}")
    problems = re.findall(r"^(?:ERROR|FATAL): .*", said, re.MULTILINE)
    assert problems == [], "\n".join(problems)
    assert done.returncode == 0, said
    listing = ansible_test(tree, "sanity", "--list-tests").stdout.split()
    skipped = set(listing) - ran
    assert not skipped, f"not run here: {', '.join(sorted(skipped))}\n{said}"
    assert {"validate-modules", "pylint", "import", "compile", "ansible-doc", "yamllint"} <= ran
