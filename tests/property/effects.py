"""Compares what a preview says with what an independent observer saw: nothing more may happen, and nothing less."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Things = dict[str, dict[str, str]]
Item = dict[str, Any]


@dataclass(frozen=True)
class Exclusion:
    """Things that may differ without a prediction, and why nobody wants one."""

    things: str
    reason: str
    kind: str = ""

    def covers(self, name: str, descriptions: Iterable[dict[str, str]]) -> bool:
        """Tell whether it is about this thing."""
        kinds = {found.get("kind", "") for found in descriptions}
        return re.fullmatch(self.things, name, re.ASCII) is not None and (not self.kind or kinds == {self.kind})


EXCLUSIONS = (
    Exclusion(r"/.*/generations/.*", "what a tree has is observed below current; former generations are copies"),
    Exclusion(r"/.*/current/\.manifest\.json", "config_tree's own record of the files that are compared"),
    Exclusion(r"/var/lib/wcp360/packages(/.*)?", "the record of the packages that came with us, which are compared"),
    Exclusion(r"/var/log/wcp360/.*", "services make and fill their logs when they have something to log", "file"),
    Exclusion(r"(loaded |unit wcp360-)php[-@][a-z0-9]+(\.service)?", "a master on demand comes and goes with visitors"),
    Exclusion(r"unit wcp360-[a-z0-9]+\.slice", "systemd has a tenant's slice for as long as something runs in it"),
)
# What has no name in a preview because it is a part of something that has one.
SILENT_TASKS = {
    "Have the groups by which accounts are told apart": r"group wcp360-(tenants|sftp)",
    "Take the groups away": r"group wcp360-(tenants|sftp)",
}
# Debian's unit has another name, and what cannot be asked for its generation has it in a stamp beside it.
UNITS = {"sshd": "ssh"}
STAMPS = {"sshd": "/var/lib/wcp360/sshd.generation"}
ACCOUNT_FIELDS = ("uid", "gid", "comment", "home", "shell", "groups", "password", "expires")
# The observer does not look at what systemd keeps for itself and what is gone at boot: services come and go there.
_UNSEEN = re.compile(r"/run/.*|/var/lib/systemd/timers/.*", re.ASCII)
# Nginx says in each line when and as which process it says it.
_TIMES = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?=\[)|(?<=\] )\d+#\d+: ", re.ASCII)
_ATTRIBUTES = re.compile(r"(?P<path>/.*?)(?: \((?P<mode>[0-7]{4}) (?P<owner>\d+:\d+)\))?", re.ASCII | re.DOTALL)
_ENTRY = re.compile(r"(?P<kind>directory|file) (?P<mode>[0-7]{4}) (?P<owner>-?\d+:-?\d+)\n", re.ASCII)
_LINK = re.compile(r"link (?P<target>/\S+)\n", re.ASCII)
_MOVED = re.compile(r"moved to (?P<trash>/\S+)\n", re.ASCII)
_SERVICE = re.compile(
    r"(?P<state>[a-z ]+?)(?:, generation (?P<generation>\S+?))?(?:, (?P<enabled>enabled|disabled))?\n"
)


@dataclass(frozen=True)
class Effect:
    """One predicted difference: all of a run about one name, from the first side to the last."""

    name: str
    before: str
    after: str


def effects(items: Iterable[Item]) -> list[Effect]:
    """Return what a preview says that will differ in the end; an item that fails does nothing."""
    found: dict[str, Effect] = {}
    for item in items:
        for diff in () if item["failed"] else item["diff"]:
            name = diff["name"] or f"unnamed {hashlib.sha256(diff['after'].encode()).hexdigest()}"
            first = found.get(name)
            found[name] = Effect(name, first.before if first else diff["before"], diff["after"])
    return [effect for effect in found.values() if effect.before != effect.after]


def failures(items: Iterable[Item]) -> dict[str, str]:
    """Return the reason of everything that fails."""
    found: dict[str, str] = {}
    for item in items:
        if item["failed"]:
            found.setdefault(item["resource"], _TIMES.sub("", item["message"]))
    return found


def told(items: Iterable[Item]) -> list[list[str]]:
    """Return a run's differences in a form that can be compared with another's.

    Server level is compared by its end: in check mode a task does not see what the one before it would have made.
    """
    everything = list(items)
    server = [item for item in everything if item["resource"].startswith("server:")]
    rows = [["server", effect.name, effect.before, effect.after] for effect in effects(server)]
    rows += [
        [item["resource"], diff["name"], diff["before"], diff["after"]]
        for item in everything
        if not item["resource"].startswith("server:") and not item["failed"]
        for diff in item["diff"]
    ]
    return sorted(rows)


def unlike(before: Things, after: Things, used: set[Exclusion] | None = None) -> set[str]:
    """Return what differs between two observations, without the exclusions; those that were of use go to ``used``."""
    found = set()
    before, after = followed(before), followed(after)
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        sides = [side for side in (old, new) if side is not None]
        exclusion = next((rule for rule in EXCLUSIONS if rule.covers(name, sides)), None)
        if exclusion is None:
            found.add(name)
        elif used is not None:
            used.add(exclusion)
    return found


def followed(things: Things) -> Things:
    """Return the things with the directory of a tree's generation in the place of the link that leads to it.

    The link has the generation's digest as its target; what it leads to is what a preview names.
    """
    found = dict(things)
    for name, thing in things.items():
        above, _, last = name.rpartition("/")
        if last == "current" and thing.get("target", "").startswith("generations/"):
            found[name] = things.get(f"{above}/{thing['target']}", thing)
    return found


@dataclass
class Comparison:
    """One prediction against two observations; ``problems`` has a line for each difference."""

    items: list[Item]
    before: Things
    after: Things
    used: set[Exclusion] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """Compare both ways and return the problems."""
        self.before, self.after = followed(self.before), followed(self.after)
        self.changed = unlike(self.before, self.after, self.used)
        self.left = set(self.changed)
        self.trash: dict[str, str] = {}
        found = effects(self.items)
        gone = [effect for effect in found if not effect.after or _MOVED.fullmatch(effect.after)]
        self.removed = [_path(effect.name) for effect in gone]
        for effect in sorted(found, key=lambda effect: effect.name, reverse=True):
            self._explain(effect)
        self._explain_unnamed()
        self._explain_parts(found)
        self.problems += [f"changed, but not predicted: {self._shown(name)}" for name in sorted(self.left)]
        self.problems += self._stale()
        return self.problems

    def _shown(self, name: str) -> str:
        return f"{name}: {self.before.get(name)} -> {self.after.get(name)}"

    def _explain(self, effect: Effect) -> None:
        kind, _, subject = effect.name.partition(" ")
        if _UNSEEN.fullmatch(effect.name):
            return
        if effect.name.startswith("/"):
            self._path(effect)
        elif kind == "account":
            self._account(effect, subject)
        elif kind == "group":
            self._take(effect, [effect.name])
        elif kind == "service":
            self._service(effect, subject)
        elif effect.name.startswith("processes of "):
            self._take(effect, self._processes(effect.name.removeprefix("processes of ")))
        elif effect.name.startswith("files left by "):
            for path in effect.before.splitlines():
                self._take(effect, [path, *self._below(path)])
        elif kind != "package":
            self.problems.append(f"predicted, but nothing is known by this name: {effect}")

    def _take(self, effect: Effect, names: Iterable[str]) -> None:
        """Explain ``names`` by an effect; at least one of them must have changed."""
        found = set(names) & self.changed
        if not found:
            self.problems.append(f"predicted, but did not change: {effect}")
        self.left -= found

    def _below(self, path: str) -> list[str]:
        return [name for name in self.changed if name.startswith(f"{path}/")]

    def _path(self, effect: Effect) -> None:
        path, attributes = _path(effect.name), _ATTRIBUTES.fullmatch(effect.name)
        old, new = self.before.get(path), self.after.get(path)
        self._take(effect, [path])
        for side, text, found in (("before", effect.before, old), ("after", effect.after, new)):
            if not _is(text, found):
                self.problems.append(f"{path} {side} is {found}, predicted was {text!r}")
        if old and attributes and attributes["mode"] and _owned(old) != (attributes["mode"], attributes["owner"]):
            self.problems.append(f"{path} before is {old}, predicted was {effect.name}")
        same_kind = old and new and old["kind"] == new["kind"] == "file"
        if same_kind and attributes and not attributes["mode"] and _owned(old) != _owned(new):
            self.problems.append(f"mode or owner of {path} changed, but was not predicted: {old} -> {new}")
        if new is None:
            self._moved(effect, path)
            self.left -= set(self._below(path))

    def _moved(self, effect: Effect, path: str) -> None:
        """A directory that was moved into the trash is there as it was, without what was taken out of it before."""
        match = _MOVED.fullmatch(effect.after)
        if not match:
            return
        inner = tuple(f"{other}/" for other in self.removed if other.startswith(f"{path}/"))
        wanted = {
            name[len(path) :]: found
            for name, found in self.before.items()
            if (name == path or name.startswith(f"{path}/")) and not f"{name}/".startswith(inner)
        }
        base = match["trash"]
        new = {name[len(base) + 1 :].partition("/")[0] for name in self.left if name.startswith(f"{base}/")}
        apart: dict[str, object] = {}
        for entry in sorted(new):
            top = f"{base}/{entry}"
            there = {
                name[len(top) :]: found
                for name, found in self.after.items()
                if name == top or name.startswith(f"{top}/")
            }
            if there == wanted:
                self.left -= {f"{top}{name}" for name in there}
                return
            names = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
            apart[entry] = {name: (wanted.get(name), there.get(name)) for name in names}
        self.problems.append(f"{path} is not in {base} as it was: {apart}")

    def _account(self, effect: Effect, name: str) -> None:
        key = f"account {name}"
        for side, text, found in (
            ("before", effect.before, self.before.get(key)),
            ("after", effect.after, self.after.get(key)),
        ):
            seen = None if found is None else {word: found[word] for word in ACCOUNT_FIELDS}
            if seen != _account_fields(text):
                self.problems.append(f"account {name} {side} is {seen}, predicted was {text!r}")
        members = [thing for thing in self.changed if re.fullmatch(rf"(guarded )?member {name} of .*", thing)]
        self._take(effect, [key, f"group {name}", *members, *self._processes(name)])
        group = self.after.get(f"group {name}")
        if (group is None) != (self.after.get(key) is None):
            self.problems.append(f"account {name} and its group did not come and go together")

    def _processes(self, name: str) -> list[str]:
        uid = self.before.get(f"account {name}", {}).get("uid", "")
        return [thing for thing in self.changed if re.fullmatch(rf"process .* of {uid}", thing)]

    def _service(self, effect: Effect, name: str) -> None:
        pattern = re.compile(_unit_pattern(name), re.ASCII)
        units = [thing for thing in self.before.keys() | self.after.keys() if pattern.fullmatch(thing)]
        wants = [thing for thing in self.changed if _is_want_of(thing, pattern)]
        sockets = [thing for thing in self.changed if re.fullmatch(rf"/var/lib/wcp360/php/{name[4:]}/\w+\.sock", thing)]
        self._take(effect, [*units, *wants, *sockets, f"loaded {name}", STAMPS.get(name, "")])
        for side, text, things in (("before", effect.before, self.before), ("after", effect.after, self.after)):
            if problem := _service_differs(text, [things[unit] for unit in units if unit in things], things, name):
                self.problems.append(f"service {name} {side} {problem}, predicted was {text!r}")

    def _explain_unnamed(self) -> None:
        for item in self.items:
            pattern = SILENT_TASKS.get(str(item["task"]).partition(" : ")[2])
            if item["changed"] and pattern:
                self.left = {name for name in self.left if not re.fullmatch(pattern, name)}

    def _explain_parts(self, found: list[Effect]) -> None:
        """A file brings the directories of its tree along, and what it says counts for what Nginx reads."""
        paths = [_path(effect.name) for effect in found if effect.name.startswith("/")]
        trees = {path.partition("/current/")[0] for path in paths if "/current/" in path}
        if any(path.startswith("/etc/nginx/") for path in paths):
            self.left.discard("nginx -T")
            if self.after.get("loaded nginx") == {"generation": "does not answer"}:  # what answered was in these files
                self.left.discard("loaded nginx")
        for name in list(self.left):
            kinds = {side.get("kind") for side in (self.before.get(name), self.after.get(name)) if side}
            one_side = name not in self.before or name not in self.after
            tree = next((tree for tree in trees if name == tree or name.startswith(f"{tree}/")), None)
            if tree and one_side and (kinds == {"directory"} or name == f"{tree}/.config_tree"):
                self.left.discard(name)

    def _stale(self) -> list[str]:
        """What runs has to have loaded what is written, unless somebody made it so who was not asked to heal it."""
        return [
            f"{name} has not loaded what is written: {found}"
            for name, found in self.after.items()
            if "written" in found and found["generation"] != found["written"] and found != self.before.get(name)
        ]


def _path(name: str) -> str:
    match = _ATTRIBUTES.fullmatch(name)
    return match["path"] if match else name


def _owned(found: dict[str, str]) -> tuple[str, str]:
    return found["mode"], found["owner"]


def _is(text: str, found: dict[str, str] | None) -> bool:
    """Tell whether what was observed is what a side of a difference says."""
    if text == "" or _MOVED.fullmatch(text):
        return found is None or found.get("content") == hashlib.sha256(b"").hexdigest()
    if entry := _ENTRY.fullmatch(text):
        return found is not None and (found["kind"], *_owned(found)) == (entry["kind"], entry["mode"], entry["owner"])
    if link := _LINK.fullmatch(text):
        return found is not None and found.get("target") == link["target"]
    if text.startswith("{") and '"path"' in text:
        return _is_state(json.loads(text), found)
    if text == "half deleted by an interrupted run\n":
        return found is None
    return found is not None and found.get("content") == hashlib.sha256(text.encode()).hexdigest()


def _is_state(said: dict[str, Any], found: dict[str, str] | None) -> bool:
    """Tell whether a thing is what ansible-core's module file says of it."""
    if said.get("state") == "absent" or found is None:
        return (said.get("state", "absent") == "absent") == (found is None)
    kind = said.get("state", found["kind"])
    return kind in (found["kind"], "hard", "touch") and said.get("mode", found["mode"]) == found["mode"]


