"""Options and arguments on Typer's classes, read without pydantic.

Typer 0.29 turns every value through a pydantic adapter, whose import costs more than the whole command; all that we
need is text, numbers, flags and lists, and the server checks the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from typer import _click
from typer._click.exceptions import BadParameter, MissingParameter
from typer._coercion import resolve_type_descriptor
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.models import OptionInfo

_TYPES = {"text": str, "number": int, "flag": bool}


def _process(param: TyperOption | TyperArgument, ctx: _click.Context, value: Any, kind: str) -> Any:
    if value is not None and kind == "number":
        value = _number(param, ctx, value)
    choices = getattr(param, "allowed", ())
    for one in value if isinstance(value, list | tuple) else [value]:
        if choices and one is not None and one not in choices:
            raise BadParameter(f"{one!r} is not one of {', '.join(choices)}.", ctx=ctx, param=param)
    if param.required and param.value_is_missing(value):
        raise MissingParameter(ctx=ctx, param=param)
    return value if param.callback is None else param.callback(ctx, param, value)


def _number(param: TyperOption | TyperArgument, ctx: _click.Context, value: Any) -> int:
    try:
        return int(str(value), 10)
    except ValueError:
        raise BadParameter(f"{value!r} is not a whole number.", ctx=ctx, param=param) from None


class Option(TyperOption):
    """An option of a ``kind``: text, number or flag; ``allowed`` limits the values."""

    def __init__(
        self, *flags: str, kind: str = "text", allowed: Sequence[str] = (), shown: str = "", **settings: Any
    ) -> None:
        self.kind, self.allowed, self.shown = kind, tuple(allowed), shown
        super().__init__(
            param_decls=list(flags),
            type_descriptor=resolve_type_descriptor(_TYPES[kind], OptionInfo()),
            is_flag=kind == "flag",
            **settings,
        )

    def process_value(self, ctx: _click.Context, value: Any) -> Any:
        """Read the value; see the module's reason."""
        return _process(self, ctx, value, self.kind)

    def display_type(self, ctx: _click.Context) -> str:
        """Return what help shows for the value."""
        return self.shown or ("|".join(self.allowed) if self.allowed else self.kind.upper())


class Argument(TyperArgument):
    """A positional argument; ``complete`` proposes values for the shell."""

    def __init__(
        self, name: str, *, shown: str, complete: Callable[[str], list[str]] | None = None, **settings: Any
    ) -> None:
        self.allowed = ()
        super().__init__(
            param_decls=[name],
            type_descriptor=resolve_type_descriptor(str, OptionInfo()),
            metavar=shown,
            show_default=False,
            shell_complete=None if complete is None else lambda ctx, param, begun: complete(begun),
            **settings,
        )

    def process_value(self, ctx: _click.Context, value: Any) -> Any:
        """Read the value; see the module's reason."""
        return _process(self, ctx, value, "text")

    def display_type(self, ctx: _click.Context) -> str:
        """Return nothing: the name says it."""
        return ""


def _help_option() -> Option:
    def show(ctx: _click.Context, param: Any, value: Any) -> None:
        if value and not ctx.resilient_parsing:
            _click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return Option(
        "--help", "-h", kind="flag", expose_value=False, is_eager=True, callback=show, help="Show this and exit."
    )


class _Plain:
    """Plain help: rich would cost every `--help` more than the rest of the program."""

    _help_option: Any
    epilog: str | None

    def get_help_option(self, ctx: _click.Context) -> Any:
        """Return a help option that is read without pydantic."""
        if self._help_option is None:
            self._help_option = _help_option()
        return self._help_option

    def format_epilog(self, ctx: _click.Context, formatter: _click.HelpFormatter) -> None:
        """Write the epilog as it stands: examples must not be wrapped."""
        if self.epilog:
            formatter.write("\n" + self.epilog.rstrip() + "\n")


class Command(_Plain, TyperCommand):
    """One command."""

    def __init__(self, name: str, callback: Callable[..., None], **settings: Any) -> None:
        super().__init__(name, callback=callback, rich_markup_mode=None, **settings)


class Group(_Plain, TyperGroup):
    """A noun and its verbs."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name=name, rich_markup_mode=None, no_args_is_help=True, **settings)
