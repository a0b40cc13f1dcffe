"""A real PostgreSQL for tests: Debian's programs, a server of our own in a temporary directory, no TCP port."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

PROGRAMS = Path("/usr/lib/postgresql")
# Speed only: the tests kill clients, never the operating system.
RELAXED = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def program(name: str) -> Path | None:
    """Return one of the server's programs in its newest version, or None where Debian's package is not installed."""
    found = sorted(PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return found[-1] if found else None


class Server:
    """A running server; ``url(database)`` is what storage.url takes."""

    def __init__(self, directory: Path, password: str) -> None:
        self.directory, self._password = directory, password
        self._count = 0

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://panel:{self._password}@/{database}?host={self.directory}"

    def create(self, template: str = "template0") -> str:
        """Make a database and return its name. Its locale is not C: what relies on that has to say so itself."""
        self._count += 1
        name = f"db{self._count}"
        locale = "" if template != "template0" else " LC_COLLATE 'en_US.UTF-8' LC_CTYPE 'en_US.UTF-8'" * _has_locale()
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'{locale}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, also one that is in use."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def run(self, statement: str) -> None:
        """Run a statement outside the databases of the tests."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


def _has_locale() -> bool:
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout
    return "en_US.utf8" in known.split()


@contextlib.contextmanager
def serving(settings: dict[str, str] = RELAXED) -> Iterator[Server]:
    """Run a server as an unprivileged user; it is stopped and removed in the end."""
    directory = Path(tempfile.mkdtemp(prefix="wcp360-pg-"))
    password = secrets.token_urlsafe(24)
    user = _user(directory)
    (directory / "password").write_text(password)
    (directory / "password").chmod(0o600)
    if user:
        shutil.chown(directory / "password", user)
    data = str(directory / "data")
    try:
        _as(user, "initdb", "-D", data, "-U", "panel", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8",
            "--pwfile", str(directory / "password"))  # fmt: skip
        options = [
            f"-c {name}={value}" for name, value in (settings | {"listen_addresses": "", "port": "5432"}).items()
        ]
        options += [f"-c unix_socket_directories={directory}"]
        log = str(directory / "log")
        _as(user, "pg_ctl", "-D", data, "-w", "-t", "60", "-l", log, "-o", " ".join(options), "start")
        try:
            yield Server(directory, password)
        finally:
            _as(user, "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _user(directory: Path) -> str:
    """PostgreSQL refuses to run as root; Debian's package has a user for it."""
    if os.geteuid() != 0:
        return ""
    name = pwd.getpwnam("postgres").pw_name
    shutil.chown(directory, name)
    directory.chmod(0o755)
    return name


def _as(user: str, name: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(program(name)), *arguments],
        user=user or None, group=user or None, extra_groups=[] if user else None,
        cwd="/", env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


class Databases:
    """Migrated databases on one server, each a copy of the first, which costs a tenth of a second."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._template = ""

    def fresh(self) -> str:
        """Make a migrated database and return its name."""
        if not self._template:
            self._template = self.server.create()
            _migrate(self.server.url(self._template))
        return self.server.create(self._template)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Return a PostgreSQL server for this test process; it starts when the first test asks for it."""
    if program("initdb") is None:
        pytest.skip("Debian's package postgresql is not installed.")
    with serving() as server:
        yield Databases(server)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a fresh, migrated database of each kind."""
    if request.param == "sqlite":
        where = f"sqlite:///{tmp_path}/wcp360.db"
        _migrate(where)
        yield where
        return
    databases: Databases = request.getfixturevalue("databases")
    name = databases.fresh()
    try:
        yield databases.server.url(name)
    finally:
        databases.server.drop(name)


def _migrate(url: str) -> None:
    from wcp360.storage import SqlStore, migrate

    store = SqlStore(url)
    migrate(store)
    store.close()
