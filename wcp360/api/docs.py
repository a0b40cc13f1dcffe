"""The operations page of the documentation, derived from the registry; ``python -m wcp360.api.docs`` prints it."""

from __future__ import annotations

import json
import sys
from typing import Any

from wcp360.core.operation import Operation
from wcp360.core.registry import Registry
from wcp360.core.routes import Carrier, Route, route_of

_HEAD = """\
# Operations

This page is made from the declarations in `wcp360/modules` by `python -m wcp360.api.docs`; do not edit it.

Every operation is a REST route and a CLI command. Every changing one can be tried out first: `?dry_run=true`, or
`--dry-run`. A changing call answers 202 with the change and its Location, or waits with `Prefer: wait=SECONDS`.
A changing call with an `Idempotency-Key` may be sent again for 24 hours: the same request under the same key gets the
first answer, and nothing is done twice. The CLI sends one with every change.
Lists take filters, `sort` (a minus before the field turns it round) and `limit`; while there is more, the answer's
`next` is passed as `cursor`, with the same filters and order. Rows that are added or removed meanwhile neither repeat
others nor hide them. Rows of changes, previews and runs are short; what was asked and what differs is in the object.
Refusals are `application/problem+json` with a stable `code`; wrong fields are listed in `errors[]` by their path.
"""


def operations_page(registry: Registry) -> str:
    """Return the page as Markdown, sorted by name."""
    operations = sorted(registry, key=lambda operation: operation.name)
    table = [f"| [`{o.name}`](#{_anchor(o)}) | `{_line(route_of(o))}` | {o.summary} |" for o in operations]
    head = ["| operation | route | what it does |", "|---|---|---|"]
    return "\n".join([_HEAD, *head, *table, "", *(_section(operation) for operation in operations)])


def _section(operation: Operation) -> str:
    route = route_of(operation)
    lines = [
        f"## {operation.name}",
        "",
        operation.summary,
        "",
        f"- route: `{_line(route)}`",
        f"- permission: `{operation.permission}`",
        *([f"- answers 409 with: {_codes(operation.conflicts)}"] if operation.conflicts else []),
        "",
        *_fields(operation, route),
        "Example:",
        "",
        "```http",
        *_example(operation, route),
        "```",
        "",
    ]
    return "\n".join(lines)


def _fields(operation: Operation, route: Route) -> list[str]:
    schema = operation.input.model_json_schema()
    rows = [
        f"| `{name}` | {_place(name, route)} | {'yes' if name in schema.get('required', ()) else 'no'} "
        f"| {field['description'].replace('|', chr(92) + '|')} |"
        for name, field in schema.get("properties", {}).items()
    ]
    return ["| field | in | required | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def _place(name: str, route: Route) -> str:
    return "path" if name == route.key else str(route.carrier)


def _example(operation: Operation, route: Route) -> list[str]:
    values: dict[str, Any] = dict(operation.example)
    path = route.path
    if route.key:
        path = path.replace(f"{{{route.key}}}", str(values.pop(route.key)))
    if route.carrier is Carrier.QUERY:
        query = "&".join(f"{name}={str(value).lower() if value is True else value}" for name, value in values.items())
        return [f"{route.method} {path}{'?' + query if query else ''}"]
    body = json.dumps(values, indent=2, ensure_ascii=False).splitlines() if values else []
    return [f"{route.method} {path}", *(["Content-Type: application/json", "", *body] if body else [])]


def _line(route: Route) -> str:
    return f"{route.method} {route.path}"


def _codes(codes: tuple[str, ...]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def _anchor(operation: Operation) -> str:
    """Return the anchor that Markdown renderers make of a heading: the full stop goes."""
    return operation.name.replace(".", "")


def main() -> None:
    """Print the page for this installation's registry."""
    from importlib import import_module

    # The wiring lies above this package, so it is looked up when the program runs and not imported.
    sys.stdout.write(operations_page(import_module("wcp360.wiring").build_registry()))


if __name__ == "__main__":
    main()
