"""The tarball holds the collection and nothing else, and what it holds is documented."""

from __future__ import annotations

import importlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import wcp360
from tests.ecosystem.tools import ROOT, run

ALLOWED = (
    r"MANIFEST\.json|FILES\.json|LICENSE|README\.md|meta/runtime\.yml",
    r"playbooks/([a-z_]+/)?[a-z_]+\.yml",
    r"plugins/(action|callback|filter|inventory|module_utils|modules|plugin_utils)/[a-z0-9_]+\.py",
    r"plugins/filter/[a-z_]+\.yml",
    r"roles/[a-z_]+/README\.md",
    r"roles/[a-z_]+/(defaults|handlers|meta|tasks|vars)/[a-z_]+\.yml",
    r"roles/[a-z_]+/files/[a-z0-9_]+\.py",
    r"roles/[a-z_]+/templates/[a-z0-9._-]+\.j2",
)
PARTS = ("meta", "playbooks", "plugins", "roles")
# Kinds of plugins that ansible-doc shows, and whether they return something.
KINDS = {"module": True, "filter": True, "callback": False, "inventory": False}


def test_the_tarball_holds_the_collection_and_nothing_else(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        members = {member.name: member for member in archive.getmembers()}
    files = {name for name, member in members.items() if member.isfile()}
    assert [name for name in sorted(files) if not re.fullmatch("|".join(ALLOWED), name, re.ASCII)] == []
    assert {name for name, member in members.items() if not member.isfile() and not member.isdir()} == set()
    folders = {name.rstrip("/") for name, member in members.items() if member.isdir()}
    assert folders == {str(parent) for name in files for parent in Path(name).parents} - {"."}


def test_nothing_of_the_collection_is_left_out(tarball: Path, checkout: Path) -> None:
    with tarfile.open(tarball) as archive:
        files = {member.name for member in archive.getmembers() if member.isfile()}
    wanted = {
        str(path.relative_to(checkout)) for part in PARTS for path in (checkout / part).rglob("*") if path.is_file()
    }
    assert {name for name in wanted - files if re.fullmatch("|".join(ALLOWED), name, re.ASCII)} == set()
    assert {"LICENSE", "README.md"} <= files


def test_collection_and_panel_have_one_version(tarball: Path) -> None:
    assert tarball.name == f"wcp360-hosting-{wcp360.__version__}.tar.gz"


def names(kind: str) -> list[str]:
    """Return what the collection has of a kind of plugins, by what Ansible would load."""
    folder = "modules" if kind == "module" else kind
    files = sorted(path.stem for path in (ROOT / "plugins" / folder).glob("*.py"))
    if kind != "filter":
        return files
    package = "ansible_collections.wcp360.hosting.plugins.filter"
    return sorted(
        name for file in files for name in importlib.import_module(f"{package}.{file}").FilterModule().filters()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_is_documented(kind: str, installed: Path) -> None:
    full = [f"wcp360.hosting.{name}" for name in names(kind)]
    assert full
    done = run("ansible-doc", "--type", kind, "--json", *full, cwd=installed, collections=installed)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert sorted(found) == sorted(full), done.stderr
    for name, shown in found.items():
        assert shown["doc"]["short_description"], name
        assert shown["doc"]["description"], name
        assert (shown.get("examples") or "").strip(), f"{name} has no EXAMPLES"
        assert shown.get("return") or not KINDS[kind], f"{name} has no RETURN"
    assert_examples_are_yaml(found)


def assert_examples_are_yaml(found: dict[str, Any]) -> None:
    for name, shown in found.items():
        try:
            examples = list(yaml.safe_load_all(shown["examples"]))
        except yaml.YAMLError as error:
            raise AssertionError(f"The examples of {name} are no YAML: {error}") from error
        assert any(name in json.dumps(example) for example in examples), f"No example of {name} uses it"


@pytest.mark.parametrize("kind", KINDS)
def test_what_ansible_doc_lists_is_what_there_is(kind: str, installed: Path) -> None:
    done = run(
        "ansible-doc", "--type", kind, "--list", "--json", "wcp360.hosting", cwd=installed, collections=installed
    )
    assert sorted(json.loads(done.stdout)) == sorted(f"wcp360.hosting.{name}" for name in names(kind)), done.stderr


def test_every_entry_point_of_the_roles_is_shown(installed: Path) -> None:
    done = run(
        "ansible-doc", "--type", "role", "--list", "--json", "wcp360.hosting", cwd=installed, collections=installed
    )
    shown = {name: set(role["entry_points"]) for name, role in json.loads(done.stdout).items()}
    specs = {
        f"wcp360.hosting.{path.parents[1].name}": set(yaml.safe_load(path.read_text())["argument_specs"])
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
    }
    assert len(specs) == len(list((ROOT / "roles").iterdir()))
    assert shown == specs
