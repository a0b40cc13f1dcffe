#!/usr/bin/env python3
"""Start and stop the servers that the tests run on. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from testhosts import collection, doctor, host, image
from testhosts.common import HostsError
from testhosts.engine import find_engine


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="hosts.py", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="have the images (all, or those that are named)")
    for flavour in image.RECIPES:
        build.add_argument(f"--{flavour}", action="store_true")
    up = commands.add_parser("up", help="start a host and wait until systemd and SSH answer")
    up.add_argument("name")
    up.add_argument("--image", choices=sorted(image.RECIPES), default="full")
    up.add_argument("--json", action="store_true")
    down = commands.add_parser("down", help="remove hosts")
    down.add_argument("names", nargs="*", metavar="name")
    down.add_argument("--all", action="store_true", help="every host that this checkout started")
    commands.add_parser("list", help="the hosts that this checkout started")
    commands.add_parser("collections", help="link this checkout as wcp360.hosting; prints ANSIBLE_COLLECTIONS_PATH")
    doc = commands.add_parser("doctor", help="say whether hosts can be had here, and how")
    doc.add_argument("--json", action="store_true")
    return top


def _build(args: argparse.Namespace) -> None:
    engine = find_engine()
    for flavour in image.RECIPES:
        if getattr(args, flavour) or not any(getattr(args, other) for other in image.RECIPES):
            print(image.ensure(engine, flavour))


def _up(args: argparse.Namespace) -> None:
    started = host.up(find_engine(), args.name, args.image)
    if args.json:
        print(json.dumps(started.as_dict()))
        return
    print(f"{started.name} is up: ssh -i {started.key} -p {started.port} {started.user}@{started.address}")
    print(f"known_hosts: {started.host_key}")


def _down(args: argparse.Namespace) -> None:
    engine = find_engine()
    for name in host.names(engine) if args.all else args.names:
        print(f"{name} removed" if host.down(engine, name) else f"{name} was not there")


def main() -> int:
    """Run one command; 0 = done, 1 = not possible (the reason is on stderr)."""
    args = parser().parse_args()
    try:
        if args.command == "doctor":
            return doctor.report(as_json=args.json)
        if args.command == "collections":
            print(collection.link())
        elif args.command == "list":
            print("\n".join(host.names(find_engine())))
        else:
            {"build": _build, "up": _up, "down": _down}[args.command](args)
    except HostsError as error:
        print(f"hosts.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
