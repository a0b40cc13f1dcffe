"""A scratch copy of a service's configuration in which its own checker can judge without touching anything real."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import subprocess
import tempfile
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_model import (
    Content,
    Unread,
    digest_of,
)

PREFIX = "wcp360-check-"
MEMORY = ("/run", "/dev/shm")  # noqa: S108  only a directory of our own in it is used, made by mkdtemp
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Larger files (GeoIP tables, dhparam collections) are linked to: they hold no paths and copying them costs time.
LARGEST_COPY = 1024 * 1024
CHECK_SECONDS = 120
MESSAGE_LIMIT = 2000


class Rewriter:
    """Finds the paths in a configuration's text that a scratch copy leads into itself."""

    def __init__(self, checker: dict[str, Any], tree_path: str) -> None:
        # In an order that every process agrees on: the digest is compared with that of an earlier call.
        found = {*checker["trees"], *checker["redirect"], tree_path}
        prefixes = sorted(found, key=lambda prefix: (-len(prefix), prefix))
        words = "|".join(re.escape(prefix.rstrip("/")) for prefix in prefixes)
        # What is opened in its place must be there already: otherwise the checker would make it.
        kept = [path for path in checker.get("keep") or [] if os.path.exists(path)]
        but = f"(?!(?:{'|'.join(map(re.escape, kept))})(?=[\\s;\"']))" if kept else ""
        text = rf"(?<![\w./-]){but}((?:{words})(?=[/\s;\"'),:]|$)[^\s;\"'{{}}()]*)"
        self.paths = re.compile(text.encode(), re.MULTILINE)
        self.digest = digest_of([text.encode()])

    def finds(self, data: bytes) -> bool:
        """Tell whether there is anything to rewrite."""
        return self.paths.search(data) is not None


