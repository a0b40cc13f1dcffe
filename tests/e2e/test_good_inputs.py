"""Odd but good values are taken, stored, and are what the services themselves see: `nginx -T`, getent, PHP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import node_create
from tests.e2e.panel import Panel
from tests.hosts.fixtures import Host
from wcp360.core.hostnames import normalise_domain

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900)]

CASES = json.loads((Path(__file__).parents[1] / "data" / "good_inputs.json").read_text(encoding="utf-8"))
OWNER = "oddity"


def values(*fields: str) -> list[str]:
    """Return the sample's good values of some fields."""
    return [case["value"] for case in CASES if case["field"] in fields]


DOMAINS = sorted({normalise_domain(value) for value in values("domain", "domain_unicode_input")})
GIVEN = {normalise_domain(value): value for value in values("domain", "domain_unicode_input")}
REDIRECTS = {f"redirect{index}.test": url for index, url in enumerate(values("redirect_url"))}
ROOTS = {"root0.test": "a..b", "root1.test": "app/public_html"}
SETTINGS = dict(value.split("=", 1) for value in values("php_setting"))
PROBE = "<?php echo implode(' ', array_map('ini_get', explode(',', $_GET['of'])));"


def operations() -> list[dict[str, Any]]:
    """Return the change set: odd tenants, and one tenant with all odd domains."""
    tenants: list[dict[str, Any]] = [{"name": name, "node": "web1"} for name in values("username")]
    tenants.append({
        "name": OWNER, "node": "web1", "authorized_keys": values("ssh_key"), "php_settings": SETTINGS,
        "display_name": values("display_name")[0],
    })  # fmt: skip
    sites: list[dict[str, Any]] = [{"name": GIVEN[name], "aliases": []} for name in DOMAINS]
    sites += [{"name": name, "redirect": url, "aliases": []} for name, url in REDIRECTS.items()]
    sites += [{"name": name, "document_root": root, "aliases": []} for name, root in ROOTS.items()]
    return [{"operation": "tenant.create", "input": given} for given in tenants] + [
        {"operation": "domain.create", "input": {**given, "tenant": OWNER}} for given in sites
    ]


@pytest.fixture(scope="module")
def served(panel: Panel, own_host: Host) -> Iterator[Host]:
    """The host with all of it applied in one change."""
    node_create(panel, "web1", own_host, "root")
    change = panel.json("change", "create", "-", stdin=json.dumps({"operations": operations()}))
    assert change["status"] == "succeeded", change["reason"]
    yield own_host
    panel.delete_tenants()


def test_nginx_sees_each_domain_once_and_no_other_name(served: Host) -> None:
    dump = served.run("nginx -T 2>/dev/null").stdout
    names = sorted(
        name for line in re.findall(r"^\s*server_name\s+([^;]*);", dump, re.MULTILINE) for name in line.split()
    )
    wanted = sorted([*DOMAINS, *REDIRECTS, *ROOTS])
    assert [name for name in names if name not in ("_", '""')] == wanted


def test_the_panel_stores_each_domain_in_its_normal_form(panel: Panel, served: Host) -> None:
    stored = {item["name"] for item in panel.json("domain", "list", "--limit", "1000")["items"]}
    assert stored == {*DOMAINS, *REDIRECTS, *ROOTS}


def test_each_domain_is_served(served: Host) -> None:
    answers = {name: served.http_get(name)[0] for name in [*DOMAINS, *ROOTS]}
    assert set(answers.values()) == {200}, answers


@pytest.mark.parametrize("name", REDIRECTS)
def test_each_redirect_leads_where_it_was_told(served: Host, name: str) -> None:
    status, headers, _ = served.http_get(name)
    assert (status, headers["location"]) == (301, REDIRECTS[name])


@pytest.mark.parametrize("name", [*values("username"), OWNER])
def test_each_tenant_is_an_account_with_the_panels_numbers(panel: Panel, served: Host, name: str) -> None:
    entry = served.run(f"getent passwd {name}").stdout.strip().split(":")
    tenant = panel.json("tenant", "show", name)
    assert (entry[0], int(entry[2]), entry[5], entry[6]) == (name, tenant["uid"], tenant["home"], tenant["shell"])


def test_php_has_the_settings(served: Host) -> None:
    page = f"/home/{OWNER}/web/root0.test/{ROOTS['root0.test']}/ini.php"
    served.run(f"cat > {page} && chown {OWNER}: {page}", stdin=PROBE)
    status, _, body = served.http_get("root0.test", "/ini.php?of=" + ",".join(SETTINGS))
    assert (status, body) == (200, " ".join(SETTINGS.values()))


def test_the_ssh_key_is_the_one_given(served: Host) -> None:
    assert values("ssh_key")[0] in served.run(f"cat /etc/wcp360/ssh/current/{OWNER}").stdout
