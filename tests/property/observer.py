#!/usr/bin/env python3
"""What is on this machine, seen without any of WCP360's code: printed as JSON, one description for each thing.

Runs on the node with the standard library alone, in one call. Things are files (by path), accounts, groups and their
members, services with what they have loaded, and processes of tenants.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import stat
import subprocess
import sys

ROOTS = [
    "/home",
    "/etc/cron.d",
    "/etc/cron.daily",
    "/etc/logrotate.d",
    "/etc/nginx",
    "/etc/ssh",
    "/etc/systemd/system",
    "/etc/wcp360",
    "/usr/local/lib/wcp360",
    "/var/lib/systemd/linger",
    "/var/lib/wcp360",
    "/var/log/wcp360",
    "/var/mail",
    "/var/spool/cron",
    "/var/www",
]
# Everybody writes there: what of it is a tenant's is looked at.
SHARED = ["/tmp", "/var/tmp", "/dev/shm"]
# Their lines are read as accounts, groups and members; the files themselves count by mode and owner.
DATABASES = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid"]
TENANTS = range(20_000, 60_000)
LOGS = "/var/log/wcp360/"
STATUS_HOST = "wcp360.invalid"

Things = dict[str, dict[str, str]]


def describe(path: str) -> dict[str, str]:
    """Return kind, mode, owner, and content, size or target of a file."""
    info = os.lstat(path)
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket"}
    found = {
        "kind": kind.get(stat.S_IFMT(info.st_mode), "other"),
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
        "owner": f"{info.st_uid}:{info.st_gid}",
    }
    if found["kind"] == "link":
        found["target"] = os.readlink(path)
    elif found["kind"] == "file" and not path.startswith(LOGS):
        with open(path, "rb") as stream:
            found["content"] = hashlib.sha256(stream.read()).hexdigest()
    return found


def tree(top: str, shown: str, found: Things) -> None:
    """Add ``top`` and everything below it under the name ``shown``; links are not followed."""
    try:
        found[shown] = describe(top)
        names = os.listdir(top) if found[shown]["kind"] == "directory" else []
    except FileNotFoundError:
        return
    for name in names:
        tree(f"{top}/{name}", f"{shown}/{name}", found)


def files() -> Things:
    """Return the files below all roots.

    Where `current` leads to one of `generations`, that one is shown below `current`, as programs read it.
    """
    found: Things = {}
    for top in ROOTS:
        tree(top, top, found)
    for path in [path for path in found if path.endswith("/current") and found[path]["kind"] == "link"]:
        target = os.path.join(os.path.dirname(path), found[path]["target"])
        for name in os.listdir(target) if os.path.isdir(target) else ():
            tree(f"{target}/{name}", f"{path}/{name}", found)
    for path in DATABASES:
        if os.path.exists(path):
            found[path] = {**describe(path), "content": "read as accounts"}
    for directory in SHARED:
        for entry in os.scandir(directory):
            if entry.stat(follow_symlinks=False).st_uid in TENANTS:
                tree(entry.path, entry.path, found)
    return found


def lines(path: str, fields: int) -> list[list[str]]:
    """Return the lines of one of the user databases; one that is not of its form ends the program."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            rows = [line.rstrip("\n").split(":") for line in stream]
    except FileNotFoundError:
        return []
    bad = [row for row in rows if len(row) != fields]
    if bad:
        raise SystemExit(f"{path} has a broken line: {':'.join(bad[0])}")
    return rows


def accounts() -> Things:
    """Return users, groups and who is a member of what."""
    found: Things = {}
    shadow = {row[0]: row for row in lines("/etc/shadow", 9)}
    groups = lines("/etc/group", 4)
    for name, mark, uid, gid, comment, home, shell in lines("/etc/passwd", 7):
        secret = shadow.get(name, ["", "*none", *[""] * 7])
        found[f"account {name}"] = {
            "uid": uid,
            "gid": gid,
            "comment": comment,
            "home": home,
            "shell": shell,
            "groups": ",".join(sorted(row[0] for row in groups if name in row[3].split(","))),
            "password": "locked" if secret[1].startswith(("!", "*")) else "set",
            "expires": f"day {secret[7]}" if secret[7] else "never",
            "hash": hashlib.sha256(secret[1].lstrip("!*").encode()).hexdigest() + mark,
        }
    guards = {row[0]: row for row in lines("/etc/gshadow", 4)}
    for name, mark, gid, members in groups:
        guard = guards.get(name, ["", "none", "", ""])
        found[f"group {name}"] = {"gid": gid, "password": mark + guard[1], "administrators": guard[2]}
        for kind, listed in (("member", members), ("guarded member", guard[3])):
            for member in filter(None, listed.split(",")):
                found[f"{kind} {member} of {name}"] = {}
    for path in ("/etc/subuid", "/etc/subgid"):
        found.update({f"range {':'.join(row)} in {path}": {} for row in lines(path, 3)})
    return found


