"""The OpenAPI 3.1 document, derived from the registry."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response
from pydantic.json_schema import models_json_schema

import wcp360
from wcp360.api.edge import DRY_RUN
from wcp360.api.once import HEADER
from wcp360.core.operation import Operation
from wcp360.core.registry import Registry
from wcp360.core.routes import PREFIX, Carrier, Route, changes_state, route_of
from wcp360.core.views import PreviewView

Schema = dict[str, Any]
PATH = f"{PREFIX}/openapi.json"
_REF = "#/components/schemas/{model}"

_PROBLEM: Schema = {
    "type": "object",
    "description": "A refusal (RFC 9457). `code` is stable; `errors` names each wrong field by its dotted path.",
    "required": ["type", "title", "status", "code", "detail", "correlation"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "correlation": {"type": "string", "description": "What the log has this request under."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message", "code"],
                "properties": {
                    "field": {"type": "string"},
                    "message": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
    },
}
_DRY_RUN: Schema = {
    "name": DRY_RUN,
    "in": "query",
    "description": "Change nothing; answer a preview of what would change.",
    "schema": {"type": "boolean", "default": False},
}
_PREFER: Schema = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=SECONDS` holds the answer until the change or preview is finished (RFC 7240).",
    "schema": {"type": "string"},
    "example": "wait=60",
}
_ONCE: Schema = {
    "name": HEADER,
    "in": "header",
    "description": (
        "A quoted string of the caller's choice. The same request under the same key in 24 hours gets the answer that "
        "was given first, and nothing is done twice. Another request under the key is refused with 422 and the code "
        "`idempotency_key_reused`, a repetition that overtakes the first with 409 and `request_in_progress`."
    ),
    "schema": {"type": "string", "pattern": '^"[ !#-\\[\\]-~]{1,255}"$'},
    "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
}


def install(app: Flask, registry: Registry) -> None:
    """Serve the document; it says the same to everybody and needs no token."""
    text = json.dumps(openapi_document(registry))
    app.add_url_rule(PATH, "openapi", lambda: Response(text, content_type="application/json"), methods=["GET"])


def openapi_document(registry: Registry) -> Schema:
    """Return the document."""
    operations = sorted(registry, key=lambda operation: operation.name)
    inputs: dict[Any, None] = dict.fromkeys((operation.input, "validation") for operation in operations)
    results: dict[Any, None] = dict.fromkeys((operation.result, "serialization") for operation in operations)
    results[(PreviewView, "serialization")] = None
    references, definitions = models_json_schema([*inputs, *results], ref_template=_REF)
    schemas = {**definitions.get("$defs", {}), "Problem": _PROBLEM}
    paths: Schema = {}
    for operation in operations:
        route = route_of(operation)
        given = _resolve(references[(operation.input, "validation")], schemas)
        item = _operation(operation, route, given, references)
        paths.setdefault(route.path, {})[route.method.lower()] = item
    return {
        "openapi": "3.1.0",
        "info": {"title": "WCP360", "version": wcp360.__version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in sorted({operation.object for operation in operations})],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": {"description": "A refusal.", "content": _content("Problem", problem=True)}},
        },
    }


def _operation(operation: Operation, route: Route, given: Schema, references: Any) -> Schema:
    result = references[(operation.result, "serialization")]
    item: Schema = {
        "operationId": operation.name,
        "tags": [operation.object],
        "summary": operation.summary,
        "x-permission": operation.permission,
        "parameters": _parameters(operation, route, given),
        "responses": _answers(operation, result, references),
    }
    if operation.conflicts:
        item["x-conflicts"] = list(operation.conflicts)
    if route.carrier is Carrier.BODY:
        item["requestBody"] = _body(operation, route, given)
    return item


def _parameters(operation: Operation, route: Route, given: Schema) -> list[Schema]:
    parameters = []
    for name, schema in given.get("properties", {}).items():
        if name == route.key:
            parameters.append(_parameter(name, "path", schema, required=True, example=operation.example.get(name)))
        elif route.carrier is Carrier.QUERY:
            required = name in given.get("required", ())
            parameters.append(_parameter(name, "query", schema, required, operation.example.get(name)))
    return parameters + ([_DRY_RUN, _PREFER, _ONCE] if changes_state(operation) else [])


def _parameter(name: str, place: str, schema: Schema, required: bool, example: Any) -> Schema:
    bare = {key: value for key, value in schema.items() if key not in ("description", "title")}
    if "anyOf" in bare:
        # A query string cannot carry null: leaving the parameter out is how to say it.
        options = [option for option in bare["anyOf"] if option != {"type": "null"}]
        bare = options[0] if len(options) == 1 else bare | {"anyOf": options}
    parameter = {"name": name, "in": place, "required": required, "description": schema["description"], "schema": bare}
    return parameter if example is None else parameter | {"example": example}


def _body(operation: Operation, route: Route, given: Schema) -> Schema:
    fields = {name: schema for name, schema in given.get("properties", {}).items() if name != route.key}
    required = [name for name in given.get("required", ()) if name != route.key]
    schema: Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    if required:
        schema["required"] = required
    example = {name: value for name, value in operation.example.items() if name != route.key}
    return {"required": bool(required), "content": {"application/json": {"schema": schema, "example": example}}}


def _answers(operation: Operation, result: Schema, references: Any) -> Schema:
    codes = ["400", "401", "403", "408", "413", "422", "429", "500", "503"]
    if operation.key or changes_state(operation):
        codes.append("404")
    if changes_state(operation):
        codes += ["409", "415"]
        preview = references[(PreviewView, "serialization")]
        body = {"application/json": {"schema": {"oneOf": [result, preview]}}}
        good = {
            "200": {
                "description": "Finished within the wait: the change, or the preview of a dry run.",
                "content": body,
            },
            "202": {
                "description": "Accepted: the change, or the preview of a dry run, to be asked for at its Location.",
                "headers": {"Location": {"schema": {"type": "string"}}},
                "content": body,
            },
        }
    else:
        good = {"200": {"description": "The answer.", "content": {"application/json": {"schema": result}}}}
    return good | {code: {"$ref": "#/components/responses/Problem"} for code in sorted(codes)}


def _content(model: str, problem: bool = False) -> Schema:
    kind = "application/problem+json" if problem else "application/json"
    return {kind: {"schema": {"$ref": _REF.format(model=model)}}}


def _resolve(reference: Schema, schemas: Schema) -> Schema:
    found: Schema = schemas[reference["$ref"].rpartition("/")[2]] if "$ref" in reference else reference
    return found
