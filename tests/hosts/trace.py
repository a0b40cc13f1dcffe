#!/usr/bin/env python3
"""Does a removal leave a trace?

`trace.py snapshot` prints the state of this machine as JSON, `trace.py compare BEFORE AFTER` compares two such files.
Runs on the node with the standard library alone.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
import sys
from pathlib import Path

# /usr is compared by name, mode, owner and size: its contents are the packages' own and large.
HASHED = ["/etc", "/home", "/var/lib", "/var/log", "/var/www", "/var/spool", "/run/wcp360", "/srv", "/opt"]
LISTED = ["/usr"]
NOISE = {
    r"/var/lib/(dpkg|apt)(/.*)?": "the package manager's own books",
    r"/var/log/(apt(/.*)?|dpkg\.log|alternatives\.log)": "the package manager's own logs",
    r"/var/log/(journal(/.*)?|wtmp(\.db(-journal)?)?|btmp|lastlog|faillog)": "logs of logins and of systemd",
    r"/var/lib/systemd/(timers|random-seed|catalog|deb-systemd-.*|linger)(/.*)?": "systemd's own state",
    r"/var/lib/(sudo|private|ucf|logrotate)(/.*)?": "state of programs that are always there",
    r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-": "the backup that every useradd makes of its last state",
    r"/etc/\.pwd\.lock": "the lock file of useradd",
    r"/etc/(shadow|gshadow)": "ordering aside, compared by way of the accounts",
    r"/etc/(ld\.so\.cache|mailcap|resolv\.conf|hosts|hostname|machine-id)": "caches, and the container engine's files",
    r"/etc/systemd/system/.*\.wants": "a directory of links that is left empty",
    r"(.*/)?__pycache__(/.*)?|.*\.pyc": "byte code caches",
    r"/usr/share/(info/dir|mime/.*|man(/.*)?|doc(/.*)?|locale(/.*)?)": "indexes that packages keep, and documentation",
    r"/usr/share/(icons|applications)(/.*)?": "indexes that packages keep",
    r"/var/www/html(/index\.nginx-debian\.html)?": "left by Debian's own nginx when it is purged",
    r"/var/log/php[0-9.]+-fpm\.log|/etc/alternatives/php-fpm\.sock": "left by Debian's own php-fpm when it is purged",
    r"/usr/lib/(locale/.*|x86_64-linux-gnu/gconv/.*\.cache)": "caches",
}


def _is_noise(path: str) -> bool:
    return any(re.fullmatch(pattern, path, re.ASCII) for pattern in NOISE)


def _name(number: int, lookup: object) -> str:
    try:
        return str(lookup(number)[0])  # type: ignore[operator]
    except KeyError:
        return str(number)


def describe(path: str, *, content: bool) -> str:
    """One line about a file: kind, mode, owner, and content, size or target."""
    info = os.lstat(path)
    owner = f"{_name(info.st_uid, pwd.getpwuid)}:{_name(info.st_gid, grp.getgrgid)}"
    kind, detail = stat.filemode(info.st_mode), ""
    if stat.S_ISLNK(info.st_mode):
        detail = os.readlink(path)
    elif stat.S_ISREG(info.st_mode):
        detail = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if content else str(info.st_size)
    return f"{kind} {owner} {detail}".rstrip()


def tree(top: str, *, content: bool) -> dict[str, str]:
    """Everything below a directory that is not known noise."""
    found: dict[str, str] = {}
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if not _is_noise(os.path.join(directory, name))]
        for name in names + files:
            path = os.path.join(directory, name)
            if not _is_noise(path):
                found[path] = describe(path, content=content)
    return found


def _lines(argv: list[str]) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return [re.sub(r"\s+", " ", line).strip() for line in done.stdout.splitlines()]


def _accounts() -> dict[str, str]:
    found = {f"user {user.pw_name}": ":".join(map(str, user[2:])) for user in pwd.getpwall()}
    found |= {f"group {group.gr_name}": f"{group.gr_gid}:{','.join(sorted(group.gr_mem))}" for group in grp.getgrall()}
    return found


def _processes() -> dict[str, str]:
    """Processes of tenants and of the services that the roles manage."""
    found = {}
    for line in _lines(["ps", "-eo", "uid=,comm="]):
        uid, command = line.split(" ", 1)
        if 20000 <= int(uid) <= 59999 or re.match(r"nginx|php-fpm", command):
            found[f"process {command} of {uid}"] = "runs"
    return found


def snapshot() -> dict[str, str]:
    """Files, accounts, packages, units and processes of this machine."""
    found: dict[str, str] = {}
    for top in HASHED:
        found |= tree(top, content=True)
    for top in LISTED:
        found |= tree(top, content=False)
    found |= _accounts() | _processes()
    found |= {f"package {line}": "" for line in _lines(["dpkg-query", "-W", "-f", "${Package} ${Version} ${Status}\n"])}
    found |= {f"unit file {line}": "" for line in _lines(["systemctl", "list-unit-files", "--no-legend", "--plain"])}
    for line in _lines(["systemctl", "list-units", "--no-legend", "--plain", "--type=service,timer,slice,path"]):
        # A service that ends by itself comes and goes.
        if " running " in line or ".slice" in line or ".timer" in line:
            found[f"unit {line.split(' ')[0]}"] = "active"
    return found


def compare(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """One line per thing that is new, gone or other than before."""
    lines = [f"left behind: {key}: {after[key]}" for key in sorted(after) if key not in before]
    lines += [f"gone: {key}: {before[key]}" for key in sorted(before) if key not in after]
    lines += [
        f"changed: {key}: {before[key]} -> {after[key]}"
        for key in sorted(before)
        if key in after and before[key] != after[key]
    ]
    return lines


def main(arguments: list[str]) -> int:
    """Print a snapshot, or compare two; 0 = no trace."""
    if arguments == ["snapshot"]:
        print(json.dumps(snapshot(), sort_keys=True))
        return 0
    before, after = (json.loads(Path(path).read_text(encoding="utf-8")) for path in arguments[1:3])
    found = compare(before, after)
    print("\n".join(found) or f"no trace: {len(after)} things are as they were")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
