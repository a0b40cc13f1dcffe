"""What a run may do by its prediction: what is declared, and nothing that a task does not tell."""

from __future__ import annotations

from typing import Any

import pytest

from wcp360.core.footprint import Footprint, Footprints, Shared
from wcp360.engine.outcome import Report
from wcp360.engine.permit import Radius

TENANT = "tenant:acme"
DECLARED = Footprints(
    {"tenant_accounts": lambda entry: Footprint(frozenset({f"/home/{entry['name']}"}))},
    {"tenant": Shared(server=Footprint(frozenset({"/etc/wcp360"})))},
)


def judged(*lines: dict[str, Any], server: str = "") -> tuple[str, set[str]]:
    request = {
        **{"tenant_accounts": [{"id": TENANT, "name": "acme"}], "php_fpm_pools": [], "nginx_sites": []},
        "server": {"tenant": server, "php_fpm": "", "nginx": ""},
    }
    verdict = Radius({"request": request, "targets": {TENANT: 1}}, DECLARED).judge(Report(list(lines)))
    return verdict.reason, verdict.blamed


def line(**more: Any) -> dict[str, Any]:
    plain = {"changed": False, "failed": False, "skipped": False, "unreachable": False, "msg": "", "diff": []}
    return {"task": "Do it", "role": "wcp360.hosting.tenant", "items": None, "action": "x.y.z", **plain, **more}


def item(path: str, of: str = TENANT) -> dict[str, Any]:
    diff = [{"before_header": path, "after_header": path, "before": "", "after": "x"}]
    return line(items=[{"id": of, "changed": True, "failed": False, "msg": "", "diff": diff}])


def test_what_is_declared_goes() -> None:
    assert judged(item("/home/acme/web")) == ("", set())


def test_what_is_another_s_is_refused_and_its_resource_blamed() -> None:
    reason, blamed = judged(item("/home/beta"))
    assert "/home/beta" in reason and blamed == {TENANT}


def test_a_change_of_somebody_who_is_not_asked_for_blames_nobody() -> None:
    reason, blamed = judged(item("/home/beta", of="tenant:beta"))
    assert "tenant:beta" in reason and blamed == set()


def test_who_is_not_asked_for_has_nothing_to_fail_either() -> None:
    failed = {"id": "tenant:beta", "changed": False, "failed": True, "msg": "no", "diff": []}
    assert "tenant:beta" in judged(line(items=[failed]))[0]


@pytest.mark.parametrize("message", ["", "All items skipped"])
def test_a_task_that_had_nothing_to_do_is_none(message: str) -> None:
    assert judged(line(skipped=True, msg=message)) == ("", set())


def test_a_task_that_does_not_know_check_mode_is_refused() -> None:
    reason, _blamed = judged(line(skipped=True, msg="remote module does not support check mode"))
    assert "'Do it' (x.y.z)" in reason


def test_a_task_that_changes_without_saying_what_is_refused_outside_of_the_server_level() -> None:
    assert "'Do it'" in judged(line(changed=True))[0]
    assert "'Do it'" in judged(line(changed=True, action="ansible.builtin.service"))[0]
    assert judged(line(changed=True, action="ansible.builtin.service"), server="present") == ("", set())