class Scratch:
    """A private directory with copies of the checker's trees; paths inside of their text lead into it.

    Use it as a context manager: it is removed at the end, and what a killed run left is removed at the next start.
    """

    def __init__(self, checker: dict[str, Any], tree_path: str) -> None:
        self.checker = checker
        self.tree_path = tree_path
        self.staged: dict[str, Content | Unread] = {}
        self.rewriter = Rewriter(checker, tree_path)
        # Whether files that are known to hold nothing to rewrite are linked to instead of copied.
        self.links = False
        self._made: set[str] = set()

    @property
    def binary(self) -> str:
        """Return the checker's program, empty when the service is not installed."""
        return shutil.which(self.checker["argv"][0], path=SEARCH_PATH) or ""

    def __enter__(self) -> Scratch:
        remove_leftovers()
        while (made := _made()) is None:
            pass
        self.root, self._lock = made
        try:
            self._copy_trees()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_details: object) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)

    @property
    def staged_path(self) -> str:
        """Return where the staged generation lies."""
        return f"{self.root}{self.tree_path}/current"

    def check(self, files: dict[str, Content | Unread]) -> str:
        """Return what the checker says against the configuration with these files, empty when it takes it."""
        self._stage(files)
        argv = [self.binary, *(self._expand(word) for word in self.checker["argv"][1:])]
        return self._run(argv)

    def check_file(self, relative: str) -> str:
        """Return what the checker says against one staged file, for checkers that take a file (``{file}``)."""
        return self._run_on(os.path.join(self.staged_path, relative))

    def check_together(self, relatives: list[str]) -> str:
        """Return what the checker says against staged files that one file takes in, line by line."""
        lines = [self.checker["together"].replace("{file}", f"{self.staged_path}/{name}") for name in relatives]
        path = os.path.join(self.root, "together")
        self._write(path, "\n".join([*lines, ""]).encode())
        return self._run_on(path)

    def _run_on(self, path: str) -> str:
        words = [self._expand(word).replace("{file}", path) for word in self.checker["argv"][1:]]
        return self._run([self.binary, *words])

    def stage(self, files: dict[str, Content | Unread]) -> None:
        """Put these files into the staged generation without checking."""
        self._stage(files)

    def _run(self, argv: list[str]) -> str:
        environment = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "TMPDIR": self.root}
        try:
            done = subprocess.run(
                argv,
                cwd=self.root,
                env=environment,
                timeout=CHECK_SECONDS,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{argv[0]} gave no answer within {CHECK_SECONDS} seconds."
        if done.returncode == 0:
            return ""
        said = done.stdout.decode("utf-8", "replace").strip()[-MESSAGE_LIMIT:]
        return said or f"{argv[0]} ended with {done.returncode} and said nothing."

    def readable(self, message: str) -> str:
        """Return a message of the checker with the real paths in place of the scratch ones."""
        return message.replace(self.root, "")

    def named_files(self, message: str) -> list[str]:
        """Return the relative paths of staged files that a message names, in its order."""
        found = re.findall(re.escape(self.staged_path) + r"/([A-Za-z0-9._@+/-]+)", message)
        return list(dict.fromkeys(name.rstrip(".") if name not in self.staged else name for name in found))

    def _stage(self, files: dict[str, Content | Unread]) -> None:
        for relative in self.staged.keys() - files.keys():
            os.unlink(os.path.join(self.staged_path, relative))
        for relative, content in files.items():
            if self.staged.get(relative) == content:
                continue
            path = f"{self.staged_path}/{relative}"
            if self.links and isinstance(content, Unread) and content.plain:
                self._directory(path)
                os.symlink(content.path, path)
            else:
                self._write(path, self._rewrite(content.data))
        os.makedirs(self.staged_path, exist_ok=True)
        self.staged = dict(files)

    def _copy_trees(self) -> None:
        for prefix in self.checker["redirect"]:
            os.makedirs(self.root + prefix, exist_ok=True)
        for tree in self.checker["trees"]:
            self._copy(tree, depth=0)
        for change in self.checker["overlay"]:
            self._overlay(change)

    def _overlay(self, change: dict[str, Any]) -> None:
        target = self.root + change["path"]
        if change.get("unless") and self.mentions(change["unless"]):
            return
        if os.path.lexists(target):
            os.unlink(target)
        if not change["absent"]:
            self._write(target, self._rewrite(self._expand(change["content"] or "").encode()))

    def mentions(self, pattern: str) -> bool:
        """Return whether a file of the copied trees has a line that matches."""
        wanted = re.compile(pattern.encode(), re.MULTILINE)
        for tree in self.checker["trees"]:
            for directory, _subdirectories, files in os.walk(self.root + tree):
                for name in files:
                    data = _regular(os.path.join(directory, name))
                    if data is not None and wanted.search(data):
                        return True
        return False

    def _expand(self, text: str) -> str:
        return text.replace("{root}", self.root).replace("{path}", self.staged_path)

    def _copy(self, source: str, depth: int) -> None:
        if source == self.tree_path or depth > 20:
            return
        target = self.root + source
        try:
            status = os.stat(source)
        except FileNotFoundError:
            if os.path.islink(source):
                os.symlink(os.readlink(source), target)
            return
        if stat.S_ISDIR(status.st_mode):
            os.makedirs(target, exist_ok=True)
            for name in sorted(os.listdir(source)):
                self._copy(os.path.join(source, name), depth + 1)
        elif stat.S_ISREG(status.st_mode):
            self._copy_file(source, target, status.st_size)

    def _copy_file(self, source: str, target: str, size: int) -> None:
        if size > LARGEST_COPY:
            os.symlink(os.path.realpath(source), target)
            return
        with open(source, "rb") as stream:
            data = stream.read()
        self._write(target, data if b"\0" in data else self._rewrite(data))

    def _rewrite(self, data: bytes) -> bytes:
        return self.rewriter.paths.sub(self._redirected, data)

    def _redirected(self, match: re.Match[bytes]) -> bytes:
        path = match.group(1)
        literal = path.split(b"$")[0].split(b"*")[0].decode("utf-8", "surrogateescape")
        os.makedirs(self.root + os.path.dirname(literal), exist_ok=True)
        return self.root.encode() + path

    def _directory(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent not in self._made:
            os.makedirs(parent, exist_ok=True)
            self._made.add(parent)

    def _write(self, path: str, data: bytes) -> None:
        self._directory(path)
        if os.path.islink(path):
            os.unlink(path)
        with open(path, "wb") as stream:
            stream.write(data)


def _parent() -> str:
    # In memory, where thousands of files cost next to nothing. The directory itself is nobody else's in any case.
    places = [place for place in MEMORY if os.path.ismount(place) and os.access(place, os.W_OK)]
    return [*places, tempfile.gettempdir()][0]


def _made() -> tuple[str, int] | None:
    """Make a private directory and lock it; None when another run took it for a leftover before it was locked."""
    path = tempfile.mkdtemp(prefix=PREFIX, dir=_parent())
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
                return path, descriptor
        os.close(descriptor)
    return None


def remove_leftovers() -> None:
    """Remove the scratch directories of runs that were killed; those in use hold a lock and stay."""
    for directory in sorted({_parent(), tempfile.gettempdir()}):
        for name in os.listdir(directory):
            if name.startswith(PREFIX):
                _remove_leftover(os.path.join(directory, name))


def _remove_leftover(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def _regular(path: str) -> bytes | None:
    if not os.path.isfile(path) or os.path.getsize(path) > LARGEST_COPY:
        return None
    with open(path, "rb") as stream:
        return stream.read()
