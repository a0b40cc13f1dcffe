"""From the outcomes file of a run to what each resource has come to.

Nothing counts as done because nobody complained: the run must have ended well, the expected host must be in its
totals, and every role that was given an item must have reported on it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from wcp360.core.ids import ULID_PATTERN
from wcp360.core.needs import needs
from wcp360.core.ports import UNREACHABLE, TargetOutcome, TargetStatus
from wcp360.core.resources import Ref
from wcp360.core.views import FileDiff, PredictedItem

# Far above what a batch of 500 resources writes; a node that sends more than this is not believed.
MAX_BYTES = 256 * 2**20
MAX_REASON = 1000
NODE_ITEM = "node"
# A part of every path in a run's private directory.
_OWN_PATH = re.compile(rf"/runs/{ULID_PATTERN}/", re.ASCII)
_MEMBERS = frozenset(("task", "role", "changed", "failed", "skipped", "unreachable", "msg", "items", "diff"))


@dataclass(frozen=True, slots=True)
class Report:
    """The lines of an outcomes file; ``stats`` is None where the run was cut off."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    stats: dict[str, dict[str, int]] | None = None
    damage: str = ""

    def part(self, *, check: bool) -> Report:
        """Return what was only predicted, or what was done and what kept the run from coming to that."""
        kept = [line for line in self.lines if bool(line.get("check")) is check or (not check and _breaks(line))]
        return Report(kept, self.stats, self.damage)


def _breaks(line: dict[str, Any]) -> bool:
    return bool(line["unreachable"] or (line["failed"] and line["items"] is None))


def read_report(path: Path) -> Report:
    """Read an outcomes file; one that is missing, too long or not as it should be gives a report that says so."""
    lines: list[dict[str, Any]] = []
    stats = None
    try:
        if path.stat().st_size > MAX_BYTES:
            return Report(damage=f"The run reported more than {MAX_BYTES // 2**20} MiB, which is not believed.")
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                line = json.loads(text)
                if isinstance(line, dict) and "stats" in line:
                    stats = line["stats"]
                else:
                    lines.append(_checked(line))
    except FileNotFoundError:
        return Report(damage="The run ended before it reported anything.")
    except (OSError, ValueError, TypeError) as error:
        return Report(lines, None, f"What the run reported cannot be read: {error}.")
    return Report(lines, stats)


def _checked(line: Any) -> dict[str, Any]:
    """Return a line with the form that the callback gives it; what is in its items comes from the node."""
    if not isinstance(line, dict) or not line.keys() >= _MEMBERS:
        raise ValueError("a line lacks members")
    items = line["items"]
    if items is None:
        return line
    if not all(isinstance(item, dict) and isinstance(item.get("id"), str) for item in items):
        raise ValueError(f"an item of the task {brief(line['task'])!r} has no id")
    return line


def why_broken(report: Report, node: str, status: str, rc: int | None, said: str) -> str:
    """Return why a run as a whole tells nothing about its resources, as a sentence; empty where it does.

    ``status`` and ``rc`` are ansible-runner's, ``said`` the last that Ansible printed.
    """
    for line in report.lines:
        if line["unreachable"]:
            return f"Node {node} {UNREACHABLE}: {brief(line['msg'])}"
    if status == "canceled":
        return "The run was ended because the engine was stopped or lost the node's lease."
    if status == "timeout":
        return "The run took longer than engine.run_timeout allows and was ended."
    for line in report.lines:
        if line["failed"] and line["items"] is None:
            return f"{_place(line)} failed on node {node}: {brief(line['msg'])}"
    if rc != 0:
        return f"Ansible ended with code {rc}: {brief(said or report.damage)}"
    return report.damage or _why_not_counted(report, node)


