"""What a run may do: what it predicts has to be declared, and to be what a preview showed where it applies one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wcp360.core.footprint import Footprint, Footprints, Shared
from wcp360.core.kept import listed, moved_node
from wcp360.core.views import PredictedItem
from wcp360.engine.batch import ROLE_OF
from wcp360.engine.choice import Work
from wcp360.engine.outcome import Report, predicted

# Tasks that do nothing to a node themselves; what any other task would do has to be told item by item, or belong to the
# server.
READERS = frozenset(
    f"ansible.builtin.{name}"
    for name in (
        "set_fact",
        "assert",
        "debug",
        "fail",
        "include_role",
        "include_tasks",
        "meta",
        "stat",
        "slurp",
        "find",
    )
) | frozenset({"ansible.builtin.getent", "ansible.builtin.import_role"})
# Tasks of the server level that change something and have no way to say what.
SILENT = frozenset(f"ansible.builtin.{name}" for name in ("group", "service", "systemd_service", "uri"))
# What a skipped task says that had nothing to do: none, or a loop of which every element was left out.
NOTHING_TO_DO = frozenset({"", "All items skipped"})


@dataclass(slots=True)
class Verdict:
    """Why a run was refused, and which of its targets are to blame; none where all of them are."""

    reason: str = ""
    blamed: set[str] = field(default_factory=set)


class Permit:
    """Judges one run's prediction; called at the gate, in another thread than the run's."""

    def __init__(self, work: Work, declared: Footprints | None) -> None:
        self._work = work
        self._radius = None if declared is None else Radius(work.batch, declared)
        self.verdict = Verdict()

    def __call__(self, prediction: Report) -> str:
        """Return why the run must not go on, or an empty string."""
        items = predicted(prediction)
        if self._work.preview and (moved := moved_node(self._work.kept, items)):
            self.verdict = Verdict(
                f"The preview {self._work.preview} was not applied, because the server is not as it was then: "
                f"{listed(moved)} moved. Nothing was done; make a new preview."
            )
        elif self._radius is not None:
            self.verdict = self._radius.judge(prediction)
        return self.verdict.reason


class Radius:
    """What a batch declares that it may touch."""

    def __init__(self, batch: dict[str, Any], declared: Footprints) -> None:
        request = batch["request"]
        self._targets = set(batch["targets"])
        self._own: dict[tuple[str, str], Footprint] = {}
        self._server: dict[str, Footprint] = {}
        for variable, role in ROLE_OF.items():
            for entry in request[variable]:
                compiled = declared.entries.get(variable)
                footprint = Footprint() if compiled is None else compiled(entry)
                self._add(role, str(entry.get("id") or entry["name"]), footprint)
            if request[variable] or request["server"][role]:
                shared = declared.shared.get(role, Shared())
                self._server[role] = shared.always | (shared.server if request["server"][role] else Footprint())
        self._levels = {role for role, wanted in request["server"].items() if wanted}

    def _add(self, role: str, name: str, footprint: Footprint) -> None:
        self._own[role, name] = self._own.get((role, name), Footprint()) | footprint

    def judge(self, prediction: Report) -> Verdict:
        """Compare every predicted effect with the declaration."""
        outside: dict[str, set[str]] = {}
        for line in prediction.lines:
            for told_of, what in self._of_line(line):
                outside.setdefault(told_of, set()).add(what)
        if not outside:
            return Verdict()
        names = listed(sorted({what for found in outside.values() for what in found}))
        blamed = set() if outside.keys() - self._targets else set(outside)
        who = ", ".join(sorted(outside.keys() & self._targets)) or "this batch"
        return Verdict(f"The run was refused, because it would touch what {who} does not own: {names}.", blamed)

    def _of_line(self, line: dict[str, Any]) -> list[tuple[str, str]]:
        """Return what a line tells of that is not declared, each with the id that it is told of."""
        role = str(line["role"]).rpartition(".")[2]
        if line["items"] is None:
            return [("", what) for what in self._of_task(line, role)]
        return [(item.resource, what) for item in predicted(Report([line])) for what in self._of_item(item, role)]

    def _of_task(self, line: dict[str, Any], role: str) -> list[str]:
        action = str(line.get("action", ""))
        # A task that does not know check mode is skipped with a message, which tells nothing of what it would do.
        acts = line["changed"] or (line["skipped"] and line["msg"] not in NOTHING_TO_DO)
        if action in READERS or not acts:
            return []
        task = f"the task {line['task']!r} ({action})"
        if role not in self._levels or not line["changed"]:
            return [task]
        names = [diff.name for item in predicted(Report([line])) for diff in item.diff]
        if not names and action not in SILENT:
            return [task]
        return [name or task for name in names if not self._server[role].covers(name)]

    def _of_item(self, item: PredictedItem, role: str) -> list[str]:
        server = item.resource == f"server:{role}"
        footprint = self._server.get(role) if server else self._own.get((role, item.resource))
        if footprint is None:
            return [f"{item.resource} ({item.task})"] if item.changed or item.diff or item.failed else []
        if item.changed and not item.diff:
            return [f"something of {item.resource} that the task {item.task!r} does not name"]
        return [diff.name or item.task for diff in item.diff if not footprint.covers(diff.name)]
