"""From untrusted data to an input: the one place where pydantic's findings become our field errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from wcp360.core.errors import FieldError, Invalid

Model = TypeVar("Model", bound=BaseModel)

# Stable codes of our own for the commonest findings; the others are pydantic's types, which are stable as well.
_CODES = {"value_error": "invalid", "missing": "required", "extra_forbidden": "unknown_field"}
_MESSAGES = {"missing": "This field is required.", "extra_forbidden": "There is no such field; leave it out."}


def validate(model: type[Model], data: Mapping[str, Any], *, lenient: bool = False, prefix: str = "") -> Model:
    """Return ``data`` as a ``model``, or raise Invalid with one entry per wrong field.

    ``lenient`` reads numbers and booleans from text, as query strings carry them; ``prefix`` is put before the field
    paths. The wrong values themselves are not repeated, for they could be secrets.
    """
    try:
        return model.model_validate(data, strict=None if not lenient else False)
    except ValidationError as error:
        raise Invalid(_detail(errors := field_errors(error, prefix)), errors=errors) from error


def field_errors(error: ValidationError, prefix: str = "") -> tuple[FieldError, ...]:
    """Return pydantic's findings with dotted paths; a finding about the whole input has the path of its prefix."""
    found = []
    for entry in error.errors(include_input=False, include_url=False, include_context=False):
        path = ".".join(str(part) for part in entry["loc"] if not _is_internal(part))
        code = _CODES.get(entry["type"], entry["type"])
        found.append(FieldError(".".join(part for part in (prefix, path) if part), _message(entry), code))
    return tuple(found)


def _message(entry: Any) -> str:
    """Return a finding as a sentence: ours as written, pydantic's with a full stop."""
    message = _MESSAGES.get(entry["type"]) or str(entry["msg"]).removeprefix("Value error, ")
    return message if message.endswith((".", ")")) else f"{message}."


def _is_internal(part: int | str) -> bool:
    """Tell whether a path part is pydantic's own (a validator's or branch's name) and no field of the input."""
    return isinstance(part, str) and ("[" in part or part in ("constrained-str",))


def _detail(errors: tuple[FieldError, ...]) -> str:
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.field or 'The input'}: {first.message}{more}"
