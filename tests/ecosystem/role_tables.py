"""The tables of variables in the roles' READMEs, written from meta/argument_specs.yml: `make docs`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "<!-- Written by `make docs` from meta/argument_specs.yml. -->"
END = "<!-- End of what `make docs` writes. -->"


def roles() -> list[Path]:
    """Return the directories of the roles."""
    return sorted(path.parents[1] for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


def specs(role: Path) -> dict[str, Any]:
    """Return the entry points of a role."""
    found: dict[str, Any] = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    return found["argument_specs"]


def readme(role: Path) -> str:
    """Return the README with its tables as they have to be."""
    text = (role / "README.md").read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{role.name}/README.md has no place for its tables: put {BEGIN!r} and {END!r} into it.")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{tables(role)}{END}{after}"


def tables(role: Path) -> str:
    """Return the table of variables, those of list elements, and the entry points."""
    entries = specs(role)
    options = entries["main"]["options"]
    lines = ["", *_table("variable", options)]
    for name, option in options.items():
        if "options" in option:
            lines += ["", f"Each element of `{name}`:", "", *_table("key", option["options"])]
    lines += ["", "| `tasks_from` | what it does | variable of its own |", "|---|---|---|"]
    for name, entry in entries.items():
        own = ", ".join(f"`{key}`" for key in entry["options"] if key not in options)
        lines.append(f"| `{name}` | {_sentence(entry['short_description'])} | {own} |")
    return "\n".join([*lines, "", ""])


def _table(first: str, options: dict[str, Any]) -> list[str]:
    return [f"| {first} | type | default | meaning |", "|---|---|---|---|", *_rows(options)]


def _rows(options: dict[str, Any]) -> Iterator[str]:
    for name, option in options.items():
        kind = option.get("type", "str") + (f" of {option['elements']}" if "elements" in option else "")
        default = "required" if option.get("required") else _code(option["default"]) if "default" in option else ""
        choices = ", ".join(f"`{choice}`" for choice in option.get("choices", []))
        text = _sentence(option["description"]) + (f" One of {choices}." if choices else "")
        yield f"| `{name}` | {kind} | {default} | {text} |"


def _code(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`" if text else '`""`'


def _sentence(text: str | list[str]) -> str:
    """Return a description for a cell: one line, no column of its own, plain words for Ansible's markup."""
    joined = " ".join(text if isinstance(text, list) else [text])
    joined = re.sub(r"\b[CVOEM]\(([^)]*)\)", r"`\1`", " ".join(joined.split()))
    return joined.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Write every README anew."""
    for role in roles():
        (role / "README.md").write_text(readme(role), encoding="utf-8")


if __name__ == "__main__":
    main()
