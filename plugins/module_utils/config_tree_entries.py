"""Files outside of a tree by which a service finds it, such as nginx's conf.d/wcp360.conf."""

from __future__ import annotations

import os
import stat
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_model import (
    Content,
    wanted_files,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_store import (
    TEMPORARY,
    read_content,
    replace_file,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemError, entry_line


class Entries:
    """The wanted entry files and what is there of them. Raises ItemError when one in the way is not ours.

    ``leftovers`` are the files that a killed run left beside them, each with the line that stands for it.
    """

    def __init__(self, specs: list[dict[str, Any]]) -> None:
        self.wanted: dict[str, Content] = {}
        for spec in specs:
            content = next(iter(wanted_files([{**spec, "path": "entry"}]).values()))
            self.wanted[spec["path"]] = content
        self.present = {path: self._present(path, content) for path, content in self.wanted.items()}
        beside = {path + TEMPORARY: _leftover(path + TEMPORARY) for path in self.wanted}
        self.leftovers = {path: line for path, line in beside.items() if line}

    @property
    def changing(self) -> list[str]:
        """Return the paths whose content, mode or owner differs."""
        return [path for path, content in self.wanted.items() if self.present[path] != content]

    def overlay(self) -> list[dict[str, Any]]:
        """Return the entries as changes to a scratch copy."""
        return [
            {"path": path, "content": content.data.decode(), "absent": False, "unless": None}
            for path, content in self.wanted.items()
        ]

    def write(self) -> None:
        """Write what differs, each file by one rename."""
        self._clear()
        for path in self.changing:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            replace_file(path, self.wanted[path])

    def remove(self) -> None:
        """Take away what is there of them."""
        for path, content in self.present.items():
            if content is not None:
                os.unlink(path)
        self._clear()

    def _clear(self) -> None:
        for path in self.leftovers:
            os.unlink(path)

    @staticmethod
    def _present(path: str, wanted: Content) -> Content | None:
        present = read_content(path)
        if present is None and not os.path.lexists(path):
            return None
        if present is None or _first_line(present) != _first_line(wanted):
            raise ItemError(f"{path} is in the way: WCP360 did not write it. Move it away, then retry.")
        return present


def _first_line(content: Content) -> bytes:
    return content.data.split(b"\n", 1)[0]


def _leftover(path: str) -> str:
    """Return the line for what is at the temporary path of an entry, empty where nothing, or a directory, is."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if stat.S_ISDIR(found.st_mode):
        return ""
    return entry_line("file", stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
