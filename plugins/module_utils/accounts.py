"""Unix accounts of tenants: what they are, what they have to be, and the steps between.

Ours are the members of one marker group. A user that is not in it was made by somebody else and is left alone.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils import leftovers
from ansible_collections.wcp360.hosting.plugins.module_utils.faults import point
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError, Step
from ansible_collections.wcp360.hosting.plugins.module_utils.processes import end_processes, user_processes
from ansible_collections.wcp360.hosting.plugins.module_utils.ssh_keys import KeyFormatError, check_public_key

SHELLS_FILE = "/etc/shells"
SHADOW_FILE = "/etc/shadow"
#: Shells that let nobody in: such accounts get SFTP alone.
SFTP_SHELLS = ("nologin", "false")
#: First id that login.defs(5) gives to people; everything below belongs to the system.
LOWEST_ID = 1000
#: systemd's dynamic users and containers (see systemd's UIDS-GIDS), nobody, and the reserved 16 and 32 bit -1.
RESERVED_IDS = (range(61184, 65536), range(524288, 1879048192), range(4294967294, 4294967296))
#: shadow(5) counts days; day 1 is 1970-01-02. Day 0 is avoided: some tools take it for "never".
SUSPENDED_DAY = "1"
_NAME = re.compile(r"[a-z][a-z0-9]{2,15}", re.ASCII)


@dataclass(frozen=True)
class Account:
    """What of an account is converged."""

    uid: int
    gid: int
    comment: str
    home: str
    shell: str
    groups: tuple[str, ...]
    password: str
    expires: str

    def text(self) -> str:
        """Return one line for each field, for a diff."""
        fields = {"uid": self.uid, "gid": self.gid, "comment": self.comment, "home": self.home, "shell": self.shell}
        fields |= {"groups": ",".join(self.groups), "password": self.password, "expires": self.expires}
        return "".join(f"{name} {value}".rstrip() + "\n" for name, value in fields.items())


@dataclass(frozen=True)
class Groups:
    """The marker group of all our accounts and the group of those that get SFTP alone."""

    marker: str
    sftp: str

    def members(self, name: str) -> tuple[str, ...]:
        """Return which of the two groups the user ``name`` is in."""
        return tuple(sorted(group for group in (self.marker, self.sftp) if name in _members(group)))

    def wanted(self, shell: str) -> tuple[str, ...]:
        """Return in which of the two groups an account with ``shell`` has to be."""
        sftp_only = os.path.basename(shell) in SFTP_SHELLS
        return tuple(sorted((self.marker, self.sftp) if sftp_only else (self.marker,)))


class Accounts:
    """Plans items; remembers which ids earlier items of the same call take."""

    def __init__(self, groups: Groups, home_base: str, check: bool) -> None:
        self.groups = groups
        self.home_base = home_base
        self.check = check
        self.ids: dict[str, dict[str, int | None]] = {}
        self._uids: dict[int, str] = {}
        self._gids: dict[int, str] = {}

    def plan(self, item: dict[str, Any]) -> list[Step]:
        """Return the steps for one item. Raises ItemError when it cannot be converged."""
        name: str = item["name"]
        self.ids[name] = {"uid": item["uid"], "gid": item["gid"]}
        _check_item(item)
        if os.path.dirname(item["home"]) != self.home_base and self.home_base:
            raise ItemError(f"The home {item['home']} of {name} does not lie in {self.home_base}.")
        if item["state"] != "absent" and not self.check and not _group(self.groups.marker):
            raise ItemError(f"The group {self.groups.marker} is missing. Converge the server level of the role first.")
        user = _user(name)
        self._check_ours(item, user)
        if user:
            self.ids[name] = {"uid": user.pw_uid, "gid": user.pw_gid}
        if item["state"] == "absent":
            return self._plan_absent(item, user)
        return self._plan_present(item, user)

    def _check_ours(self, item: dict[str, Any], user: pwd.struct_passwd | None) -> None:
        name, uid = item["name"], item["uid"]
        if user and name not in _members(self.groups.marker):
            raise ItemError(
                f"The user {name} (uid {user.pw_uid}) exists and is not in the group {self.groups.marker}, so somebody "
                "else made it: nothing was changed. Choose another name."
            )
        if user and uid not in (None, user.pw_uid):
            raise ItemError(f"The user {name} has the uid {user.pw_uid}, not {uid}: accounts are never renumbered.")
        if not user and item["state"] != "absent":
            self._check_ids_free(name, uid, item["gid"])

    def _check_ids_free(self, name: str, uid: int | None, gid: int | None) -> None:
        if holder := self._holder(uid):
            raise ItemError(f"The uid {uid} for {name} belongs to the user {holder} already: nothing was changed.")
        group = _group(name)
        wanted = uid if gid is None else gid
        if group and (group.gr_gid != wanted or group.gr_mem):
            raise ItemError(f"The group {name} (gid {group.gr_gid}) exists and is not ours: nothing was changed.")
        owner = not group and wanted is not None and (_group_of(wanted) or self._gids.get(wanted))
        if owner:
            raise ItemError(f"The gid {wanted} for {name} belongs to the group {owner} already: nothing was changed.")

    def _plan_present(self, item: dict[str, Any], user: pwd.struct_passwd | None) -> list[Step]:
        name = item["name"]
        found = _found(user, self.groups) if user else None
        wanted = self._wanted(item, found)
        self.ids[name] = {"uid": wanted.uid, "gid": wanted.gid}
        if found and found.gid != wanted.gid:
            raise ItemError(
                f"The user {name} has the gid {found.gid}, not {wanted.gid}: accounts are never renumbered."
            )
        suspended = item["state"] == "suspended"
        if found != wanted:
            change = _changer(name, found, wanted) if found else _maker(name, wanted)
            apply = _suspender(name, wanted.uid, change) if suspended else change
            return [Step(f"account {name}", found.text() if found else "", wanted.text(), apply)]
        if suspended and user_processes(wanted.uid, spare=name):
            return [Step(f"processes of {name}", "running\n", "", lambda: _end(name, wanted.uid, spare=name))]
        return []

    def _wanted(self, item: dict[str, Any], found: Account | None) -> Account:
        uid = item["uid"] if item["uid"] is not None else found.uid if found else self._free_id()
        gid = item["gid"] if item["gid"] is not None else found.gid if found else uid
        self._uids[uid] = self._gids[gid] = item["name"]
        suspended = item["state"] == "suspended"
        password = "set" if found and _password(item["name"]) and not suspended else "locked"
        if found and found.expires != _day_text(SUSPENDED_DAY) and not suspended:
            password = found.password  # locked or not by somebody else, which suspending has not undone
        expires = _day_text(SUSPENDED_DAY if suspended else "")
        groups = self.groups.wanted(item["shell"])
        return Account(uid, gid, item["comment"], item["home"], item["shell"], groups, password, expires)

    def _free_id(self) -> int:
        used = {user.pw_uid for user in pwd.getpwall()} | {group.gr_gid for group in grp.getgrall()}
        used |= {*self._uids, *self._gids}
        people = [number for number in used if number >= LOWEST_ID and not _is_reserved(number)]
        number = max(people, default=LOWEST_ID - 1) + 1
        while number in used or _is_reserved(number):
            number += 1
        return number

    def _plan_absent(self, item: dict[str, Any], user: pwd.struct_passwd | None) -> list[Step]:
        name = item["name"]
        if not user:
            # All that an earlier run may not have come to: it was killed, or could not remove something.
            is_others = self._holder(item["uid"]) != ""
            return _plan_group(item) + _plan_leftovers(name, item["uid"], is_others)
        found = _found(user, self.groups).text()
        # Its processes are no difference of their own: which of them role php_fpm stops first, no preview knows.
        steps = [Step(f"account {name}", found, "", lambda: _delete(name, user.pw_uid))]
        return steps + _plan_leftovers(name, user.pw_uid)

    def _holder(self, uid: int | None) -> str:
        """Return who has ``uid``, on the node or by an earlier item; empty for nobody."""
        return "" if uid is None else _user_of(uid) or self._uids.get(uid, "")


def _plan_group(item: dict[str, Any]) -> list[Step]:
    """Return the step that takes away the account's group, where nothing but that is left of the two."""
    name = item["name"]
    gid = item["uid"] if item["gid"] is None else item["gid"]
    group = _group(name)
    if not group or group.gr_gid != gid or group.gr_mem:
        return []
    return [Step(f"group {name}", f"gid {gid}\n", "", lambda: _run(["groupdel", name]))]


