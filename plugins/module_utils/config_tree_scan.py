"""What files that are not ours claim already: names in a configuration that is followed through its includes."""

from __future__ import annotations

import glob
import os
import re
from typing import Any

COMMENT = re.compile(r"(?m)(?:^|(?<=\s))#.*$")
# A configuration that includes itself must not keep a run busy for ever.
MOST_FILES = 20000


def foreign_claims(scan: dict[str, Any], overlay: list[dict[str, Any]], tree_path: str) -> dict[str, str]:
    """Return the claims found, each with the first file that has it.

    Our own tree and the overlay's files are left out.
    """
    include = re.compile(scan["include"], re.MULTILINE)
    patterns = [re.compile(pattern, re.MULTILINE) for pattern in scan["claims"]]
    ours = {change["path"] for change in overlay}
    base = os.path.dirname(scan["start"])
    claims: dict[str, str] = {}
    pending, seen = [scan["start"]], set()
    while pending and len(seen) < MOST_FILES:
        path = pending.pop(0)
        if path in seen or path in ours or path.startswith(tree_path + "/"):
            continue
        seen.add(path)
        text = COMMENT.sub("", _text(path))
        for pattern in patterns:
            for found in pattern.findall(text):
                for word in found.split():
                    claims.setdefault(word.strip("\"'").lower(), path)
        for found in include.findall(text):
            pending += sorted(glob.glob(os.path.join(base, found.strip().strip("\"'"))))
    return claims


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
