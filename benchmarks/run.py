"""Run every benchmark, or those named, and write docs/benchmarks.md from what they print.

``python benchmarks/run.py [change scale …]`` runs ``benchmarks/bench_<name>.py`` one after the other, each in a process
of its own, and keeps the earlier section of one that was not run or that failed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make benchmarks`; every section says on which machine, when and with which versions it was made, and what
else the machine had to do. Figures of different sections are not to be compared. What misses its goal, and why, stands
in [what the figures say](benchmarks-notes.md).
"""


def known() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def sections() -> dict[str, str]:
    """Return what the page holds now, by benchmark."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    parts = re.split(r"^<!-- benchmark: (\w+) -->\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip("\n") for name, body in zip(parts[::2], parts[1::2], strict=True)}


def main(wanted: list[str]) -> int:
    """Run them and write the page; return how many failed."""
    kept, failed = sections(), 0
    for name in wanted or known():
        print(f"bench_{name} …", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, str(HERE / f"bench_{name}.py")], stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout)
        if done.returncode:
            print(f"bench_{name} ended with {done.returncode}; its last section is kept.", file=sys.stderr)
            failed += 1
        else:
            kept[name] = done.stdout.strip("\n")
        body = "\n".join(f"<!-- benchmark: {key} -->\n{kept[key]}\n" for key in known() if key in kept)
        PAGE.write_text(f"{HEAD}\n{body}", encoding="utf-8")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
