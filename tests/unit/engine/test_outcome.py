from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wcp360.core.ports import TargetStatus
from wcp360.engine.outcome import Report, judge, predicted, read_report, why_broken

GOOD = {"web1": {"ok": 3, "changed": 1, "failures": 0, "unreachable": 0}}


def line(role: str = "wcp360.hosting.nginx", **values: Any) -> dict[str, Any]:
    base = {
        "host": "web1", "task": "Write sites", "role": role, "action": "x", "changed": False, "failed": False,
        "ignored": False, "skipped": False, "unreachable": False, "msg": "", "items": None, "diff": None,
    }  # fmt: skip
    return base | values


def item(name: str, **values: Any) -> dict[str, Any]:
    return {"id": name, "changed": False, "failed": False, "msg": "", "diff": [], "not_checked": ""} | values


def batch(**expects: list[Any]) -> dict[str, Any]:
    """A batch of resources with what each expects: [reports, server roles, needs]."""
    names = [name.replace("_", ":", 1) for name in expects]
    rows = dict(zip(names, expects.values(), strict=True))
    return {
        "order": names,
        "targets": dict.fromkeys(names, 7),
        "expects": {name: {"reports": row[0], "server": row[1]} for name, row in rows.items()},
        "depends": {name: row[2] for name, row in rows.items()},
    }


SITE = [[["nginx", "domain:a"]], [], []]


def only(report: Report, **expects: list[Any]) -> tuple[TargetStatus, str]:
    outcome = judge(batch(**expects), report)[-1]
    return outcome.status, outcome.reason


def test_applied_means_that_the_role_reported_on_it_without_failure() -> None:
    report = Report([line(items=[item("domain:a", changed=True)])], GOOD)
    assert why_broken(report, "web1", "successful", 0, "") == ""
    assert only(report, domain_a=SITE) == (TargetStatus.APPLIED, "")


def test_silence_is_not_success() -> None:
    status, reason = only(Report([line(items=[item("domain:b")])], GOOD), domain_a=SITE)
    assert (status, reason) == (TargetStatus.FAILED, "The run ended, but its role nginx did not report on domain:a.")
    elsewhere = Report([line(role="tenant", items=[item("domain:a")])], GOOD)
    assert only(elsewhere, domain_a=SITE)[0] is TargetStatus.FAILED


def test_one_failed_report_among_many_counts() -> None:
    lines = [line(items=[item("domain:a")]), line(items=[item("domain:a", failed=True, msg="bad \x1b[31m host")])]
    assert only(Report(lines, GOOD), domain_a=SITE) == (TargetStatus.FAILED, "bad [31m host")


def test_what_needs_something_refused_in_the_same_run_fails_with_it() -> None:
    report = Report([line(items=[item("tenant:t", failed=True, msg="no"), item("domain:a")])], GOOD)
    status, reason = only(report, tenant_t=[[["nginx", "tenant:t"]], [], []], domain_a=[SITE[0], [], ["tenant:t"]])
    assert (status, reason) == (TargetStatus.FAILED, "skipped: needs tenant t, which failed: no")


def test_a_module_is_applied_when_its_roles_ran() -> None:
    webserver = [[], ["nginx", "php_fpm"], []]
    assert only(Report([line(), line(role="php_fpm")], GOOD), module_w=webserver)[0] is TargetStatus.APPLIED
    assert only(Report([line(), line(role="php_fpm", skipped=True)], GOOD), module_w=webserver) == (
        TargetStatus.FAILED,
        "The run ended, but did not come to the role php_fpm.",
    )
    refused = Report([line(items=[item("server:nginx", failed=True, msg="port taken")]), line(role="php_fpm")], GOOD)
    assert only(refused, module_w=webserver) == (TargetStatus.FAILED, "port taken")