def _plan_leftovers(name: str, uid: int | None, is_others: bool = False) -> list[Step]:
    left = leftovers.find(name, uid, is_others=is_others)
    text = "".join(leftovers.shown(path) + "\n" for path in left)
    return [Step(f"files left by {name}", text, "", lambda: leftovers.remove(left, uid))] if left else []


def _check_item(item: dict[str, Any]) -> None:
    name = item["name"]
    if not _NAME.fullmatch(name):
        raise ItemError(f"'{name}' is no name for an account: 3 to 16 of a-z and 0-9, a letter first.")
    for field in ("uid", "gid"):
        number = item[field]
        if number is not None and (number < LOWEST_ID or _is_reserved(number)):
            raise ItemError(
                f"The {field} {number} for {name} is reserved for the system. Take one from {LOWEST_ID} on."
            )
    for field in ("comment", "home", "shell"):
        if not item[field].isprintable() or ":" in item[field]:
            raise ItemError(f"The {field} of {name} has a colon or a character that cannot be printed.")
    if not item["home"].startswith("/") or os.path.normpath(item["home"]) != item["home"] or item["home"] == "/":
        raise ItemError(f"The home '{item['home']}' of {name} is no plain absolute path.")
    if item["state"] != "absent":
        _check_access(name, item)


