"""Write the manifest from which the CLI builds its commands.

``python -m wcp360.cli.manifest_build`` prints it. It runs in a process of its own, because it imports the registry and
pydantic, which the CLI itself never does.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from wcp360.cli.words import flag_of
from wcp360.core.operation import Operation
from wcp360.core.routes import route_of

_KINDS = {"string": "text", "integer": "number", "number": "decimal", "boolean": "flag"}


def build() -> dict[str, Any]:
    """Return the manifest of this installation."""
    from wcp360.core.config import Settings
    from wcp360.wiring import build_registry

    return {"operations": [describe(operation) for operation in build_registry(Settings())]}


def describe(operation: Operation) -> dict[str, Any]:
    """Return what the CLI must know of one operation and its route."""
    route = route_of(operation)
    schema = operation.input.model_json_schema()
    parameters = [
        _parameter(name, _resolved(part, schema), name in schema.get("required", []))
        for name, part in schema.get("properties", {}).items()
    ]
    return {
        "operation": operation.name,
        "group": operation.object,
        "verb": operation.verb.replace("_", "-"),
        "kind": operation.kind.value,
        "summary": operation.summary,
        "method": route.method,
        "path": route.path,
        "key": operation.key,
        "parameters": parameters,
        "example": example_line(operation, parameters),
        "confirm": operation.confirm,
        "conflicts": list(operation.conflicts),
        "records": _lists_records(operation),
    }


def _lists_records(operation: Operation) -> bool:
    """Tell whether a list is of records that only grow (changes, events), so that one page is shown and not all."""
    items = operation.result.model_fields.get("items")
    inner: tuple[Any, ...] = getattr(items.annotation, "__args__", ()) if items is not None else ()
    return bool(inner) and "correlation" in getattr(inner[0], "model_fields", {})


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a property with its references followed and `null` taken out of its alternatives."""
    found = dict(part)
    if "$ref" in found:
        found = {**schema["$defs"][found.pop("$ref").rpartition("/")[2]], **found}
    choices = [one for one in found.get("anyOf", []) if one.get("type") != "null"]
    if "anyOf" in found and len(choices) == 1:
        del found["anyOf"]
        found = {**_resolved(choices[0], schema), **found}
    if isinstance(found.get("items"), dict):
        found["items"] = _resolved(found["items"], schema)
    return found


def _parameter(name: str, part: Mapping[str, Any], required: bool) -> dict[str, Any]:
    kind = _kind(part)
    inner = part.get("items", part) if kind == "list" else part
    choices = [inner["const"]] if "const" in inner else inner.get("enum", [])
    return {
        "name": name,
        "flag": flag_of(name, kind),
        "type": kind,
        "required": required,
        "default": part.get("default"),
        "help": part.get("description", ""),
        "choices": [str(choice) for choice in choices],
        "secret": part.get("format") == "password" or inner.get("format") == "password",
    }


def _kind(part: Mapping[str, Any]) -> str:
    kind = part.get("type", "string" if "enum" in part or "const" in part else "object")
    if kind == "array":
        return "objects" if part.get("items", {}).get("type") == "object" else "list"
    if kind == "object":
        return "map" if isinstance(part.get("additionalProperties"), dict) else "object"
    return _KINDS[kind]


def example_line(operation: Operation, parameters: list[dict[str, Any]]) -> str:
    """Return the declared example as a command line."""
    words = ["wcp360", operation.object, operation.verb.replace("_", "-")]
    files = []
    given = {parameter["name"]: parameter for parameter in parameters if parameter["name"] in operation.example}
    if operation.key in given:
        words.append(str(operation.example[operation.key]))
    for name, parameter in given.items():
        if parameter["type"] in ("objects", "object"):
            files.append(parameter)
        elif name != operation.key:
            words += _words(parameter, operation.example[name])
    for parameter in files:
        positional = parameter["required"] and not operation.key
        words += ["file.json"] if positional else [parameter["flag"], "file.json"]
    return shlex.join(words)


def _words(parameter: Mapping[str, Any], value: Any) -> list[str]:
    flag, kind = parameter["flag"], parameter["type"]
    if parameter["secret"]:
        return [f"{flag}-file", "-"]
    if value is None:
        return []
    if kind in ("list", "map") and not value:
        return [flag.replace("--", "--no-", 1)]
    if kind == "flag":
        return [flag if value else flag.replace("--", "--no-", 1)]
    if kind == "map":
        return [word for key, one in value.items() for word in (flag, f"{key}={one}")]
    return [word for one in (value if kind == "list" else [value]) for word in (flag, str(one))]


if __name__ == "__main__":
    json.dump(build(), sys.stdout, ensure_ascii=True)
