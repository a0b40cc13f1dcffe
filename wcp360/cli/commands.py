"""Groups and commands from the manifest, and the few that are written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from wcp360.cli import given
from wcp360.cli.exits import MEANINGS
from wcp360.cli.how import How
from wcp360.cli.params import Argument, Command, Group, Option

TITLES = {
    "node": "Managed servers.",
    "module": "Service modules on nodes.",
    "tenant": "Tenants: hosting accounts.",
    "domain": "Domains and their web sites.",
    "change": "Accepted changes.",
    "preview": "Dry runs that were kept.",
    "run": "Runs of Ansible.",
    "operation": "All that this server can be asked for.",
    "event": "What happens, in order.",
    "audit": "Who did what.",
}
_SHOWN = {"list": "TEXT", "map": "NAME=VALUE", "object": "FILE|-", "objects": "FILE|-", "decimal": "NUMBER"}
_KINDS = {"flag": "flag", "number": "number"}


def build_groups(operations: list[dict[str, Any]]) -> dict[str, Group]:
    """Return one group for each noun, its verbs as declared."""
    groups: dict[str, Group] = {}
    for entry in operations:
        noun = entry["group"]
        if noun not in groups:
            title = TITLES.get(noun, f"{noun.capitalize()} operations.")
            groups[noun] = Group(noun, help=title, short_help=title)
        groups[noun].add_command(_command(entry))
    return groups


def _command(entry: dict[str, Any]) -> Command:
    query = entry["kind"] == "query"
    params = [param for parameter in entry["parameters"] for param in _params(entry, parameter)]
    return Command(
        entry["verb"],
        _run_query(entry) if query else _run_change(entry),
        params=[*params, *([json_option()] if query else change_options(entry["confirm"]))],
        help=entry["summary"],
        short_help=entry["summary"],
        epilog=_epilog(entry, query),
    )


def _epilog(entry: dict[str, Any], query: bool) -> str:
    lines = ["Examples:", f"  {entry['example']}"]
    if not query:
        lines.append(f"  {entry['example']} --dry-run")
    return "\n".join(lines)


def _run_query(entry: dict[str, Any]) -> Callable[..., None]:
    def run(**values: Any) -> None:
        # Imported when it runs: help needs no HTTP.
        from wcp360.cli import invoke

        invoke.query(entry, values)

    return run


def _run_change(entry: dict[str, Any]) -> Callable[..., None]:
    def run(**values: Any) -> None:
        from wcp360.cli import invoke

        invoke.change(entry, values, How.of(values))

    return run


def json_option() -> Option:
    """Return ``--json``."""
    return Option("as_json", "--json", kind="flag", help="Print JSON, as the API answers it.")


def change_options(confirm: bool) -> list[Option]:
    """Return the options of every changing command."""
    options = [
        Option("dry_run", "--dry-run", kind="flag", help="Show what would change, with diffs; change nothing."),
        json_option(),
        Option("wait", "--wait/--no-wait", kind="flag", help="Wait until it is done (default), or only send it."),
        Option("verbose", "--verbose", "-v", kind="flag", help="Show it task by task."),
        timeout_option(),
    ]
    if confirm:
        options.append(Option("yes", "--yes", "-y", kind="flag", help="Do not ask."))
    return options


def timeout_option() -> Option:
    """Return ``--timeout``."""
    return Option(
        "timeout", "--timeout", kind="number", shown="SECONDS", help="Stop waiting after so long (default 3600)."
    )


def _params(entry: dict[str, Any], parameter: dict[str, Any]) -> list[Any]:
    name, kind = given.PREFIX + parameter["name"], parameter["type"]
    if parameter["name"] == entry["key"]:
        return [Argument(name, shown=parameter["name"].upper(), help=parameter["help"], required=True)]
    if kind in ("object", "objects") and parameter["required"] and not entry["key"]:
        text = f"{parameter['help']} A JSON file, or - for standard input."
        return [Argument(name, shown="FILE", help=text, required=True)]
    if kind == "flag":
        flags = f"{parameter['flag']}/{given.empty_flag(parameter)}"
        return [Option(name, flags, kind="flag", help=_help(parameter))]
    return _value_options(name, parameter)


def _value_options(name: str, parameter: dict[str, Any]) -> list[Option]:
    kind, flag = parameter["type"], parameter["flag"]
    if parameter["secret"]:
        text = f"{parameter['help']} A file, or - for standard input; asked for where it is needed."
        return [Option(name, f"{flag}-file", shown="FILE|-", help=text)]
    options = [
        Option(
            name,
            flag,
            kind=_KINDS.get(kind, "text"),
            shown=_SHOWN.get(kind, ""),
            allowed=parameter["choices"],
            multiple=kind in ("list", "map"),
            required=parameter["required"],
            help=_help(parameter),
        )
    ]
    if kind in ("list", "map") and not parameter["required"]:
        text = f"Empty {parameter['name'].replace('_', ' ')}."
        empty = given.empty_flag(parameter)
        options.append(Option(given.EMPTY + parameter["name"], empty, kind="flag", help=text))
    return options


def _help(parameter: dict[str, Any]) -> str:
    notes = []
    if parameter["type"] in ("list", "map"):
        notes.append("repeat for more")
    if parameter["default"] not in (None, "", [], {}):
        default = parameter["default"]
        notes.append(f"default: {str(default).lower() if isinstance(default, bool) else default}")
    return f"{parameter['help']} [{'; '.join(notes)}]" if notes else str(parameter["help"])


def root(groups: dict[str, Group], local: list[Command | Group]) -> Group:
    """Return the program."""
    codes = "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())
    program = Group(
        "wcp360",
        help="A hosting control panel in which every change to a server is an Ansible run.",
        epilog=f"Exit codes:\n{codes}\n\nExamples:\n  wcp360 tenant create acme --dry-run\n"
        "  wcp360 domain create acme.example --tenant acme",
        params=_root_options(),
    )
    for command in [*local, *groups.values()]:
        program.add_command(command)
    return program


def _root_options() -> list[Any]:
    return [
        Option(
            "--version", kind="flag", expose_value=False, is_eager=True, callback=_version, help="Show the version."
        ),
        Option(
            "--install-completion",
            kind="flag",
            expose_value=False,
            is_eager=True,
            callback=_completion("install_callback"),
            help="Install completion for the current shell.",
        ),
        Option(
            "--show-completion",
            kind="flag",
            expose_value=False,
            is_eager=True,
            callback=_completion("show_callback"),
            help="Show the completion script of the current shell.",
        ),
    ]


def _completion(name: str) -> Callable[..., Any]:
    def act(ctx: Any, param: Any, value: Any) -> Any:
        if not value or ctx.resilient_parsing:
            return value
        from typer import completion
        from typer._completion_classes import completion_init

        completion_init()
        return getattr(completion, name)(ctx, param, value)

    return act


def _version(ctx: Any, param: Any, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        import wcp360

        typer.echo(f"wcp360 {wcp360.__version__}")
        raise typer.Exit
