"""``wcp360 init``: everything that a server needs before its first start. Each step looks first."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from wcp360.cli.place import TOKEN_FILE
from wcp360.core.actor import SYSTEM
from wcp360.core.config import Settings
from wcp360.core.errors import Conflict, Unavailable
from wcp360.core.ids import new_id
from wcp360.core.resources import Ref
from wcp360.core.submit import Asked

if TYPE_CHECKING:
    from wcp360.storage import SqlStore
    from wcp360.wiring import System

TOKEN = "root"  # noqa: S105 - the name of the token
NODE = "local"


def open_store(settings: Settings) -> SqlStore:
    """Return the store of an existing state directory. Raises Conflict where there is none."""
    from wcp360.wiring import build

    if not settings.state_dir.is_dir():
        raise Conflict(
            f"There is no state directory {settings.state_dir}; run `wcp360 init` first.", code="not_initialised"
        )
    return build(settings).store


def initialise(settings: Settings, with_node: bool = True) -> list[str]:
    """Set up the state directory. Returns a sentence for each thing done; none on a second time."""
    from wcp360.storage import migrate
    from wcp360.wiring import build

    done = _directory(settings.state_dir)
    system = build(settings)
    done += [f"Database migrated: {name}." for name in migrate(system.store)]
    done += _token(system, settings.state_dir / TOKEN_FILE)
    done += _ssh_key(settings.state_dir / "ssh")
    if with_node:
        done += _node(system)
    system.store.close()
    return done


def _directory(path: Path) -> list[str]:
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        return _private(path)
    except OSError as error:
        raise Unavailable(
            f"{path} cannot be made ({error.strerror}); run this as root or set WCP360_STATE_DIR."
        ) from error
    return [f"State directory made: {path}."]


def _private(path: Path) -> list[str]:
    found = path.stat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
        raise Conflict(
            f"{path} is not a directory of this user; run this as its owner, or set WCP360_STATE_DIR.", code="foreign"
        )
    if stat.S_IMODE(found.st_mode) == 0o700:
        return []
    path.chmod(0o700)
    return [f"{path} was open to others; its mode is 0700 now."]


def _token(system: System, path: Path) -> list[str]:
    """Keep a token that works. A lost or broken file is replaced, and the token that it held is revoked.

    Machines that share a database have one each.
    """
    name = f"{TOKEN}@{socket.gethostname()}" if system.store.shared else TOKEN
    if path.exists() and system.tokens.verify(path.read_text(encoding="ascii", errors="replace").strip()) is not None:
        return []
    for token in system.tokens.list():
        if token.name == name and token.revoked is None:
            system.tokens.revoke(token.id)
    created = system.tokens.create(name, ["*"], None)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(created.text + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return [f"Root token written to {path} (mode 0600)."]


def _ssh_key(directory: Path) -> list[str]:
    key = directory / "id_ed25519"
    if key.exists():
        return []
    directory.mkdir(mode=0o700, exist_ok=True)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "wcp360", "-f", str(key)]
    try:
        subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except FileNotFoundError:
        return ["No SSH key was made, because ssh-keygen is missing; nodes other than `local` need openssh-client."]
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"ssh-keygen failed: {error.stderr.decode(errors='replace').strip()}") from error
    return [f"SSH key for nodes made; let them trust {key}.pub."]


def _node(system: System) -> list[str]:
    """Declare this machine. It goes through the one door, so it is audited and converged like any other node."""
    with system.store.read() as state:
        if state.find(Ref("node", NODE)) is not None or state.page("node").items:
            return []
    operation = system.registry.operation("node.create")
    given = operation.input.model_validate({"name": NODE, "connection": "local"})
    system.door.submit(Asked(operation, given, SYSTEM, new_id()))
    return ["Node `local` declared: `wcp360 serve` will set up its base."]
