"""``make demo``: the main job on this machine, from the dry run to the page served, and ``--clean`` to take it back."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wcp360.cli import demo_machine
from wcp360.cli.client import Client, Refused, fill
from wcp360.cli.demo_machine import BASE, HTTP_PORT, Record
from wcp360.cli.diffs import find, print_preview
from wcp360.cli.exits import Exit, Failure
from wcp360.cli.follow import Follower, live
from wcp360.cli.invoke import CHANGES, PREVIEWS
from wcp360.cli.progress import open_progress
from wcp360.cli.safe import complain, safe, safe_line, say
from wcp360.cli.tables import colours

TENANT, DOMAIN = "demo", "demo.test"
NODE, MODULE = "local", "webserver"
_WANTED = (
    ("nodes", NODE, {"operation": "node.create", "input": {"name": NODE, "connection": "local"}}),
    ("tenants", TENANT, {"operation": "tenant.create", "input": {"name": TENANT, "display_name": "Demo"}}),
    ("domains", DOMAIN, {"operation": "domain.create", "input": {"name": DOMAIN, "tenant": TENANT}}),
)
_TIMEOUT = 1800
"""Seconds for one change: installing packages over a slow line takes minutes."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the demo or take it back. Returns the exit code."""
    args = sys.argv[1:] if args is None else args
    if args not in ([], ["--clean"]):
        complain("Usage: python -m wcp360.cli.demo [--clean]")
        return int(Exit.USAGE)
    if os.geteuid() != 0:
        return _again_with_sudo(args)
    try:
        clean() if args else demo()
    except Failure as failure:
        complain(failure.message)
        return int(failure.code)
    except KeyboardInterrupt:
        complain("\nInterrupted. `make demo` goes on from here, `make demo-clean` takes it back.")
        return int(Exit.INTERRUPTED)
    return int(Exit.OK)


def _again_with_sudo(args: Sequence[str]) -> int:
    """Become root: users, packages and port 80 need it. Without a terminal nobody could type a password."""
    say("The demo needs root on this machine; going on with sudo.")
    sys.stdout.flush()
    quiet = [] if sys.stdin.isatty() else ["-n"]
    try:
        argv = ["sudo", *quiet, sys.executable, "-m", "wcp360.cli.demo", *args]
        os.execvp("sudo", argv)  # noqa: S606 - an argument list; there is no shell to start
    except OSError:
        complain("sudo is not installed; run this as root.")
    return int(Exit.NOT_ALLOWED)


def demo() -> None:
    """Show the main job, step by step."""
    record = _begin()
    client = Client(record.place)
    missing = _missing(client)
    if missing:
        _apply(client, record, missing)
    else:
        _wait_until_settled(client)
        say(f"Tenant {TENANT} and domain {DOMAIN} are there already; nothing was changed.")
    _fetch()
    _how_to_go_on(record)


def _begin() -> Record:
    record = Record.load()
    if record is None or not record.applied:
        reason = demo_machine.in_the_way(TENANT)
        if reason:
            raise Failure(reason, Exit.CONFLICT)
    if record is None:
        say(f"1. A server of its own: state in {BASE}, listening on the loopback address only.")
        record = demo_machine.prepare()
    _initialise(record)
    record.start()
    say(f"   It runs with pid {record.pid} at {record.place}; its log is {BASE}/serve.log.")
    return record


def _initialise(record: Record) -> None:
    """Set up the state. The node is left out: it is part of what the dry run shows."""
    from wcp360.cli.setup import initialise
    from wcp360.core.config import load_settings

    initialise(load_settings(record.environment()), with_node=False)


def _missing(client: Client) -> list[dict[str, Any]]:
    return [wanted for collection, name, wanted in _WANTED if _show(client, collection, name) is None]


def _wait_until_settled(client: Client) -> None:
    """Wait for what an earlier demo, interrupted, has left to the server."""
    end = time.monotonic() + _TIMEOUT
    while True:
        found = [_show(client, collection, name) or {"status": "removing"} for collection, name, _ in _WANTED]
        bad = [one for one in found if one["status"] in ("failed", "removing")]
        if bad:
            reason = safe(bad[0].get("reason", ""))
            raise Failure(f"An earlier demo has not ended well. {reason} `make demo-clean` takes it back.")
        if all(one["status"] == "applied" for one in found):
            return
        if time.monotonic() > end:
            raise Failure(f"The server is still at work; its log is {BASE}/serve.log.", Exit.NOT_FINISHED)
        time.sleep(0.5)


