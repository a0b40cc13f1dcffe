"""A digest of what a checker's verdict rests on, by which the verdict of a prediction holds for the run after it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_model import digest_of

DEEPEST = 20


def seal(checker: dict[str, Any], program: str, current: str, generation: str) -> str:
    """Return the digest for a generation that is to be in the place of the one at ``current``.

    Of what is on disk it holds what stat(2) says, also of what links point to: another inode, size or time of change
    is another digest. Files outside of the checker's trees that a configuration names, such as certificates, are not
    in it.
    """
    parts = [json.dumps(checker, sort_keys=True), generation, *_seen(program, DEEPEST, "")]
    for tree in (*sorted(checker["trees"]), current):
        parts += _seen(tree, 0, os.path.dirname(current))
    return digest_of([part.encode("utf-8", "surrogateescape") for part in parts])


def _seen(path: str, depth: int, left_out: str) -> Iterator[str]:
    try:
        status = os.stat(path)
    except OSError:
        yield f"{path} {os.readlink(path) if os.path.islink(path) else ''}"
        return
    yield f"{path} {status.st_dev} {status.st_ino} {status.st_mode} {status.st_size} {status.st_ctime_ns}"
    if depth < DEEPEST and os.path.isdir(path):
        for name in sorted(os.listdir(path)):
            if f"{path}/{name}" != left_out:
                yield from _seen(f"{path}/{name}", depth + 1, left_out)
