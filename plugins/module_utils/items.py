"""What every list-taking Ansible module of this collection shares: item results, steps and the node's lock.

A module plans the steps of each item first and then either reports them (check mode) or applies them, so
that a dry run and the run after it share every line up to the last. A bad item fails alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.faults import point

RUN_DIR = "/run/wcp360"
LOCK_FILE = RUN_DIR + "/node.lock"


# What a server has too little of for everybody, and what may be otherwise a moment later: no fault of an item.
PASSING = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
WRITTEN = ("/etc", "/var", "/run")
# Less than this is a full file system: the next file may not fit.
ROOM_BYTES = 2**20


class ItemError(Exception):
    """One item cannot be converged; the message is a sentence for people and names the path or object."""


def entry_line(kind: str, mode: int, uid: int, gid: int) -> str:
    """Return the line that stands for a directory or a file in a difference: all but what is in it."""
    return f"{kind} {mode:04o} {uid}:{gid}\n"


@dataclass
class Step:
    """One difference between what is and what is wanted, and the action that removes it."""

    before_header: str
    before: str
    after: str
    apply: Callable[[], None]
    after_header: str = ""

    def diff(self) -> dict[str, str]:
        """Return the difference in the form that Ansible prints with ``--diff``."""
        return {
            "before_header": self.before_header,
            "after_header": self.after_header or self.before_header,
            "before": self.before,
            "after": self.after,
        }


@dataclass
class ItemResult:
    """The outcome of one item, as the module returns it in ``items``."""

    id: str
    changed: bool = False
    failed: bool = False
    msg: str = ""
    diff: list[dict[str, str]] = field(default_factory=list)
    not_checked: str = ""
    retry: bool = False

    def fail(self, message: str) -> None:
        """Mark the item as failed with a sentence that says why."""
        self.failed = True
        self.msg = message


@contextmanager
def node_lock(timeout: float, path: str = LOCK_FILE) -> Iterator[None]:
    """Hold the node's exclusive lock, so that what is left of a killed run ends before the next one writes.

    ``timeout`` is in seconds. Raises TimeoutError when another run keeps the lock longer, and BrokenPipeError when
    whoever called this program was killed meanwhile: its successor may have done newer work already.
    """
    descriptor = _locked_file(path, time.monotonic() + timeout)
    try:
        if _is_abandoned():
            raise BrokenPipeError("Whoever called this was ended before it began. Nothing was done.")
        yield
    finally:
        # Nothing is left on the node: who waits notices that its file is not the one at the path any more.
        os.unlink(path)
        with suppress(OSError):  # there are records of running processes in it
            os.rmdir(os.path.dirname(path))
        os.close(descriptor)


def _is_abandoned() -> bool:
    """Tell whether nobody reads our output any more; SSH's server closes it when the client is gone."""
    output = select.poll()
    output.register(1, 0)
    return any(state & (select.POLLERR | select.POLLHUP) for descriptor, state in output.poll(0))


def _locked_file(path: str, deadline: float) -> int:
    """Return a descriptor of the file at ``path`` with its lock held. Raises TimeoutError after ``deadline``."""
    while (descriptor := _try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"Another run still works on this node: it holds {path}. Wait for it to end, then retry."
            )
        time.sleep(0.05)
    return descriptor


def _try_lock(path: str) -> int | None:
    """Lock the file at ``path``; None when another holds it, or took it away while it was opened."""
    with suppress(FileExistsError):
        os.makedirs(os.path.dirname(path), mode=0o755)
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
    return None


def converge_items(
    module: Any, plan: Callable[[dict[str, Any]], list[Step]], extra: Callable[[], dict[str, Any]] = dict
) -> None:
    """Plan every item of ``module.params['items']``, apply the steps unless in check mode, and exit.

    ``plan`` returns the steps for one item, in order, and raises ItemError where the item cannot be converged.
    ``extra`` is asked at the end for further return values.
    """
    results = _converged(module, module.params["items"], plan)
    finish(module, results, **extra())


def converge_as_one(module: Any, plan: Callable[[dict[str, Any]], list[Step]]) -> None:
    """Converge the module's parameters as its only item, and fail as a task where that fails: nothing goes on then."""
    (result,) = _converged(module, [module.params], plan)
    if result.failed:
        module.fail_json(msg=result.msg)
    finish(module, [result])


def _converged(
    module: Any, specs: list[dict[str, Any]], plan: Callable[[dict[str, Any]], list[Step]]
) -> list[ItemResult]:
    with nullcontext() if module.check_mode else lock_or_fail(module):
        return [_converge_one(spec, plan, apply=not module.check_mode) for spec in specs]


@contextmanager
def lock_or_fail(module: Any) -> Iterator[None]:
    """Hold the node's lock for ``module``, or end the module with the sentence that says who has it."""
    if getattr(module, "has_lock", False):  # a step: the call that it is a part of holds the lock
        yield
        return
    with _failing(module), node_lock(module.params.get("lock_timeout") or 60):
        yield


@contextmanager
def _failing(module: Any) -> Iterator[None]:
    try:
        yield
    except (TimeoutError, BrokenPipeError) as error:
        module.fail_json(msg=str(error))


def _converge_one(spec: dict[str, Any], plan: Callable[[dict[str, Any]], list[Step]], apply: bool) -> ItemResult:
    result = ItemResult(id=spec["id"])
    try:
        steps = plan(spec)
        result.diff = [step.diff() for step in steps]
        for step in steps if apply else ():
            point("item.before_step")
            step.apply()
        result.changed = bool(steps)
    except (ItemError, OSError) as error:
        result.fail(str(error))
        result.retry = getattr(error, "errno", None) in PASSING
    return result


def finish(module: Any, results: list[ItemResult], **extra: Any) -> None:
    """End the module with the results of all items; it never fails because of one of them.

    Whatever failed on a node that cannot be written to may go well later: a program that was called for it, or a
    checker, says that in words of its own.
    """
    trouble = _trouble() if any(result.failed and not result.retry for result in results) else ""
    for result in results:
        if trouble and result.failed and not result.retry:
            result.retry = True
            result.msg = f"{trouble} {result.msg}"
    diff = [entry for result in results for entry in result.diff]
    module.exit_json(
        changed=any(result.changed for result in results),
        items=[asdict(result) for result in results],
        diff=diff if module._diff else [],
        **extra,
    )


def _trouble() -> str:
    """Return what is wrong with the file systems that everything is written to, as a sentence; mostly nothing."""
    for path in WRITTEN:
        state = os.statvfs(path)
        if state.f_flag & os.ST_RDONLY:
            return f"The file system of {path} is read-only."
        if state.f_blocks and state.f_bfree * state.f_frsize < ROOM_BYTES:
            return f"The file system of {path} is full."
    return ""
