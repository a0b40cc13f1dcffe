"""What is rendered for each of thousands of items, and what a run keeps of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.wcp360.hosting.plugins.plugin_utils.predicted import keep, kept
from jinja2 import Environment
from jinja2.nodes import Name

ROLES = Path(__file__).parents[3] / "roles"


def variables_of(role: str) -> dict[str, Any]:
    files = [ROLES / role / part / "main.yml" for part in ("defaults", "vars")]
    return {name: value for file in files for name, value in yaml.safe_load(file.read_text()).items()}


@pytest.mark.parametrize(("role", "template"), [("nginx", "site.conf.j2"), ("php_fpm", "pool.conf.j2")])
def test_what_is_rendered_for_each_item_names_constants_alone(role: str, template: str) -> None:
    """Ansible works a variable out each time it is named: one that comes of the request reads all of it each time."""
    source = (ROLES / role / "templates" / template).read_text(encoding="utf-8")
    variables = variables_of(role)
    named = {found.name for found in Environment(autoescape=True).parse(source).find_all(Name)} & variables.keys()
    assert named, "the template was not read"
    assert [name for name in named if "{{" in str(variables[name])] == []


def test_no_file_of_a_site_names_a_path_that_a_check_rewrites() -> None:
    """Such a file is copied for each check, and a directory made for it, instead of being linked to."""
    source = (ROLES / "nginx/templates/site.conf.j2").read_text(encoding="utf-8")
    for name, value in variables_of("nginx").items():
        source = source.replace(f"{{{{ {name} }}}}", str(value))
    lines = [line for line in source.splitlines() if "/etc/nginx" in line and not line.startswith("{")]
    assert all(line.strip().startswith("root ") for line in lines) and len(lines) == 1, "only a suspended site's page"


def test_what_was_predicted_is_kept_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WCP360_OUTCOMES_FILE", str(tmp_path / "outcomes"))
    keep({"steps": ["first"]})
    keep({"steps": [{"key": "one", "args": {"content": "gr\u00fc\u00dfe {{ 7 * 7 }}"}}], "verdicts": {}})
    assert kept() == {"steps": [{"key": "one", "args": {"content": "gr\u00fc\u00dfe {{ 7 * 7 }}"}}], "verdicts": {}}
    assert [(file.name, file.stat().st_mode & 0o777) for file in tmp_path.iterdir()] == [("outcomes.predicted", 0o600)]


@pytest.mark.parametrize("asked_for", ["", "nowhere/outcomes"])
def test_nothing_is_done_that_was_not_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: str
) -> None:
    monkeypatch.setenv("WCP360_OUTCOMES_FILE", asked_for and str(tmp_path / asked_for))
    with pytest.raises(AnsibleActionFail, match="Nothing was predicted"):
        kept()


def test_without_a_reader_of_outcomes_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WCP360_OUTCOMES_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    keep({"steps": []})
    assert list(tmp_path.iterdir()) == []
