"""Where the server is and which token opens it: environment first, then the configuration file, then defaults.

The configuration is read here with the standard library alone, because its model costs more to import than most
commands take; the server is who checks it.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wcp360.cli.exits import Exit, Failure

# The same defaults as wcp360.core.config has; a test compares them.
CONFIG_FILE = "/etc/wcp360/wcp360.toml"
STATE_DIR = "/var/lib/wcp360-panel"
HOST, PORT = "127.0.0.1", 8360
TOKEN_FILE = "root.token"  # noqa: S105 - a file name
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how a server on all addresses is reached
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Place:
    """``socket`` is a path or empty; ``host``, ``port`` and ``tls`` count where it is empty."""

    host: str
    port: int
    tls: bool
    socket: str
    state_dir: Path
    token_file: Path | None

    def __str__(self) -> str:
        if self.socket:
            return self.socket
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def token(self) -> str:
        """Return the token, or raise Failure that says where one is looked for."""
        candidates = [self.token_file] if self.token_file else [self.state_dir / TOKEN_FILE, _own_token()]
        for path in candidates:
            text = _read_token(path)
            if text:
                return text
        places = " or ".join(str(path) for path in candidates)
        raise Failure(
            f"There is no token in {places} that this user can read. Run this as the user who ran `wcp360 init`, "
            "or name a token file in WCP360_TOKEN_FILE.",
            Exit.NOT_ALLOWED,
        )


def find_place(environ: Mapping[str, str] | None = None) -> Place:
    """Work out where the server is. Raises Failure where the settings cannot be read."""
    env = os.environ if environ is None else environ
    config = _config(env)
    api = config.get("api", {}) if isinstance(config.get("api"), dict) else {}
    state_dir = Path(env.get("WCP360_STATE_DIR") or str(config.get("state_dir", STATE_DIR)))
    token_file = Path(env["WCP360_TOKEN_FILE"]) if env.get("WCP360_TOKEN_FILE") else None
    if env.get("WCP360_URL"):
        host, port, tls, socket = _from_url(env["WCP360_URL"])
    else:
        host = str(env.get("WCP360_API__HOST") or api.get("host", HOST))
        port = _port(str(env.get("WCP360_API__PORT") or api.get("port", PORT)))
        socket = str(env.get("WCP360_API__SOCKET") or api.get("socket", ""))
        host, tls = _ANY.get(host, host), False
    return Place(host, port, tls, socket, state_dir, token_file)


def _config(env: Mapping[str, str]) -> dict[str, Any]:
    path = Path(env.get("WCP360_CONFIG") or CONFIG_FILE)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, PermissionError):
        # A user without rights on the server's configuration still reaches it by WCP360_URL or the default.
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{path} is not valid TOML: {error}.", Exit.USAGE) from error


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise Failure(f"{text!r} is not a TCP port; give a number from 1 to 65535.", Exit.USAGE)
    return int(text)


def _from_url(url: str) -> tuple[str, int, bool, str]:
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return HOST, PORT, False, parts.path
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/"):
        raise Failure(
            f"WCP360_URL is {url!r}; give http://HOST:PORT, https://HOST:PORT or unix:///PATH/OF/SOCKET.", Exit.USAGE
        )
    tls = parts.scheme == "https"
    if not tls and host not in _LOOPBACK:
        raise Failure(
            f"WCP360_URL is plain HTTP to {host}: the token would travel in clear text. Use https, or a tunnel "
            "(`ssh -L 8360:127.0.0.1:8360 HOST`) and http://127.0.0.1:8360.",
            Exit.USAGE,
        )
    return host, port or (443 if tls else PORT), tls, ""


def _own_token() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "wcp360" / "token"


def _read_token(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise Failure(f"{path} can be read by others; run `chmod 600 {path}`.", Exit.NOT_ALLOWED)
            return file.read(1000).strip()
    except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError):
        return ""
    except UnicodeDecodeError as error:
        raise Failure(f"{path} does not hold a token.", Exit.NOT_ALLOWED) from error
