"""All that the warm way knows of Ansible's inside: what to import, and what belongs to one run.

Ansible reads its configuration when it is imported. The parent is therefore started with the configuration of a run
whose directory exists nowhere else, and :func:`adopt` puts another run's directory in the place of that one. It refuses
a run whose configuration or environment differs in anything else, and :func:`leftovers` finds what it has forgotten.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import multiprocessing
import os
import secrets
import site
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The series that the tests of the warm way have passed on.
KNOWN = ("2.19.", "2.21.")
# Our own variables are read by our plugins, which no parent imports.
OWN_PREFIX = "WCP360_"
MODULES = (
    "ansible.cli.playbook",
    "ansible.executor.module_common",
    "ansible.executor.process.worker",
    "ansible.executor.task_executor",
    "ansible.module_utils.basic",
    "ansible.plugins.filter.core",
    "ansible.plugins.filter.encryption",
    "ansible.plugins.filter.mathstuff",
    "ansible.plugins.filter.urls",
    "ansible.plugins.filter.urlsplit",
    "ansible.plugins.test.core",
    "ansible.plugins.test.files",
    "ansible.plugins.test.mathstuff",
    "ansible.plugins.test.uri",
    "ansible.template",
    "multiprocessing.synchronize",
    "multiprocessing.queues",
    "multiprocessing.popen_fork",
)
PLUGINS = {
    "action": (
        "assert",
        "normal",
        "set_fact",
        "template",
        "copy",
        "package",
        "service",
        "include_vars",
        "debug",
        "gather_facts",
    ),
    "become": ("sudo",),
    "cache": ("memory",),
    "callback": ("default",),
    "connection": ("local", "ssh"),
    "inventory": ("yaml",),
    "lookup": ("file", "items", "list"),
    "shell": ("sh",),
    "strategy": ("linear", "free"),
    "vars": ("host_group_vars",),
}
# Of these every run loads all there are, to have read what their documentation says of settings.
ALL_OF = ("connection", "shell", "become")


class Unfit(Exception):
    """Why the warm way cannot be used, or not for this run."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What Ansible's configuration is made of, with the run's directory."""

    directory: str
    config: str
    environment: dict[str, str]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Inputs:
        """Read those of a run from its environment. Raises Unfit."""
        path = Path(environment.get("ANSIBLE_CONFIG", ""))
        try:
            config = path.read_text(encoding="utf-8")
        except OSError as error:
            raise Unfit(f"its configuration {path} cannot be read: {error.strerror}") from error
        kept = {name: value for name, value in environment.items() if not name.startswith(OWN_PREFIX)}
        return cls(str(path.parent), config, kept)

    def moved_to(self, directory: str) -> Inputs:
        """Return them as they would be for another run's directory."""
        environment = {name: value.replace(self.directory, directory) for name, value in self.environment.items()}
        # ansible-runner names a directory in it after the run.
        run, own = Path(directory).name, Path(self.directory).name
        environment = {name: value.replace(own, run) for name, value in environment.items()}
        return Inputs(directory, self.config.replace(self.directory, directory), environment)


@dataclass(frozen=True, slots=True)
class Preloaded:
    """The parent's own inputs, what says from which file a setting came, and the texts that modules took over."""

    inputs: Inputs
    origins: tuple[Any, ...]
    texts: tuple[tuple[dict[str, Any], str], ...]


def preload(inputs: Inputs) -> Preloaded:
    """Import what a run of our playbook needs. Raises Unfit where Ansible is another than the one known here."""
    version = importlib.import_module("ansible.release").__version__
    if not version.startswith(KNOWN):
        raise Unfit(f"ansible-core {version} is none that the warm way was tested with ({', '.join(KNOWN)})")
    for name in MODULES:
        importlib.import_module(name)
    loaders = _loaders()
    for kind, names in PLUGINS.items():
        for name in names:
            loaders[kind].get(name, class_only=True)
    for kind in ALL_OF:
        list(loaders[kind].all(class_only=True))
    for loader in loaders.values():
        loader._clear_caches()
    _keep_parsed_metadata()
    atexit.unregister(importlib.import_module("ansible.config.manager").cleanup_tmp_file)
    if threading.active_count() != 1:
        raise Unfit(f"importing Ansible has started threads: {[thread.name for thread in threading.enumerate()]}")
    return Preloaded(inputs, tuple(_origins(inputs.environment["ANSIBLE_CONFIG"])), tuple(_texts(inputs.directory)))


