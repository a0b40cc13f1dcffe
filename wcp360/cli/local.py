"""The commands that do not speak to a server: they make one, run it, or look at this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wcp360.cli.commands import json_option
from wcp360.cli.exits import Exit, Failure, of_status
from wcp360.cli.params import Command, Group, Option
from wcp360.cli.safe import complain, paint, safe, say
from wcp360.cli.tables import colours

NAMES = frozenset({"init", "serve", "migrate", "doctor", "config"})


def build() -> list[Command | Group]:
    """Return the local commands."""
    config = Group("config", help="The server's configuration: one TOML file and environment variables.")
    config.add_command(_command("show", show_config, "Print the settings in force, secrets masked.", [json_option()]))
    config.add_command(_command("check", check_config, "Check file and environment; unknown keys are refused.", []))
    without = Option("without_node", "--without-node", kind="flag", help="Do not manage this machine itself.")
    return [
        _command("init", init, "Make state directory, database, root token, SSH key and the node `local`.", [without]),
        _command("serve", serve, "Run the whole system: API and engine, until stopped.", []),
        _command("migrate", migrate, "Bring the database to this version.", []),
        _command("doctor", doctor, "Say what is weak or missing here, and what to do about it.", [json_option()]),
        config,
    ]


def _command(name: str, function: Callable[..., None], text: str, params: list[Any]) -> Command:
    parent = "config " if function in (show_config, check_config) else ""
    return Command(
        name, function, params=params, help=text, short_help=text, epilog=f"Examples:\n  wcp360 {parent}{name}"
    )


@contextmanager
def problems() -> Iterator[None]:
    """Turn the server's own refusals into an exit code, as the HTTP client does."""
    from wcp360.core.errors import Problem

    try:
        yield
    except Problem as problem:
        lines = [problem.detail, *(f"  {error.field}: {error.message}" for error in problem.errors)]
        raise Failure(safe("\n".join(lines)), of_status(problem.status)) from problem


def init(without_node: bool | None) -> None:
    """Set up the state directory; a second time changes nothing."""
    from wcp360.cli.setup import initialise
    from wcp360.core.config import load_settings

    with problems():
        settings = load_settings()
        done = initialise(settings, with_node=not without_node)
    for line in done or [f"{settings.state_dir} is set up already; nothing was changed."]:
        say(line)
    if done:
        say("Next: `wcp360 serve`, and `wcp360 doctor` for what is weak or missing here.")


def serve() -> None:
    """Run the supervisor in the foreground."""
    from wcp360.cli import serving
    from wcp360.core.config import load_settings

    with problems():
        serving.serve(load_settings())


def migrate() -> None:
    """Apply pending migrations."""
    from wcp360.cli.setup import open_store
    from wcp360.core.config import load_settings
    from wcp360.storage import migrate as apply

    with problems():
        names = apply(open_store(load_settings()))
    for name in names:
        say(f"applied {name}")
    if not names:
        say("The database is up to date; nothing was changed.")


def doctor(as_json: bool | None) -> None:
    """Print the findings; the exit code is 1 where something is missing."""
    from wcp360.cli.doctor import Level, examine

    findings = examine()
    if as_json:
        import dataclasses

        from wcp360.cli.invoke import print_json

        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        shown = colours()
        for finding in findings:
            colour = {Level.OK: "green", Level.WEAK: "yellow", Level.MISSING: "red"}[finding.level]
            say(f"{paint(f'{finding.level.value:8}', colour, shown)} {finding.name}: {safe(finding.found)}")
            if finding.advice:
                say(f"{'':9}-> {finding.advice}")
    missing = sum(finding.level is Level.MISSING for finding in findings)
    if missing:
        raise Failure(f"{missing} of {len(findings)} checks found something missing.", Exit.FAILED)


def show_config(as_json: bool | None) -> None:
    """Print the settings in force."""
    from wcp360.core.config import load_settings

    with problems():
        values = load_settings().model_dump(mode="json")
    if as_json:
        from wcp360.cli.invoke import print_json

        print_json(values)
        return
    for line in as_toml(values):
        say(line)


def as_toml(values: dict[str, Any]) -> Iterator[str]:
    """Return settings as TOML: plain keys first, then the sections. A JSON string is a TOML basic string."""
    import json

    sections = {name: value for name, value in values.items() if isinstance(value, dict)}
    for name, value in values.items():
        if name not in sections:
            yield f"{name} = {json.dumps(value)}"
    for name, section in sections.items():
        yield f"\n[{name}]"
        for key, value in section.items():
            yield f"{key} = {json.dumps(value)}"


def check_config() -> None:
    """Say whether the configuration is valid."""
    from wcp360.core.config import load_settings

    with problems():
        load_settings()
    complain("The configuration is valid.")
