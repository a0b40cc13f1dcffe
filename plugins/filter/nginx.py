# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Turn the list of sites into what the role's modules take, with every value checked before anything is written."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.values import truth, whole

STATES = ("present", "suspended", "absent")
# RFC 1035 2.3.4: 63 octets per label, 253 for what is written without the root's dot.
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
NAME = re.compile(rf"{LABEL}(?:\.{LABEL})+", re.ASCII)
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}", re.ASCII)
# RFC 3986 without what nginx takes apart inside of quotes: $ " \ and control characters; ' { } are no URL characters.
URL = re.compile(
    r"https?://(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?#](?:[A-Za-z0-9._~:/?#\[\]@!&()*+,;=-]|%[0-9A-Fa-f]{2})*)?",
    re.ASCII,
)
# A file name has 255 bytes at most (NAME_MAX), a domain name of 253 and ".conf" has more.
LONGEST_FILE_STEM = 250
# config_tree puts digests in place of @@WCP360_ITEM@@ and its like wherever they stand in a file. Other @@ are fine.
MARKER = "@@WCP360_"
# The id under which the server level and the files that all sites share are reported.
SERVER = "server:nginx"


class BadValue(Exception):
    """A site holds a value that must not reach a configuration; the message names it."""


def nginx_sites(sites: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the sites with defaults filled in; ``refuse`` holds a sentence where a value is not acceptable."""
    return [_site(site) for site in sites]


def _site(given: Mapping[str, Any]) -> dict[str, Any]:
    name = str(given.get("name", ""))
    tenant = str(given.get("tenant", ""))
    site = {
        "id": str(given.get("id") or name),
        "name": name,
        "state": given.get("state") or "present",
        "tenant": tenant,
        "uid": given.get("uid"),
        "gid": given.get("gid"),
        "home": given.get("home") or f"/home/{tenant}",
        "aliases": given.get("aliases") or [],
        "redirect": given.get("redirect") or "",
        "document_root": given.get("document_root") or "public",
        "php": given.get("php"),
        "purge": given.get("purge"),
        "refuse": "",
    }
    try:
        _check(site)
        site["names"] = list(dict.fromkeys([name, *site["aliases"]]))
        site["file"] = f"sites/{_stem(name)}.conf"
        site["web"] = f"{site['home']}/web/{name}"
    except BadValue as problem:
        site["refuse"] = str(problem)
    return site


def _check(site: dict[str, Any]) -> None:
    _name("name", site["name"])
    if site["state"] not in STATES:
        raise BadValue(f"The state {site['state']!r} of a site is none of {', '.join(STATES)}.")
    if not isinstance(site["aliases"], list):
        raise BadValue(f"The aliases {site['aliases']!r} are not a list.")
    for alias in site["aliases"]:
        _name("alias", alias)
    if not USER.fullmatch(site["tenant"]):
        raise BadValue(f"The tenant {site['tenant']!r} is not the name of a Unix user.")
    for key in ("uid", "gid"):
        site[key] = _owner(key, site[key])
    for key in ("php", "purge"):
        site[key] = _yes(key, site[key])
    _absolute(site["home"])
    _document_root(site["document_root"])
    _redirect(site["redirect"])


def _owner(key: str, value: object) -> int:
    number = whole(value)
    if number is None or not 0 < number < 2**31:
        raise BadValue(
            f"The {key} {value!r} of a site's user is not a number from 1 on (root's files are never served)."
        )
    return number


def _yes(key: str, value: object) -> bool:
    try:
        return truth(value, key)
    except ValueError as error:
        raise BadValue(str(error)) from error


def _name(what: str, value: object) -> None:
    numeric = isinstance(value, str) and value.rpartition(".")[2].isdigit()
    if not isinstance(value, str) or len(value) > 253 or numeric or not NAME.fullmatch(value):
        raise BadValue(
            f"The {what} {value!r} is not a domain name: lower-case ASCII labels joined by dots, 253 octets at most."
        )


def _absolute(path: object) -> None:
    if not isinstance(path, str) or not path.startswith("/") or not all(map(PATH_PART.fullmatch, path[1:].split("/"))):
        raise BadValue(f"The home {path!r} is not an absolute path of plain names.")


def _document_root(path: object) -> None:
    if not isinstance(path, str) or len(path) > 1024 or not all(map(PATH_PART.fullmatch, path.split("/"))):
        raise BadValue(
            f"The document root {path!r} is not a relative path of plain names (no spaces, no leading dots)."
        )


def _redirect(url: object) -> None:
    if url == "":
        return
    if MARKER in str(url):
        raise BadValue(f"The redirect {url!r} holds {MARKER}, which marks places for WCP360's own digests: change it.")
    found = URL.fullmatch(url) if isinstance(url, str) and len(url) <= 2048 else None
    if not found or int(found["port"] or 1) not in range(1, 65536) or not _is_host(found["host"]):
        raise BadValue(
            f"The redirect {url!r} is not an absolute http or https URL without $, quotes, spaces and backslashes."
        )


def _is_host(host: str) -> bool:
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return False
        return True
    return len(host) <= 253 and re.fullmatch(rf"{LABEL}(?:\.{LABEL})*", host.lower(), re.ASCII) is not None


def _stem(name: str) -> str:
    if len(name) <= LONGEST_FILE_STEM:
        return name
    return _short(name)


def _short(name: str) -> str:
    return f"{name[:130]}_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def nginx_failures(results: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the message of each failed item by id, of the results of one or several Ansible modules."""
    failures: dict[str, str] = {}
    for result in results:
        for item in result.get("items") or []:
            if item["failed"]:
                failures.setdefault(item["id"], item["msg"])
    return failures


def nginx_steps(sites: Iterable[Mapping[str, Any]], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps that bring sites about, for the Ansible module steps.

    Directories come before the configuration that names them; files of removed sites go after Nginx has let go of them.
    """
    checked = nginx_sites(sites)
    logs, web_gid = options["log_directory"], int(options["web_gid"])
    written = {
        "path": options["tree"],
        "items": _config_items(checked, options["ipv6"]),
        "shared": options["shared"],
        "shared_id": SERVER,
        "shared_claims": ["default_server"],
        "entries": options["entries"],
        # Tenants may not list each other's domains. Workers have to reach the page of a suspended site.
        "directory_mode": "0711",
        "scan": options["scan"],
        "checker": options["checker"],
    }
    running = {"items": [{**options["instance"], "state": "started"}]}
    probed = {"items": _probes(checked) if options["probe"] else [], "port": int(options["port"])}
    removed = {"items": _removals(checked, logs)}
    made = {"items": _directories(checked, logs, web_gid)}
    tree = {"after": ["nginx.made", "nginx.written"], "generations": "nginx.written"}
    return [
        _step("made", "Make the sites' directories", "owned_tree", made),
        _step("written", "Write the sites' configuration", "config_tree", written, after=["nginx.made"]),
        _step("running", "Have Nginx serve what is written", "instances", running, generations="nginx.written"),
        # Also when Nginx did not take the configuration: then each site says that it is not served as asked for.
        _step("probed", "Ask for each site", "http_probe", probed, **tree),
        _step(
            "removed",
            "Remove the files of sites that are gone",
            "owned_tree",
            removed,
            after=["nginx.written", "nginx.probed"],
            needs=["nginx.running"],
        ),
    ]


def _step(key: str, name: str, use: str, args: dict[str, Any], **links: Any) -> dict[str, Any]:
    return {"key": f"nginx.{key}", "name": name, "role": "nginx", "use": use, "args": args, **links}


def _directories(sites: Iterable[Mapping[str, Any]], log_directory: str, web_gid: int) -> list[dict[str, Any]]:
    """Return the directories and first pages of the sites that are to be there, for owned_tree."""
    items = []
    for site in sites:
        if not site["refuse"] and site["state"] != "absent":
            items.append(_log_directory(site, log_directory))
            items.append(_web_directories(site, web_gid))
    return items


def _log_directory(site: Mapping[str, Any], log_directory: str) -> dict[str, Any]:
    directory = {"path": site["name"], "mode": "2750", "uid": 0, "gid": site["gid"]}
    return {**_ownership(site), "base": log_directory, "directories": [directory], "seeds": []}


def _ownership(site: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": site["id"], "state": "present", "owner_uid": site["uid"], "owner_gid": site["gid"]}


def _web_directories(site: Mapping[str, Any], web_gid: int) -> dict[str, Any]:
    owner = {"mode": "0750", "uid": site["uid"], "gid": web_gid}
    path = _below_base(site)
    directories = [{"path": path, **owner}]
    for part in site["document_root"].split("/"):
        path = f"{path}/{part}"
        directories.append({"path": path, **owner})
    seed = {
        "path": f"{path}/index.{'php' if site['php'] else 'html'}",
        "content": _first_page(site["name"], site["php"]),
        "mode": "0640",
        "uid": site["uid"],
        "gid": web_gid,
        "only_with": path,
    }
    base = os.path.dirname(site["home"])
    return {**_ownership(site), "base": base, "directories": directories, "seeds": [seed]}


def _below_base(site: Mapping[str, Any]) -> str:
    return f"{os.path.basename(site['home'])}/web/{site['name']}"


def _first_page(name: str, php: bool) -> str:
    said = "<p>PHP <?= PHP_VERSION ?> answers.</p>\n" if php else "<p>Put your files here.</p>\n"
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{name}</title>\n<h1>{name}</h1>\n{said}</html>\n"
    )


def _config_items(sites: Iterable[Mapping[str, Any]], ipv6: bool) -> list[dict[str, Any]]:
    """Return the sites for config_tree."""
    items = []
    for site in sites:
        item: dict[str, Any] = {"id": site["id"], "refuse": site["refuse"], "state": "present"}
        if site["state"] == "absent":
            item["state"] = "absent"
        elif not site["refuse"]:
            # Nginx's master reads it as root; it names the site's aliases and whose it is.
            file = {
                "path": site["file"],
                "template": "site.conf.j2",
                # A variable of the play would be worked out anew for each site, from a request that has all of them.
                "variables": {"site": {**site, "ipv6": ipv6}},
                "mode": "0640",
            }
            item |= {"claims": site["names"], "files": [file]}
        items.append(item)
    return items


def nginx_removals(sites: Iterable[Mapping[str, Any]], log_directory: str) -> list[dict[str, Any]]:
    """Return the directories of the sites that are gone, for owned_tree."""
    return _removals(nginx_sites(sites), log_directory)


def _removals(sites: Iterable[Mapping[str, Any]], log_directory: str) -> list[dict[str, Any]]:
    items = []
    for site in sites:
        if site["state"] != "absent" or site["refuse"]:
            continue
        base = os.path.dirname(site["home"])
        common = {**_ownership(site), "state": "absent"}
        web = {"base": base, "path": _below_base(site), "trash": f"{base}/.wcp360-trash", "purge": site["purge"]}
        logs = {"base": log_directory, "path": site["name"], "trash": f"{log_directory}/.trash", "purge": True}
        items += [{**common, "trash_name": _trash_name(site), **where} for where in (web, logs)]
    return items


def _trash_name(site: Mapping[str, Any]) -> str:
    # The name, the owner and a time stamp of 16 characters have to fit into the 255 bytes of a file name.
    name = site["name"] if len(site["name"]) <= 150 else _short(site["name"])
    return f"{site['tenant']}-{site['uid']}-{name}"


def _probes(sites: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what http_probe must see of each site: its own virtual host with its digest, or nothing of it."""
    return [
        {
            "id": site["id"],
            "host": site["name"],
            "expect_site": "" if site["state"] == "absent" else f"{site['name']}:{{generation}}",
        }
        for site in sites
        if not site["refuse"]
    ]


class FilterModule:
    """The filters of the nginx role."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        found = (nginx_steps, nginx_failures, nginx_removals)
        return {function.__name__: function for function in found}