def adopt(preloaded: Preloaded, inputs: Inputs) -> None:
    """Make this process, whose environment is the run's by now, one that was started for the run. Raises Unfit."""
    base = preloaded.inputs
    expected = base.moved_to(inputs.directory)
    if expected.config != inputs.config:
        raise Unfit("its ansible.cfg differs from the parent's in more than the run's directory")
    if expected.environment != inputs.environment:
        odd = {key for key, _ in expected.environment.items() ^ inputs.environment.items()}
        raise Unfit(f"its environment differs from the parent's: {', '.join(sorted(odd))}")
    constants = importlib.import_module("ansible.constants")
    manager = constants.config
    manager._config_file = inputs.environment["ANSIBLE_CONFIG"]
    manager._parsers.clear()
    manager._get_ini_config_value.cache_clear()
    manager._parse_config_file()
    for name, value in list(vars(constants).items()):
        if name.isupper() and base.directory in repr(value):
            setattr(constants, name, manager.get_config_value(name, variables=vars(constants)))
    for names, name in preloaded.texts:
        names[name] = names[name].replace(base.directory, inputs.directory)
    for origin in preloaded.origins:
        object.__setattr__(origin, "path", manager._config_file)
    for loader in _loaders().values():
        loader.config = [path.replace(base.directory, inputs.directory) for path in loader.config]
        loader._clear_caches()
    _fresh_state()


def run_playbook(argv: list[str]) -> int:
    """Do what the program ansible-playbook does, to the end of its process; returns the exit status."""
    sys.argv = argv
    status: object = 0
    try:
        importlib.import_module("ansible.cli.playbook").main()
    except SystemExit as end:
        status = end.code
    except BaseException:  # as the interpreter does with what nobody catches
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if status is None or isinstance(status, int):
        return int(status or 0) & 0xFF
    os.write(2, f"{status}\n".encode())
    return 1


def leftovers(base: Inputs) -> list[str]:
    """Return what still refers to the directory that should have been replaced everywhere."""
    own = {id(base), id(base.environment)}
    found = []
    gc.collect()
    for holder in gc.get_objects():
        if id(holder) in own:
            continue
        for value in gc.get_referents(holder):
            if isinstance(value, str) and base.directory in value and value not in (base.directory, base.config):
                found.append(f"{_described(holder, value)} {str(value)[:200]!r}")
    return found


def _described(holder: Any, value: Any) -> str:
    keys = [key for key, kept in holder.items() if kept is value] if isinstance(holder, dict) else []
    name = holder.get("__name__", "") if isinstance(holder, dict) else ""
    return f"{type(holder).__module__}.{type(holder).__name__} {name} {keys}"


def _origins(path: str) -> list[Any]:
    kind = importlib.import_module("ansible._internal._datatag._tags").Origin
    found = []
    for known in gc.get_objects():
        if type(known) is kind and known.path == path:
            found.append(known)
    return found


def _texts(directory: str) -> list[tuple[dict[str, Any], str]]:
    """Return where Ansible's modules, but for its constants, keep plain texts with the directory."""
    return [
        (vars(module), name)
        for module_name, module in list(sys.modules.items())
        if module_name.startswith("ansible.") and module_name != "ansible.constants"
        for name, value in list(vars(module).items())
        if type(value) is str and directory in value
    ]


def _loaders() -> dict[str, Any]:
    module = importlib.import_module("ansible.plugins.loader")
    return {name.removesuffix("_loader"): loader for name, loader in module.get_all_plugin_loaders()}


def _fresh_state() -> None:
    """Make anew what every process has of its own."""
    variables: Any = importlib.import_module("ansible.utils.vars")
    variables.random_int = secrets.token_hex(4)
    variables.cur_id = 0
    tempfile.tempdir = None
    site.USER_BASE = site.USER_SITE = None  # they lie in the home directory; site finds them again when it is asked
    multiprocessing.current_process().authkey = os.urandom(32)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.reconfigure(line_buffering=number == 2 or os.isatty(number))  # type: ignore[union-attr]
    importlib.import_module("ansible.utils.display").Display()._set_column_width()


def _keep_parsed_metadata() -> None:
    """Parse the routing table of ansible.builtin once: it takes a sixth of the start of a run."""
    finder: Any = importlib.import_module("ansible.utils.collection_loader._collection_finder")
    plain = finder._meta_yml_to_dict
    path = Path(importlib.import_module("ansible.config").__file__ or "").with_name("ansible_builtin_runtime.yml")
    text = path.read_bytes()
    parsed = plain(text, ("ansible.builtin", "runtime.yml"))

    def quick(data: bytes | str, content_id: Any) -> Any:
        raw = data.encode() if isinstance(data, str) else data
        return parsed if raw == text else plain(data, content_id)

    finder._meta_yml_to_dict = quick