def _check_access(name: str, item: dict[str, Any]) -> None:
    shell = item["shell"]
    if not os.access(shell, os.X_OK) or not os.path.isfile(shell):
        raise ItemError(f"The shell '{shell}' of {name} does not exist on this node. Install it or choose another.")
    if os.path.basename(shell) not in SFTP_SHELLS and shell not in _read_lines(SHELLS_FILE):
        raise ItemError(f"The shell '{shell}' of {name} is not listed in {SHELLS_FILE}.")
    for number, line in enumerate(item["authorized_keys"], start=1):
        try:
            check_public_key(line)
        except KeyFormatError as error:
            raise ItemError(f"Authorized key {number} of {name}: {error}") from error


def _is_reserved(number: int) -> bool:
    return any(number in numbers for numbers in RESERVED_IDS)


def _found(user: pwd.struct_passwd, groups: Groups) -> Account:
    fields = _shadow(user.pw_name)
    password = "locked" if fields[1].startswith(("!", "*")) else "set"
    expires = _day_text(fields[7])
    memberships = groups.members(user.pw_name)
    return Account(
        user.pw_uid, user.pw_gid, user.pw_gecos, user.pw_dir, user.pw_shell, memberships, password, expires
    )  # fmt: skip


def _day_text(day: str) -> str:
    return f"day {day} (suspended)" if day == SUSPENDED_DAY else f"day {day}" if day else "never"


def _password(name: str) -> str:
    """Return the crypt(5) hash of the user without marks of locking; empty when there is none."""
    return _shadow(name)[1].lstrip("!*")


def _shadow(name: str) -> list[str]:
    for line in _read_lines(SHADOW_FILE):
        fields = line.split(":")
        if fields[0] == name and len(fields) == 9:
            return fields
    raise ItemError(f"The user {name} has no line in {SHADOW_FILE}. Repair it with 'pwconv', then retry.")


def _maker(name: str, wanted: Account) -> Callable[[], None]:
    def make() -> None:
        point("accounts.before_user")
        own_group = wanted.gid == wanted.uid and not _group(name)
        if not own_group and not _group(name):
            _run(["groupadd", "--gid", str(wanted.gid), name])
        group = ["--user-group"] if own_group else ["--gid", str(wanted.gid)]
        argv = ["useradd", "--no-create-home", "--no-log-init", "--uid", str(wanted.uid), *group]
        argv += ["--groups", ",".join(wanted.groups), "--home-dir", wanted.home, "--shell", wanted.shell]
        expire = [] if wanted.expires == _day_text("") else ["--expiredate", SUSPENDED_DAY]
        # With ranges of subordinate ids a tenant could make user namespaces of its own.
        no_ranges = ["--key", "SUB_UID_COUNT=0", "--key", "SUB_GID_COUNT=0"]
        _run([*argv, *expire, *no_ranges, "--comment", wanted.comment, "--", name])

    return make


def _changer(name: str, found: Account, wanted: Account) -> Callable[[], None]:
    def change() -> None:
        options: list[str] = []
        for option, before, after in (
            ("--comment", found.comment, wanted.comment),
            ("--home", found.home, wanted.home),
            ("--shell", found.shell, wanted.shell),
        ):
            options += [option, after] if before != after else []
        if found.expires != wanted.expires:
            options += ["--expiredate", SUSPENDED_DAY if wanted.expires == _day_text(SUSPENDED_DAY) else ""]
        if found.password != wanted.password:
            options += ["--lock" if wanted.password == "locked" else "--unlock"]  # noqa: S105 - a state, no password
        for group in sorted({*wanted.groups} - {*found.groups}):
            _run(["gpasswd", "--add", name, group])
        if options:
            _run(["usermod", *options, name])
        for group in sorted({*found.groups} - {*wanted.groups}):
            _run(["gpasswd", "--delete", name, group])

    return change


def _suspender(name: str, uid: int, change: Callable[[], None]) -> Callable[[], None]:
    def suspend() -> None:
        change()  # first, so that nobody logs in again behind the end of the processes
        _end(name, uid, spare=name)

    return suspend


def _end(name: str, uid: int, spare: str = "") -> None:
    if left := end_processes(uid, spare):
        raise ItemError(f"Processes of {name} could not be ended: {', '.join(map(str, left))}. Look at them, retry.")


def _delete(name: str, uid: int) -> None:
    # Closed first: a login or a cron job in between would keep userdel from its work.
    _run(["usermod", "--lock", "--expiredate", SUSPENDED_DAY, name])
    _end(name, uid)
    _run(["userdel", name])
    if _group(name):
        _run(["groupdel", name])
    point("accounts.after_user")


def _run(argv: list[str]) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ItemError(f"{argv[0]} ended with code {done.returncode}: {(done.stderr or done.stdout).strip()}")


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _user_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


def _group_of(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


def _members(name: str) -> list[str]:
    group = _group(name)
    return group.gr_mem if group else []


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []
