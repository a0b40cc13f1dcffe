"""Configuration: one TOML file, overridden by environment variables; unknown keys are refused.

The file is ``/etc/wcp360/wcp360.toml`` or what ``WCP360_CONFIG`` names. An environment variable is ``WCP360_``, the
section, two underscores and the key: ``WCP360_API__PORT=8443``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from wcp360.core.errors import FieldError, Invalid
from wcp360.core.fields import NodeName, Port
from wcp360.core.hostnames import normalise_hostname

PREFIX = "WCP360_"
DEFAULT_FILE = "/etc/wcp360/wcp360.toml"
DEFAULT_STATE_DIR = "/var/lib/wcp360-panel"
# Variables with the prefix that are not settings: the file itself, the CLI's own, and test hooks.
NOT_SETTINGS = frozenset({"CONFIG", "FAULT", "KILL_AT", "RUN", "OUTCOMES_FILE", "URL", "TOKEN_FILE", "MANIFEST"})

# Given in the environment as one text with commas.
_LISTS = frozenset({"allowed_origins", "name_servers"})


def _own_name(value: str) -> str:
    return normalise_hostname(value) if value else ""


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError("Give an absolute path")
    return value


Seconds = Annotated[float, Field(gt=0, le=86_400)]
OwnName = Annotated[str, AfterValidator(_own_name)]
AbsoluteDirectory = Annotated[Path, AfterValidator(_absolute)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiSettings(_Section):
    """How the API listens."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=8360, description="TCP port to listen on.")
    socket: str = Field(default="", description="Unix socket to listen on besides; empty for none.")
    threads: Annotated[int, Field(ge=4, le=512)] = Field(default=256, description="Requests served at the same time.")
    max_streams: Annotated[int, Field(ge=1, le=500)] = Field(default=220, description="Open event streams at most.")
    allowed_origins: tuple[str, ...] = Field(default=(), description="Origins from which browsers may open streams.")
    max_wait: Seconds = Field(default=600, description="Longest wait that a caller may ask for, in seconds.")


class EngineSettings(_Section):
    """How runs are made."""

    sweep: Seconds = Field(default=5, description="Look for forgotten work every so many seconds.")
    lease: Seconds = Field(default=30, description="A node's lease expires after so many seconds without renewal.")
    run_timeout: Seconds = Field(default=1800, description="A run is ended after so many seconds.")
    retry: Seconds = Field(default=5, description="First pause before a node is tried again; doubles up to 5 minutes.")
    workers: Annotated[int, Field(ge=1, le=64)] = Field(default=4, description="Nodes converged at the same time.")
    warm: bool = Field(default=False, description="Start runs from a process that has Ansible imported.")


class StorageSettings(_Section):
    """Where desired state is kept."""

    url: SecretStr = Field(
        default=SecretStr(""), description="As in postgresql://USER:PASSWORD@HOST/NAME; empty: SQLite in state_dir."
    )


class PanelSettings(_Section):
    """Names that belong to the panel itself and that no tenant may take."""

    hostname: OwnName = Field(default="", description="The panel's own host name; empty: none.")
    name_servers: tuple[OwnName, ...] = Field(default=(), description="The panel's name servers.")
    default_node: NodeName = Field(default="local", description="The node that serves a tenant when none is named.")

    def reserved_hostnames(self) -> frozenset[str]:
        """Return the names that no tenant may take, or lie below."""
        return frozenset(name for name in (self.hostname, *self.name_servers) if name)


class Settings(_Section):
    """The whole configuration."""

    state_dir: AbsoluteDirectory = Field(
        default=Path(DEFAULT_STATE_DIR), description="Where WCP360 keeps its own files."
    )
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="Least level to log.")
    panel: PanelSettings = PanelSettings()
    api: ApiSettings = ApiSettings()
    engine: EngineSettings = EngineSettings()
    storage: StorageSettings = StorageSettings()


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read file and environment. Raises Invalid with one entry per wrong or unknown key."""
    environ = os.environ if environ is None else environ
    path = Path(environ.get(PREFIX + "CONFIG", DEFAULT_FILE))
    values = _read(path, must_exist=PREFIX + "CONFIG" in environ)
    for name, value in environ.items():
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in NOT_SETTINGS:
            _override(values, name.removeprefix(PREFIX).lower().split("__"), value)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _invalid(error, path) from error


def _read(path: Path, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise Invalid(f"There is no configuration file {path}; correct WCP360_CONFIG or make the file.") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise Invalid(f"The configuration file {path} cannot be read: {error.strerror}.") from error


def _override(values: dict[str, Any], keys: list[str], value: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise Invalid(
                f"The setting {key!r} is a section; give its keys, as in [{key}] or WCP360_{key.upper()}__KEY."
            )
    parts = [part.strip() for part in value.split(",") if part.strip()]
    values[keys[-1]] = parts if keys[-1] in _LISTS else value


def _invalid(error: ValidationError, path: Path) -> Invalid:
    errors = tuple(
        FieldError(".".join(str(part) for part in entry["loc"]), entry["msg"], entry["type"])
        for entry in error.errors(include_input=False, include_url=False)
    )
    listed = "; ".join(f"{e.field}: {e.message}" for e in errors)
    return Invalid(f"The configuration ({path} and WCP360_ variables) is not valid: {listed}.", errors=errors)
