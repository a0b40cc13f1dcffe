"""A preview or a run for people: packages, accounts, services, ports, files with unified diffs, totals."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from wcp360.cli.safe import paint, safe, safe_line, say

_CONTEXT = 3
_SECTIONS = {
    "package": "Packages",
    "account": "Accounts",
    "user": "Accounts",
    "group": "Accounts",
    "membership": "Accounts",
    "service": "Services",
    "unit": "Services",
    "instance": "Services",
}
# What a server's own configuration says about where it listens: nginx's `listen`, sshd's `Port`.
_LISTEN = re.compile(r"^\s*(?:listen|Port)\s+([^;\s]*?)(\d{1,5})(?=[;\s])", re.MULTILINE)
_LINE_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(slots=True)
class Totals:
    """What a preview adds up to."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    failed: int = 0
    not_checked: int = 0

    def count(self, before: str, after: str) -> None:
        """Count one difference."""
        if not before:
            self.added += 1
        elif not after:
            self.removed += 1
        else:
            self.changed += 1

    def sentence(self) -> str:
        """Return all of it as one sentence."""
        text = f"{self.added} to add, {self.changed} to change, {self.removed} to remove"
        text += f"; {self.not_checked} not checked" if self.not_checked else ""
        return text + (f"; {self.failed} refused" if self.failed else "") + "."


@dataclass(slots=True)
class Findings:
    """The differences of a preview by section, in the order in which they will happen."""

    sections: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unchecked: list[tuple[str, str]] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)


def find(items: list[dict[str, Any]]) -> Findings:
    """Sort what a preview predicts."""
    findings = Findings()
    for item in items:
        if item.get("failed"):
            findings.refused.append((item["resource"], item.get("message", "")))
            findings.totals.failed += 1
        if item.get("not_checked"):
            findings.unchecked.append((item["resource"], item["not_checked"]))
            findings.totals.not_checked += 1
        for diff in item.get("diff") or []:
            _sort(findings, _named(diff))
    return findings


def _named(diff: dict[str, Any]) -> dict[str, Any]:
    """Return a difference with its name: ansible-core's module `file` puts path and state into both texts instead."""
    if diff["name"]:
        return diff
    try:
        before, after = json.loads(diff["before"]), json.loads(diff["after"])
        return {"name": str(after["path"]), "before": _attributes(before), "after": _attributes(after)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {**diff, "name": "(unnamed)"}


def _attributes(value: dict[str, Any]) -> str:
    if value.get("state") == "absent":
        return ""
    return " ".join(str(one) for name, one in value.items() if name != "path")


def _sort(findings: Findings, diff: dict[str, Any]) -> None:
    word = str(diff["name"]).partition(" ")[0]
    section = "Files" if str(diff["name"]).startswith("/") else _SECTIONS.get(word, "Other")
    findings.sections.setdefault(section, []).append(diff)
    findings.totals.count(diff["before"], diff["after"])
    had = {match[2] for match in _LISTEN.finditer(diff["before"])}
    for match in _LISTEN.finditer(diff["after"]):
        if match[2] not in had and match[2] not in findings.ports:
            findings.ports.append(match[2])


def print_items(items: list[dict[str, Any]], shown: bool) -> Totals:
    """Print differences, what was refused and what was not checked. Returns the totals."""
    findings = find(items)
    for section in ("Packages", "Accounts", "Services", "Other"):
        _short(section, findings.sections.get(section, []), shown)
    if findings.ports:
        say(paint("Ports", "bold", shown))
        say("  " + ", ".join(f"{port}/tcp" for port in findings.ports))
    _files(findings.sections.get("Files", []), shown)
    _reasons("Refused", findings.refused, "red", shown)
    _reasons("Not checked", findings.unchecked, "yellow", shown)
    return findings.totals


def _short(section: str, diffs: list[dict[str, Any]], shown: bool) -> None:
    if diffs:
        say(paint(f"{section} ({len(diffs)})", "bold", shown))
    for diff in diffs:
        name, before, after = safe_line(diff["name"]), diff["before"].strip(), diff["after"].strip()
        if "\n" in before or "\n" in after:
            _unified(diff, shown)
        elif before and after:
            say(paint(f"  ~ {name}: {safe_line(before)} -> {safe_line(after)}", "yellow", shown))
        else:
            sign, colour = ("-", "red") if before else ("+", "green")
            say(paint(f"  {sign} {name} {safe_line(before or after)}".rstrip(), colour, shown))


def _files(diffs: list[dict[str, Any]], shown: bool) -> None:
    if diffs:
        say(paint(f"Files ({len(diffs)})", "bold", shown))
    for diff in diffs:
        texts = (diff["before"], diff["after"])
        if all("\n" not in text.strip("\n") for text in texts) and any(_is_note(text) for text in texts):
            note = " -> ".join(safe_line(text.strip()) for text in texts if text.strip())
            sign, colour = ("+", "green") if not texts[0] else ("-", "red") if not texts[1] else ("~", "yellow")
            say(paint(f"  {sign} {safe_line(diff['name'])}  ({note})", colour, shown))
        else:
            _unified(diff, shown)


def _is_note(text: str) -> bool:
    """Tell whether a text only describes what stands there, as in `directory 0750 20000:33`."""
    return text.startswith(("directory", "link ", "moved to ", "file ", "touch"))


def _unified(diff: dict[str, Any], shown: bool) -> None:
    for line in unified(diff["name"], diff["before"], diff["after"]):
        bold = line.startswith(("---", "+++"))
        colour = "bold" if bold else _LINE_COLOURS.get(line[:1], "")
        say("  " + paint(line, colour, shown and bool(colour)))


def unified(name: str, before: str, after: str) -> Iterator[str]:
    """Return the lines of a unified diff, safe to print."""
    old, new = safe(before).splitlines(), safe(after).splitlines()
    label = safe_line(name)
    heads = (label if before else "/dev/null", label if after else "/dev/null")
    return difflib.unified_diff(old, new, *heads, n=_CONTEXT, lineterm="")


def _reasons(title: str, reasons: list[tuple[str, str]], colour: str, shown: bool) -> None:
    if reasons:
        say(paint(f"{title} ({len(reasons)})", "bold", shown))
    for resource, reason in reasons:
        say(paint(f"  {safe_line(resource)}: {safe_line(reason)}", colour, shown))


def print_preview(preview: dict[str, Any], shown: bool) -> None:
    """Print a finished preview."""
    say(f"Preview {safe_line(preview['id'])} of {safe_line(preview['operation'])} (nothing has been changed)")
    if preview["items"]:
        say()
        totals = print_items(preview["items"], shown)
        say()
        say(totals.sentence())
    if not preview["items"] and preview["status"] == "succeeded":
        say("Nothing would change.")
