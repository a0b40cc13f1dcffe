"""One host: started, reached by SSH, removed."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from . import image
from .common import HostsError, cache_dir, checkout_id, locked, run, succeeds
from .engine import Engine, limits, network

LABEL = "wcp360.testhost"
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,62}", re.ASCII)
# Without CAP_SYS_ADMIN systemd inside cannot make the mount namespaces of PrivateTmp= and the like: a unit that asks
# for one runs without it and nothing says so. AUDIT_WRITE keeps sudo quiet. AppArmor's container profile forbids
# mounts.
CAPABILITIES = ["--cap-add", "SYS_ADMIN", "--cap-add", "AUDIT_WRITE", "--security-opt", "apparmor=unconfined"]


@dataclass(frozen=True)
class Host:
    """How to reach a running host."""

    name: str
    address: str
    port: int
    user: str
    key: str  # path of the private key
    host_key: str  # line for a known_hosts file
    admin: str  # a second login, with sudo
    http_address: str  # where its port 80 is reached from here
    http_port: int
    address6: str  # "" where the network has no IPv6
    container: str
    engine: str

    def as_dict(self) -> dict[str, object]:
        """What `up --json` prints."""
        return asdict(self)


def up(engine: Engine, name: str, flavour: str, *, wait: float = 240) -> Host:
    """Start a host (or return the running one of that name) and wait for systemd and SSH; `wait` in seconds."""
    if not NAME.fullmatch(name):
        raise HostsError(f"{name!r} cannot be a host name: use letters, digits and hyphens, at most 63")
    tag = image.ensure(engine, flavour)
    if not succeeds(engine.argv("container", "inspect", name)):
        _start(engine, name, tag)
    deadline = time.monotonic() + wait
    _wait_for_systemd(engine, name, deadline)
    key = private_key()
    _authorize(engine, name, key)
    host = _describe(engine, name, key)
    _wait_for_ssh(host, deadline)
    return host


def down(engine: Engine, name: str) -> bool:
    """Remove a host; False when there is none. A container that is not ours is refused."""
    if not succeeds(engine.argv("container", "inspect", name)):
        return False
    if _inspect(engine, name)["Config"]["Labels"].get(LABEL) is None:
        raise HostsError(f"the container {name} is no test host of ours: choose another name")
    run(engine.argv("rm", "--force", "--volumes", name), timeout=120)
    return True


def names(engine: Engine) -> list[str]:
    """The hosts that this checkout started."""
    words = engine.argv("ps", "--all", "--filter", f"label={LABEL}={checkout_id()}", "--format", "{{.Names}}")
    return sorted(run(words).split())


def private_key() -> Path:
    """This checkout's key pair, made once, outside the tree."""
    path = cache_dir() / "keys" / checkout_id() / "id_ed25519"
    with locked("key"):
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "wcp360-tests", "-f", str(path)])
    return path


def _start(engine: Engine, name: str, tag: str) -> None:
    publish = [] if engine.direct else ["-p", "127.0.0.1::22", "-p", "127.0.0.1::80"]
    init = (
        ["--systemd=always"]
        if engine.name == "podman"
        else ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    )
    run(
        engine.argv(
            "run",
            "--detach",
            "--name",
            name,
            "--hostname",
            name,
            "--label",
            f"{LABEL}={checkout_id()}",
            *limits(),
            *init,
            *CAPABILITIES,
            *network(engine),
            *publish,
            tag,
            "/sbin/init",
        )
    )


def _inspect(engine: Engine, name: str) -> dict:
    found: dict = json.loads(run(engine.argv("container", "inspect", name)))[0]
    return found


def _wait_for_systemd(engine: Engine, name: str, deadline: float) -> None:
    state = ""
    while time.monotonic() < deadline:
        state = run(engine.argv("exec", name, "systemctl", "is-system-running"), check=False, timeout=60).strip()
        if state in ("running", "degraded"):
            break
        time.sleep(0.3)
    if state != "running":
        failed = run(engine.argv("exec", name, "systemctl", "--failed", "--no-legend", "--plain"), check=False)
        logs = run(engine.argv("logs", "--tail", "20", name), check=False)
        raise HostsError(f"systemd in {name} is {state or 'silent'}, failed units: {failed.strip() or 'none'}. {logs}")


def _authorize(engine: Engine, name: str, key: Path) -> None:
    public = key.with_suffix(".pub").read_text()
    script = (
        # A host that lives for minutes need not survive a power cut: dpkg is faster when it does not wait for disks.
        "echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/testhost; "
        "umask 077; for u in root admin; do h=$(getent passwd $u | cut -d: -f6); mkdir -p $h/.ssh; "
        "printf '%s' \"$1\" >$h/.ssh/authorized_keys; chown -R $u: $h/.ssh; done"
    )
    run(engine.argv("exec", name, "/bin/sh", "-c", script, "authorize", public))


def _describe(engine: Engine, name: str, key: Path) -> Host:
    settings = _inspect(engine, name)["NetworkSettings"]
    networks = list((settings.get("Networks") or {}).values()) or [settings]
    address, address6 = networks[0].get("IPAddress", ""), networks[0].get("GlobalIPv6Address", "")
    ssh, http = (address, 22), (address, 80)
    if not engine.direct:
        ssh, http, address6 = _published(settings, "22/tcp"), _published(settings, "80/tcp"), ""
    public = run(engine.argv("exec", name, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")).split()
    pattern = ssh[0] if ssh[1] == 22 else f"[{ssh[0]}]:{ssh[1]}"
    return Host(
        name=name,
        address=ssh[0],
        port=ssh[1],
        user="root",
        key=str(key),
        host_key=f"{pattern} {public[0]} {public[1]}",
        admin="admin",
        http_address=http[0],
        http_port=http[1],
        address6=address6,
        container=name,
        engine=engine.name,
    )


def _published(settings: dict, port: str) -> tuple[str, int]:
    bound = settings["Ports"][port][0]
    return bound["HostIp"] or "127.0.0.1", int(bound["HostPort"])


def _wait_for_ssh(host: Host, deadline: float) -> None:
    banner = b""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host.address, host.port), timeout=5) as link:
                banner = link.recv(64)
        except OSError:
            time.sleep(0.2)
            continue
        if banner.startswith(b"SSH-"):
            return
        time.sleep(0.2)
    raise HostsError(f"nothing speaks SSH at {host.address} port {host.port} ({banner!r}): see `hosts.py doctor`")