def judge(batch: dict[str, Any], report: Report) -> list[TargetOutcome]:
    """Return the outcome of each target of a batch; the run itself must not have been broken."""
    seen = _Seen(report)
    outcomes: dict[str, TargetOutcome] = {}
    for name in batch["order"]:
        expects, ref = batch["expects"][name], Ref.parse(name)
        status, reason = TargetStatus.INTERRUPTED, seen.passing_trouble(name, expects)
        if not reason:
            status = TargetStatus.FAILED
            needed = [outcomes[other] for other in batch["depends"][name] if other in outcomes]
            reason = seen.objection(name, expects) or _why_skipped(needed, TargetStatus.FAILED, "failed")
            # What failed without something that will be tried again proves nothing about itself.
            if reason and (waiting := _why_skipped(needed, TargetStatus.INTERRUPTED, "is tried again")):
                status, reason = TargetStatus.INTERRUPTED, waiting
        if not reason:
            reason = seen.server_trouble(expects)
            status = TargetStatus.INTERRUPTED if reason else TargetStatus.APPLIED
        facts = seen.facts if ref.kind == NODE_ITEM and not reason else None
        outcomes[name] = TargetOutcome(ref, batch["targets"][name], status, reason, facts)
    return list(outcomes.values())


def interrupted(batch: dict[str, Any], reason: str) -> list[TargetOutcome]:
    """Return the outcomes of a run that tells nothing about its resources."""
    return [
        TargetOutcome(Ref.parse(name), revision, TargetStatus.INTERRUPTED, reason)
        for name, revision in batch["targets"].items()
    ]


def skipped(batch: dict[str, Any]) -> list[TargetOutcome]:
    """Return the outcomes of what was left out of a batch because it cannot be applied."""
    return [
        TargetOutcome(Ref.parse(name), entry["revision"], TargetStatus.FAILED, entry["reason"])
        for name, entry in batch["skipped"].items()
    ]


def predicted(report: Report) -> list[PredictedItem]:
    """Return what a run did or would do: whatever changed, failed or could not be checked, in order."""
    said: set[tuple[str, str, str]] = set()
    found: list[PredictedItem] = []
    for line in report.lines:
        found += [
            _without_repeats(item, said) if item.resource.startswith("server:") else item for item in _of_line(line)
        ]
    return [item for item in found if item.changed or item.failed or item.not_checked]