def _account_fields(text: str) -> dict[str, str] | None:
    if not text:
        return None
    said = dict((line.partition(" ")[0], line.partition(" ")[2]) for line in text.splitlines())
    return {**said, "expires": said["expires"].removesuffix(" (suspended)")}


def _unit_pattern(name: str) -> str:
    php = re.fullmatch(r"php-([a-z0-9]+)", name, re.ASCII)
    if php:
        return rf"unit wcp360-php@{php[1]}\.(service|socket)"
    name = UNITS.get(name, name)
    bare = re.escape(name.removeprefix("wcp360-").removesuffix(".timer"))
    return rf"unit (wcp360-)?{bare}\.(service|socket|timer)"


def _is_want_of(thing: str, pattern: re.Pattern[str]) -> bool:
    """Tell whether a file is that by which a unit is started after a boot, or the directory of systemd's such links."""
    directory, _, unit = thing.rpartition("/")
    if directory.startswith("/var/lib/wcp360/php/") and unit == "boot":
        return bool(pattern.fullmatch(f"unit wcp360-php@{directory.rpartition('/')[2]}.socket"))
    if re.fullmatch(r"/etc/systemd/system/[a-z.-]+\.wants", thing):
        return True
    return bool(re.fullmatch(r"/etc/systemd/system/[a-z.-]+\.wants", directory) and pattern.fullmatch(f"unit {unit}"))


def _service_differs(text: str, units: list[dict[str, str]], things: Things, name: str) -> str:
    """Return in what a service is not what a side of a difference says; empty where it is."""
    said = _SERVICE.fullmatch(text)
    up = any(unit["active"] == "up" for unit in units)
    # systemd forgets a socket that was stopped; it starts at boot all the same.
    boot_file = f"/var/lib/wcp360/php/{name.removeprefix('php-')}/boot"
    enabled = any(unit["enabled"] == "enabled" for unit in units) or (name.startswith("php-") and boot_file in things)
    if said is None:
        return "" if not up and not enabled else "is there"
    if up != (said["state"] in ("running", "starts on demand")):
        return "is up" if up else "is not up"
    if enabled != (said["enabled"] == "enabled"):
        return "is enabled" if enabled else "is not enabled"
    loaded = things.get(f"loaded {name}", {}).get("generation", "")
    # Without a site of anybody's Nginx listens nowhere.
    expected = {said["generation"]} if said["generation"] else {"none", "does not answer"}
    return f"has generation {loaded}" if name == "nginx" and up and loaded not in expected else ""
