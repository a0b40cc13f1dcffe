"""Which items a service's own checker takes: all at once where it can, otherwise found by name or by halving."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_model import (
    Content,
    Generation,
    Wanted,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_scratch import Scratch

# So many files are checked one by one where they do not pass together: halving them further takes as many runs.
FEW = 6
Compose = Callable[[Iterable[str]], Generation]


class Judge:
    """Finds the items that make the checker refuse the configuration. Never blames an item that passes alone."""

    def __init__(self, scratch: Scratch, compose: Compose, foreign: dict[str, Content], service: str) -> None:
        self.scratch = scratch
        self.compose = compose
        self.foreign = foreign
        self.service = service

    def refused(self, candidates: list[str], before: Generation) -> dict[str, str]:
        """Return a sentence for each refused item; under the empty key what speaks against everything else."""
        refused: dict[str, str] = {}
        pending = list(candidates)
        message = self._check(pending)
        if message:
            base = self._check([])
            if base:
                return {"": self._sentence(base, " even without the items that change")}
        while message:
            culprit, message = self._culprit(pending, message)
            refused[culprit] = self._sentence(message)
            pending.remove(culprit)
            message = self._check(pending)
        return refused

    def refused_alone(self, candidates: list[str], wanted: dict[str, Wanted]) -> dict[str, str]:
        """Check items' files apart from each other, for checkers that take one file."""
        self.scratch.stage(self.foreign | self.compose(candidates).files)
        refused: dict[str, str] = {}
        for key in self._suspects(candidates, wanted):
            for relative in wanted[key].files:
                message = self.scratch.check_file(relative)
                if message:
                    refused[key] = self._sentence(message)
                    break
        return refused

    def _suspects(self, keys: list[str], wanted: dict[str, Wanted]) -> list[str]:
        """Leave out the items that pass together; only those that are left are worth a run each."""
        if len(keys) <= 1 or not self.scratch.checker.get("together"):
            return keys
        if not self.scratch.check_together([relative for key in keys for relative in wanted[key].files]):
            return []
        if len(keys) <= FEW:
            return keys
        middle = len(keys) // 2
        return self._suspects(keys[:middle], wanted) + self._suspects(keys[middle:], wanted)

    def _check(self, keys: list[str]) -> str:
        return self.scratch.check(self.foreign | self.compose(keys).files)

    def _culprit(self, pending: list[str], message: str) -> tuple[str, str]:
        owners = self.compose(pending).owners
        named = [owners.get(path) for path in self.scratch.named_files(message)]
        for key in named:
            if key in pending:
                alone = self._check([key])
                if alone:
                    return key, alone
        return self._halve(pending, message)

    def _halve(self, pending: list[str], message: str) -> tuple[str, str]:
        # The first `good` items pass together, the first `bad` do not.
        good, bad = 0, len(pending)
        while bad - good > 1:
            middle = (good + bad) // 2
            said = self._check(pending[:middle])
            if said:
                bad, message = middle, said
            else:
                good = middle
        return pending[bad - 1], message

    def _sentence(self, message: str, addition: str = "") -> str:
        said = re.sub(r"\s*\n\s*", " | ", self.scratch.readable(message))
        return f"{self.service} refuses the configuration{addition}: {said}"