def _show(client: Client, collection: str, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.call("GET", fill(f"/api/v1/{collection}/{{name}}", name)).body
    except Refused as refused:
        if refused.code == Exit.NOT_FOUND:
            return None
        raise
    return found


def _apply(client: Client, record: Record, missing: list[dict[str, Any]]) -> None:
    say(f"\n2. The dry run: what tenant {TENANT} with domain {DOMAIN} would change on this machine.\n")
    preview = _carry_out(client, "POST", "/api/v1/changes", {"operations": missing}, dry_run=True)
    print_preview(preview, colours())
    if preview["status"] != "succeeded" or any(item["failed"] for item in preview["items"]):
        raise Failure(safe(preview["reason"] or "The dry run shows what stands in the way; nothing was changed."))
    _list_takings(preview)
    _agree(record)
    record.applied = True
    record.save()
    say("\n3. The same for real, task by task.\n")
    _succeed(_carry_out(client, "POST", "/api/v1/changes", {"operations": missing}))


def _list_takings(preview: dict[str, Any]) -> None:
    """Say in short what of this machine will be taken."""
    findings = find(preview["items"])
    packages = sorted(str(diff["name"]).partition(" ")[2] for diff in findings.sections.get("Packages", []))
    services = sorted({str(diff["name"]).partition(" ")[2] for diff in findings.sections.get("Services", [])})
    accounts = sorted({str(diff["name"]) for diff in findings.sections.get("Accounts", [])})
    say("\nIt will take:")
    say(f"  packages  {safe_line(', '.join(packages)) or 'none'}")
    say(f"  accounts  {safe_line(', '.join(accounts)) or 'none'}")
    say(f"  services  {safe_line(', '.join(services)) or 'none'}")
    say(f"  ports     {HTTP_PORT}/tcp (all addresses)")


def _agree(record: Record) -> None:
    """Ask on a terminal; elsewhere what was said is what is done."""
    if record.applied or not sys.stdin.isatty():
        return
    try:
        answer = input("\nApply this to this machine? [y/N] ").strip().lower()
    except EOFError:
        answer = ""
    if answer not in ("y", "yes"):
        record.stop()
        demo_machine.forget()
        raise Failure("Nothing was changed; the demo's own server is gone again.", Exit.INTERRUPTED)


def _carry_out(client: Client, method: str, path: str, given: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
    """Send a change or its dry run, stream its events, and return the finished record."""
    query: dict[str, Any] = {"dry_run": True} if dry_run else {}
    with live(client, wanted=True) as stream, open_progress(verbose=not dry_run, quiet=False) as progress:
        if method == "DELETE":
            accepted = client.call(method, path, given | query).body
        else:
            accepted = client.call(method, path, query, given).body
        follower = Follower(client, stream, progress, _TIMEOUT)
        return follower.to_end(fill(PREVIEWS if dry_run else CHANGES, accepted["id"]), accepted)


def _succeed(change: dict[str, Any]) -> None:
    if change["status"] != "succeeded":
        raise Failure(
            f"{safe_line(change['operation'])} failed: {safe(change['reason'])}\n"
            "`make demo-clean` takes back what was made."
        )


def _fetch() -> None:
    """Fetch the page as a browser would, over IPv4, and print it."""
    say(f"\n4. The page: GET http://127.0.0.1/ with Host: {DOMAIN}\n")
    connection = http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=30)
    try:
        connection.request("GET", "/", headers={"Host": DOMAIN})
        response = connection.getresponse()
        body = response.read(65536).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"The page was not served: {error}. `wcp360 domain show {DOMAIN}` says more.") from error
    finally:
        connection.close()
    say(f"HTTP {response.status} {safe_line(response.reason)}")
    for name in ("Server", "Content-Type", "X-Wcp360-Site"):
        if response.headers[name]:
            say(f"{name}: {safe_line(response.headers[name])}")
    say("\n" + safe(body.rstrip()))
    if response.status != 200:
        raise Failure(f"The answer was {response.status}, not 200.")


def _how_to_go_on(record: Record) -> None:
    program = Path(sys.executable).with_name("wcp360")
    say(f"""
5. Going on (as root):
   export WCP360_CONFIG={record.config}
   {program} domain create second.test --tenant {TENANT} --dry-run
   {program} tenant list
   {program} event watch

   Stop the server:  kill {record.pid}     (the web site stays; `make demo` starts it again)
   Undo everything:  make demo-clean""")


def clean() -> None:
    """Remove what the demo recorded as its own, and nothing else."""
    record = Record.load()
    if record is None:
        say("There is no demo here; nothing was changed.")
        return
    if record.applied:
        _initialise(record)
        record.start()
        _take_away(Client(record.place))
    record.stop()
    demo_machine.forget()
    say(f"The demo is gone: its site, its user, the packages that it installed, its server and {BASE}.")


def _take_away(client: Client) -> None:
    """Remove in the order of dependence; what others have put there since is theirs, and is said."""
    _refuse_foreign(client)
    # By the list, which has those as well whose removal a node has refused: it is tried again.
    if any(tenant["name"] == TENANT for tenant in _list(client, "tenants")):
        say(f"Removing the tenant {TENANT} with {DOMAIN}.")
        _succeed(_carry_out(client, "DELETE", f"/api/v1/tenants/{TENANT}", {"purge": True}))
    if any(m["name"] == MODULE and m["state"] != "not installed" for m in _list(client, "modules")):
        say("Removing the web server with the packages that the demo installed.")
        path = f"/api/v1/modules/{MODULE}/remove"
        _succeed(_carry_out(client, "POST", path, {"node": NODE}))
    if _show(client, "nodes", NODE) is not None:
        say("Removing what the node itself was given.")
        _succeed(_carry_out(client, "DELETE", f"/api/v1/nodes/{NODE}", {}))


def _refuse_foreign(client: Client) -> None:
    own = {("tenants", TENANT), ("domains", DOMAIN), ("nodes", NODE)}
    others = [
        f"{collection.removesuffix('s')} {item['name']}"
        for collection in ("domains", "tenants", "nodes")
        for item in _list(client, collection)
        if (collection, item["name"]) not in own
    ]
    if others:
        raise Failure(
            f"The demo's server also holds {safe_line(', '.join(others))}, which the demo did not make. Delete them "
            f"first (export WCP360_CONFIG={BASE}/wcp360.toml); nothing was removed.",
            Exit.CONFLICT,
        )


def _list(client: Client, collection: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.call("GET", f"/api/v1/{collection}").body["items"]
    return items


if __name__ == "__main__":
    sys.exit(main())
