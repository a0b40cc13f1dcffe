"""What people see while a change is carried out: a moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from wcp360.cli.safe import complain, paint, safe_line
from wcp360.cli.tables import colours


class Progress:
    """Plain lines on standard error, so that standard output stays for results."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self.colour = colours(sys.stderr)
        self._said: set[tuple[str, str, str, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done()

    def done(self) -> None:
        """Take away what moves."""

    def line(self, text: str) -> None:
        """Print a line that stays."""
        complain(text)

    def state(self, text: str) -> None:
        """Say what is going on right now."""

    def event(self, event: dict[str, Any]) -> None:
        """Show an event of the run."""
        text = describe_event(event)
        if event["type"] == "run.task":
            self.state(text)
        if self.verbose or event["type"] == "run.started":
            self.line(f"  {text}")

    def resources(self, change: dict[str, Any]) -> None:
        """Show each resource once when its state or its reason has changed."""
        for one in change["resources"]:
            seen = (one["resource"], one["node"], one["status"], one["reason"])
            if seen in self._said or (one["status"] == "pending" and not one["reason"]):
                continue
            self._said.add(seen)
            self.line("  " + self._outcome(one))

    def _outcome(self, one: dict[str, Any]) -> str:
        colour = {"succeeded": "green", "failed": "red"}.get(one["status"], "yellow")
        word = paint(safe_line(one["status"]), colour, self.colour)
        reason = f": {safe_line(one['reason'])}" if one["reason"] else ""
        return f"{safe_line(one['resource'])} on {safe_line(one['node'])} {word}{reason}"


class LiveProgress(Progress):
    """The same with a spinner that shows the present task."""

    def __init__(self, verbose: bool) -> None:
        super().__init__(verbose)
        # Imported here: only those who watch pay for rich.
        from rich.console import Console
        from rich.status import Status
        from rich.text import Text

        self._text = Text
        self._console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._status = Status(Text("waiting for the server"), console=self._console)
        self._status.start()

    def done(self) -> None:
        """Take the spinner away."""
        self._status.stop()

    def line(self, text: str) -> None:
        """Print a line above the spinner."""
        self._console.print(self._text.from_ansi(text), soft_wrap=True)

    def state(self, text: str) -> None:
        """Show ``text`` beside the spinner."""
        self._status.update(self._text(text))


def open_progress(verbose: bool, quiet: bool) -> Progress:
    """Return what suits where standard error leads; ``quiet`` keeps it plain."""
    if quiet or not sys.stderr.isatty():
        return Progress(verbose)
    return LiveProgress(verbose)


def describe_event(event: dict[str, Any]) -> str:
    """Return one event as a line that is safe to print."""
    data = event.get("data") or {}
    kind = event["type"]
    if kind == "run.task":
        counts = " ".join(f"{name}={data[name]}" for name in ("ok", "changed", "failed") if name in data)
        return safe_line(f"{data.get('node', '')}: {data.get('task', '')} {counts}".rstrip())
    if kind == "run.started":
        return safe_line(f"{data.get('node', '')}: {'dry run' if data.get('check') else 'run'} {data.get('run', '')}")
    rest = " ".join(f"{name}={value}" for name, value in data.items() if value not in ("", None))
    return safe_line(f"{kind} {rest}".rstrip())