def services() -> Things:
    """Return what runs, what is to run after a boot, and what it has loaded."""
    patterns = ["wcp360-*", "nginx.service", "php*-fpm.service", "ssh.service"]
    argv = ["systemctl", "show", "--all", "--property=Id,ActiveState,UnitFileState,LoadState", *patterns]
    found: Things = {}
    for block in subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\n\n"):
        words = dict(line.split("=", 1) for line in block.splitlines())
        if words.get("LoadState") == "loaded":
            active = "up" if words["ActiveState"] in ("active", "reloading") else words["ActiveState"]
            found[f"unit {words['Id']}"] = {"active": active, "enabled": _at_boot(words)}
    found["loaded nginx"] = {"generation": _header()}
    for unit in list(found):
        awake = re.fullmatch(r"unit wcp360-php@([a-z0-9]+)\.service", unit)
        if awake and found[unit]["active"] == "up":
            found[f"loaded php-{awake[1]}"] = {"generation": _ping(awake[1]), "written": _written(awake[1])}
    found["nginx -T"] = _dump()
    return found


def _at_boot(words: dict[str, str]) -> str:
    pool = re.fullmatch(r"wcp360-php@([a-z0-9]+)\.socket", words["Id"])
    if pool is None:
        return words["UnitFileState"]
    return "enabled" if os.path.exists(f"/var/lib/wcp360/php/{pool[1]}/boot") else "disabled"


def _header() -> str:
    """Ask the running Nginx for its generation."""
    try:
        with socket.create_connection(("127.0.0.1", 80), timeout=3) as link:
            link.sendall(f"GET / HTTP/1.1\r\nHost: {STATUS_HOST}\r\nConnection: close\r\n\r\n".encode())
            answer = _all_of(link)
    except OSError:
        return "does not answer"
    header = re.search(rb"(?im)^x-wcp360-generation: *(\S+)", answer)
    return header[1].decode() if header else "none"


def _ping(name: str) -> str:
    """Ask a running PHP-FPM for its ping response, by a FastCGI request written out by hand."""
    pairs = {"SCRIPT_NAME": "/ping", "SCRIPT_FILENAME": "/ping", "REQUEST_METHOD": "GET", "REQUEST_URI": "/ping"}
    encoded = b"".join(bytes([len(key), len(value)]) + (key + value).encode() for key, value in pairs.items())
    begin = b"\1\1\0\1\0\10\0\0" + b"\0\1\0\0\0\0\0\0"
    request = begin + b"\1\4\0\1" + len(encoded).to_bytes(2, "big") + b"\0\0" + encoded
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(3)
            link.connect(f"/var/lib/wcp360/php/{name}/status.sock")
            link.sendall(request + b"\1\4\0\1\0\0\0\0" + b"\1\5\0\1\0\0\0\0")
            answer = _all_of(link)
    except OSError:
        return "does not answer"
    body = re.search(rb"\r\n\r\n([0-9a-f]+)", answer)
    return body[1].decode() if body else "none"


def _written(name: str) -> str:
    """Return the generation that the file of a PHP-FPM has."""
    try:
        with open(f"/etc/wcp360/php/current/{name}.conf", encoding="utf-8") as stream:
            found = re.search(r"(?m)^ping\.response *= *(\S+)", stream.read())
    except FileNotFoundError:
        return "no file"
    return found[1] if found else "none"


def _all_of(link: socket.socket) -> bytes:
    parts = []
    while part := link.recv(65536):
        parts.append(part)
    return b"".join(parts)


def _dump() -> dict[str, str]:
    try:
        done = subprocess.run(["nginx", "-T"], capture_output=True, check=False)
    except FileNotFoundError:
        return {"checked": "not installed"}
    # The names of generations are in what it prints; what is in them counts.
    text = re.sub(rb"(?m)^# configuration file .*$", b"", done.stdout)
    return {"checked": str(done.returncode), "content": hashlib.sha256(text).hexdigest()}


def processes() -> Things:
    """Return the processes of tenants, but PHP masters, which come and go by demand."""
    found: Things = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                name = stream.read().strip()
        except OSError:
            continue
        if uid in TENANTS and not name.startswith("php-fpm"):
            found[f"process {name} of {uid}"] = {}
    return found


def main() -> int:
    """Print everything."""
    print(json.dumps({**files(), **accounts(), **services(), **processes()}, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
