"""Which container engine there is, and how it must be called here."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from .common import HostsError, locked, run, succeeds

NETWORK = "wcp360-tests"


@dataclass(frozen=True)
class Engine:
    """A container engine as this machine has to call it."""

    name: str  # podman | docker
    runtime: str  # "" = the engine's own choice
    rootless: bool

    def argv(self, *words: str) -> list[str]:
        """The command line of one engine call."""
        runtime = ["--runtime", self.runtime] if self.runtime and self.name == "podman" else []
        return [self.name, *runtime, *words]

    @property
    def direct(self) -> bool:
        """Whether a container's own address can be reached from here (otherwise ports are published on 127.0.0.1)."""
        return not self.rootless and sys.platform == "linux"

    def has_image(self, image: str) -> bool:
        """Whether the engine's storage holds this image."""
        return succeeds(self.argv("image", "inspect", image))


def _hybrid_cgroups() -> bool:
    """cgroup v1 with the unified tree beside it: crun refuses it."""
    return Path("/sys/fs/cgroup/unified").is_dir() or not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def find_engine() -> Engine:
    """The engine to use: $WCP360_TEST_ENGINE, else podman, else docker.

    Raises HostsError with the reason when none works.
    """
    wanted = os.environ.get("WCP360_TEST_ENGINE", "")
    reasons = []
    for name in [wanted] if wanted else ["podman", "docker"]:
        if not shutil.which(name):
            reasons.append(f"{name} is not installed")
        elif not succeeds([name, "info"]):
            reasons.append(f"`{name} info` fails")
        else:
            return _describe(name)
    raise HostsError(f"no container engine works here ({'; '.join(reasons)}): install podman and runc, or docker")


def _describe(name: str) -> Engine:
    if name == "docker":
        options = run(["docker", "info", "--format", "{{json .SecurityOptions}}"])
        return Engine("docker", "", "rootless" in options)
    runtime = ""
    if sys.platform == "linux" and _hybrid_cgroups():
        if not shutil.which("runc"):
            raise HostsError("cgroup v1 or hybrid here, which crun refuses: install runc")
        runtime = "runc"
    rootless = json.loads(run(["podman", "info", "--format", "json"]))["host"]["security"]["rootless"]
    return Engine("podman", runtime, bool(rootless))


def limits() -> list[str]:
    """--ulimit words: an engine asks for more files than a caller without CAP_SYS_RESOURCE may grant."""
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20000)
    if files == resource.RLIM_INFINITY or files < 0:
        files = 20000
    return ["--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=4096:4096"]


def network(engine: Engine) -> list[str]:
    """--network words: a network with IPv6 where the engine can make one, the engine's own otherwise."""
    if not engine.direct:
        return []
    with locked("network"):
        if not succeeds(engine.argv("network", "inspect", NETWORK)):
            extra = ["--disable-dns"] if engine.name == "podman" else []
            if not succeeds(engine.argv("network", "create", "--ipv6", *extra, NETWORK)):
                return []
    return ["--network", NETWORK]