def test_a_service_in_trouble_is_no_fault_of_its_sites() -> None:
    report = Report([line(items=[item("domain:a"), item("server:nginx", failed=True, msg="no reload")])], GOOD)
    assert only(report, domain_a=SITE)[0] is TargetStatus.INTERRUPTED


def test_facts_of_the_node_go_to_the_node() -> None:
    report = Report([line(role="", items=[item("node", facts={"ipv6": True})])], GOOD)
    assert judge(batch(node_web1=[[], [], []]), report)[0].facts == {"ipv6": True}
    assert only(Report([], GOOD), node_web1=[[], [], []])[0] is TargetStatus.FAILED


@pytest.mark.parametrize(
    ("report", "status", "rc", "said"),
    [
        (Report([line(unreachable=True, msg="no route")], None), "failed", 4, "could not be reached: no route"),
        (Report([line(failed=True, msg="apt")], GOOD), "failed", 2, "nginx : Write sites failed on node web1: apt"),
        (Report([line(failed=True, ignored=True, msg="apt")], GOOD), "successful", 0, "failed on node web1: apt"),
        (Report([line()], GOOD), "failed", 1, "ended with code 1: printed"),
        (Report([line()], None), "failed", None, "ended with code None"),
        (Report([line()], None), "successful", 0, "not one task ran"),
        (Report([line()], {"other": GOOD["web1"]}), "successful", 0, "not one task ran"),
        (Report([], {"web1": GOOD["web1"] | {"failures": 1}}), "successful", 0, "counts a failure"),
        (Report([line()], GOOD), "canceled", 254, "engine was stopped"),
        (Report([line()], GOOD), "timeout", 254, "run_timeout"),
        (Report(damage="gone."), "successful", 0, "gone."),
    ],
)
def test_a_broken_run_tells_nothing(report: Report, status: str, rc: int | None, said: str) -> None:
    assert said in why_broken(report, "web1", status, rc, "printed")


def test_what_changed_failed_or_was_not_checked_is_kept_with_its_diff() -> None:
    diff = [{"before_header": "/etc/a", "after_header": "/etc/a", "before": "1\n", "after": "2\n"}]
    attributes = [{"before": {"mode": "0644"}, "after": {"mode": "0600"}}]
    lines = [
        line(items=[item("domain:a", changed=True, diff=diff), item("domain:b"), item("domain:c", not_checked="x")]),
        line(changed=True, diff=attributes),
        line(),
    ]
    found = predicted(Report(lines, GOOD))
    assert [entry.resource for entry in found] == ["domain:a", "domain:c", "server:nginx"]
    assert (found[0].diff[0].name, found[0].diff[0].after) == ("/etc/a", "2\n")
    assert "0600" in found[2].diff[0].after


def test_reading_takes_lines_and_totals(tmp_path: Path) -> None:
    path = tmp_path / "outcomes"
    path.write_text(json.dumps(line()) + "\n" + json.dumps({"stats": GOOD}) + "\n")
    report = read_report(path)
    assert (len(report.lines), report.stats, report.damage) == (1, GOOD, "")
    assert "before it reported" in read_report(tmp_path / "none").damage


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "7"])
def test_a_damaged_file_is_not_believed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "outcomes"
    path.write_text(json.dumps({"stats": GOOD}) + "\n" + text)
    assert "cannot be read" in why_broken(read_report(path), "web1", "successful", 0, "")


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"before_header": "account demo", "after_header": "account demo"}, "account demo"),
        ({"before": {"path": "/etc/x", "state": "absent"}, "after": {"path": "/etc/x"}}, "/etc/x"),
        ({"before_header": "/etc/x", "after_header": "/s/runs/01M8281BXF19XGGBFM2675G0KP/tmp/x.j2"}, "/etc/x"),
        ({"before": "", "after_header": "/s/runs/01M8281BXF19XGGBFM2675G0KP/tmp/ansible/x.j2"}, "x.j2"),
        ({}, None),
    ],
)
def test_a_difference_is_named_the_same_in_every_run(entry: dict[str, Any], name: str | None) -> None:
    differing = entry and {"before": "1", "after": "2"} | entry
    (found,) = predicted(Report([line(changed=True, diff=[differing])], GOOD))
    assert [diff.name for diff in found.diff] == ([] if name is None else [name])