def plain(text: str) -> str:
    """Return text without control characters and direction controls; line ends become spaces."""
    kept = (" " if char in "\r\n\t" else char for char in text)
    return "".join(char for char in kept if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


def brief(text: object) -> str:
    """Return a message as part of a reason: plain and not too long."""
    return plain(str(text)).strip()[:MAX_REASON] or "no message was given."


class _Seen:
    """What roles reported, by role and item id."""

    def __init__(self, report: Report) -> None:
        self.facts: dict[str, Any] | None = None
        self._ran: set[str] = set()
        self._reported: set[tuple[str, str]] = set()
        self._refused: dict[str, str] = {}
        self._passing: dict[str, str] = {}
        for line in report.lines:
            self._add(line)

    def _add(self, line: dict[str, Any]) -> None:
        role = _role(line)
        if not line["skipped"]:
            self._ran.add(role)
        for item in line["items"] or ():
            self._reported.add((role, item["id"]))
            if item.get("failed"):
                found = self._passing if item.get("retry") is True else self._refused
                found.setdefault(item["id"], brief(item.get("msg")))
            if item["id"] == NODE_ITEM and isinstance(item.get("facts"), dict):
                self.facts = item["facts"]

    def objection(self, name: str, expects: dict[str, Any]) -> str:
        """Return why a target does not count as applied, or an empty string."""
        ids = [item for _, item in expects["reports"]] + [f"server:{role}" for role in expects["server"]]
        if name.startswith(f"{NODE_ITEM}:"):
            ids.append(NODE_ITEM)
            if self.facts is None and NODE_ITEM not in self._refused:
                return "The run ended, but told nothing about the node itself."
        for item in ids:
            if item in self._refused:
                return self._refused[item]
        for role, item in expects["reports"]:
            if (role, item) not in self._reported:
                return f"The run ended, but its role {role} did not report on {item}."
        missing = [role for role in expects["server"] if role not in self._ran]
        return f"The run ended, but did not come to the role {missing[0]}." if missing else ""

    def passing_trouble(self, name: str, expects: dict[str, Any]) -> str:
        """Return what is wrong with the node itself, such as a full disk, so that a target could not be applied."""
        ids = {name, *(item for _, item in expects["reports"]), *(f"server:{role}" for role in expects["server"])}
        return next((f"The node is in trouble: {self._passing[item]}" for item in sorted(ids & set(self._passing))), "")

    def server_trouble(self, expects: dict[str, Any]) -> str:
        """Return what is wrong with a service that a target needs, although nothing is wrong with the target."""
        for role, _ in expects["reports"]:
            if f"server:{role}" in self._refused:
                return f"The server's {role} is in trouble: {self._refused[f'server:{role}']}"
        return ""


def _why_skipped(needed: list[TargetOutcome], status: TargetStatus, word: str) -> str:
    found = (needs(outcome.ref, f"{word}: {outcome.reason}") for outcome in needed if outcome.status is status)
    return next(found, "")


def _why_not_counted(report: Report, node: str) -> str:
    totals = (report.stats or {}).get(node)
    if totals is None:
        return f"Ansible ended well, but not one task ran on node {node}."
    if totals["failures"] or totals["unreachable"]:
        return f"Ansible ended well, but counts a failure on node {node}."
    return ""


def _of_line(line: dict[str, Any]) -> Iterator[PredictedItem]:
    if line["items"] is None:
        yield PredictedItem(
            resource=f"server:{_role(line) or 'node'}",
            task=_place(line),
            changed=line["changed"],
            failed=line["failed"],
            message=brief(line["msg"]) if line["failed"] else "",
            diff=_diffs(line["diff"]),
        )
    for item in line["items"] or ():
        yield PredictedItem(
            resource=item["id"],
            task=_place(line),
            changed=bool(item.get("changed")),
            failed=bool(item.get("failed")),
            message=brief(item["msg"]) if item.get("msg") else "",
            not_checked=str(item.get("not_checked") or ""),
            diff=_diffs(item.get("diff")),
        )


def _without_repeats(item: PredictedItem, said: set[tuple[str, str, str]]) -> PredictedItem:
    """Leave out what an earlier task has said already: in check mode two roles would both make a shared directory."""
    entries = {(diff.name, diff.before, diff.after): diff for diff in item.diff}
    fresh = [diff for entry, diff in entries.items() if entry not in said]
    said.update(entries)
    changed = item.changed and (bool(fresh) or not item.diff)
    return item.model_copy(update={"diff": fresh, "changed": changed})


def _diffs(entries: Any) -> list[FileDiff]:
    """Return the differences of a result; what a node sends in another form is none."""
    if not isinstance(entries, list):
        return []
    found = [
        FileDiff(
            name=_diff_name(entry),
            before=_text(entry.get("before", "")),
            after=_text(entry.get("after", entry.get("prepared", ""))),
        )
        for entry in entries
        if isinstance(entry, dict) and entry
    ]
    return [diff for diff in found if diff.before != diff.after]


def _diff_name(entry: dict[str, Any]) -> str:
    """Return what a difference is about.

    ansible-core's file gives no header but a path among the attributes. Its copy and template head the new side with
    their own source on the controller, which nobody must take for the place of the file on the node.
    """
    for side in (entry.get("before"), entry.get("after")):
        if isinstance(side, dict) and side.get("path"):
            return str(side["path"])
    name = str(entry.get("before_header") or entry.get("after_header") or "")
    return PurePosixPath(name).name if _OWN_PATH.search(name) else name


def _text(value: Any) -> str:
    """Return one side of a diff; ansible-core's own modules may give a mapping of attributes."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, sort_keys=True, indent=1)


def _role(line: dict[str, Any]) -> str:
    return str(line["role"]).rpartition(".")[2]


def _place(line: dict[str, Any]) -> str:
    role = _role(line)
    return f"{role} : {line['task']}" if role else str(line["task"])