def test_what_two_roles_would_both_make_is_said_once() -> None:
    shared = {
        "before": {"path": "/var/log/x", "state": "absent"},
        "after": {"path": "/var/log/x", "state": "directory"},
    }
    same = {"before": {"path": "/etc"}, "after": {"path": "/etc"}}
    lines = [line(role=role, changed=True, diff=[shared, same]) for role in ("php_fpm", "nginx")]
    (found,) = predicted(Report(lines, GOOD))
    assert (found.resource, [diff.name for diff in found.diff]) == ("server:php_fpm", ["/var/log/x"])
    no_diff = predicted(Report([line(changed=True), line(changed=True)], GOOD))
    assert len(no_diff) == 2


def test_what_two_roles_would_both_make_is_said_once_by_modules_with_items_too() -> None:
    diff = {"before_header": "/var/log/x", "after_header": "/var/log/x", "before": "", "after": "directory 0755 0:0\n"}
    items = [item(f"server:{role}", changed=True, diff=[diff]) for role in ("php_fpm", "nginx")]
    (found,) = predicted(Report([line(items=[one]) for one in items], GOOD))
    assert (found.resource, [diff.name for diff in found.diff]) == ("server:php_fpm", ["/var/log/x"])
    tenants = [item(f"tenant:{name}", changed=True, diff=[diff]) for name in "ab"]
    assert len(predicted(Report([line(items=[one]) for one in tenants], GOOD))) == 2


@pytest.mark.parametrize("odd", [3, "x", {"before": "a"}, [3, None]])
def test_what_a_node_sends_in_another_form_breaks_nothing(odd: Any) -> None:
    report = Report(
        [line(items=[item("domain:a", changed=True, diff=odd)]), line(items=[item("node", facts=odd)])], GOOD
    )
    assert [found.diff for found in predicted(report) if found.resource == "domain:a"] == [[]]
    (outcome,) = judge(batch(node_web1=[[], [], []]), report)
    assert outcome.facts == (odd if isinstance(odd, dict) else None)


def test_a_node_in_trouble_is_waited_for_and_not_taken_for_a_bad_item() -> None:
    full = item("domain:a", failed=True, msg="[Errno 28] No space left on device", retry=True)
    status, reason = only(Report([line(items=[full])], GOOD), domain_a=SITE)
    assert (status, reason) == (
        TargetStatus.INTERRUPTED,
        "The node is in trouble: [Errno 28] No space left on device",
    )
    # What follows from it has not failed either.
    needs = [[["nginx", "domain:b"]], [], ["domain:a"]]
    report = Report([line(items=[full, item("domain:b", changed=True)])], GOOD)
    assert only(report, domain_a=SITE, domain_b=needs) == (TargetStatus.APPLIED, "")


def test_what_failed_without_something_that_is_tried_again_is_tried_again() -> None:
    full = item("tenant:a", failed=True, msg="[Errno 28] No space left on device", retry=True)
    homeless = item("domain:a", failed=True, msg="/home/a is missing")
    report = Report([line("wcp360.hosting.tenant", items=[full]), line(items=[homeless])], GOOD)
    needs = {"tenant_a": [[["tenant", "tenant:a"]], [], []], "domain_a": [*SITE[:2], ["tenant:a"]]}
    status, reason = only(report, **needs)
    assert status is TargetStatus.INTERRUPTED and "tenant a, which is tried again" in reason
    refused = Report([line("wcp360.hosting.tenant", items=[item("tenant:a")]), line(items=[homeless])], GOOD)
    assert only(refused, **needs)[0] is TargetStatus.FAILED
