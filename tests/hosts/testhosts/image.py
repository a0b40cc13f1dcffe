"""The two images: bare (a Debian server as handed over) and full (nginx and PHP-FPM already installed)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from .common import IMAGE_FILES, HostsError, cache_dir, locked, run, say
from .engine import Engine

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
SECURITY_MIRROR = "http://deb.debian.org/debian-security"
# Python comes without python3-apt: the collection must not need it.
BARE = ["systemd", "systemd-sysv", "dbus", "python3", "openssh-server", "sudo", "iproute2", "ca-certificates"]
BARE += ["cron", "logrotate", "procps"]
# All that the roles install by default, so that only tests on bare hosts wait for downloads.
EXTENSIONS = ["curl", "gd", "intl", "mbstring", "mysql", "opcache", "xml", "zip"]
FULL = ["nginx", "php8.2-fpm", "php8.2-cli", "curl", *(f"php8.2-{extension}" for extension in EXTENSIONS)]
PACKAGES = {"bare": BARE, "full": FULL}
KEEP_SECONDS = 14 * 24 * 3600
# What decides whether and how packages can be fetched; the rest of apt's settings is the image's own.
APT_SETTINGS = re.compile(r"Acquire::(http|https|Check-|Retries|Proxy|ForceIPv)", re.ASCII | re.IGNORECASE)


def recipe_hash() -> str:
    """Twelve hex digits over everything that the images are made from."""
    digest = hashlib.sha256()
    for path in (IMAGE_FILES / "provision.sh", IMAGE_FILES / "Containerfile"):
        digest.update(path.read_bytes())
    digest.update(repr((SUITE, PACKAGES)).encode())
    return digest.hexdigest()[:12]


def tag(flavour: str) -> str:
    """The image's name in the engine's storage."""
    return f"localhost/wcp360-host:{flavour}-{recipe_hash()}"


def can_debootstrap() -> bool:
    """debootstrap wants root and Debian's own tool; everything else builds from a registry."""
    return os.geteuid() == 0 and shutil.which("debootstrap") is not None


def ensure(engine: Engine, flavour: str) -> str:
    """Have the image, from the engine's storage, else the cached tarball, else built; returns its name."""
    if flavour not in PACKAGES:
        raise HostsError(f"there is no image {flavour!r}: use bare or full")
    name = tag(flavour)
    if engine.has_image(name):
        return name
    with locked("build"):
        if engine.has_image(name):
            return name
        if can_debootstrap():
            _import(engine, flavour)
        else:
            _build_from_registry(engine, flavour)
    return name


def _import(engine: Engine, flavour: str) -> None:
    tarball = cache_dir() / f"rootfs-{flavour}-{recipe_hash()}.tar"
    if not tarball.exists():
        _debootstrap(flavour, tarball)
    tarball.touch()
    say(f"importing {tag(flavour)}")
    run(engine.argv("import", "--change", "STOPSIGNAL SIGRTMIN+3", str(tarball), tag(flavour)))


def _debootstrap(flavour: str, tarball: Path) -> None:
    """Build the tree below the cache directory and keep it as a tarball (moved in place when it is whole)."""
    with tempfile.TemporaryDirectory(prefix="tree-", dir=cache_dir()) as work:
        tree = Path(work) / "root"
        tree.mkdir(mode=0o755)
        if flavour == "full":
            bare = cache_dir() / f"rootfs-bare-{recipe_hash()}.tar"
            if not bare.exists():
                _debootstrap("bare", bare)
            run(["tar", "-C", str(tree), "-xpf", str(bare)])
        else:
            say(f"debootstrap {SUITE} (about a minute, once per recipe)")
            include = ",".join(BARE)
            run(["debootstrap", "--variant=minbase", f"--include={include}", SUITE, str(tree), _mirror()])
        _provision(flavour, tree)
        half = tarball.with_suffix(".part")
        run(["tar", "-C", str(tree), "--numeric-owner", "-cpf", str(half), "."])
        half.rename(tarball)
    _forget_old_recipes()


def _provision(flavour: str, tree: Path) -> None:
    say(f"setting up the {flavour} image: {' '.join(PACKAGES[flavour])}")
    _outer_network_settings(tree)
    script = tree / "provision.sh"
    shutil.copy(IMAGE_FILES / "provision.sh", script)
    run(
        [
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "chroot",
            str(tree),
            "/bin/sh",
            "/provision.sh",
            flavour,
            *PACKAGES[flavour],
        ]
    )
    script.unlink()


def _outer_network_settings(tree: Path) -> None:
    """The tree fetches packages the way this machine does: sources, proxies, certificates, name servers."""
    apt = tree / "etc/apt"
    for old in [apt / "sources.list", *(apt / "sources.list.d").glob("*")]:
        old.unlink(missing_ok=True)
    (apt / "sources.list.d/debian.sources").write_text(
        f"Types: deb\nURIs: {_mirror()}\nSuites: {SUITE} {SUITE}-updates\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"
        f"Types: deb\nURIs: {_mirror(security=True)}\nSuites: {SUITE}-security\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    settings = [line for line in run(["apt-config", "dump"]).splitlines() if APT_SETTINGS.match(line)]
    (apt / "apt.conf.d/90outer").write_text("\n".join([*settings, 'Acquire::Languages "none";', ""]))
    for source, target in (
        ("/etc/apt/auth.conf.d", "etc/apt/auth.conf.d"),
        ("/usr/local/share/ca-certificates", "usr/local/share/ca-certificates"),
    ):
        if Path(source).is_dir():
            shutil.copytree(source, tree / target, dirs_exist_ok=True)
    for source in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(source).is_file():
            (tree / source[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, tree / source[1:])


def _mirror(*, security: bool = False) -> str:
    """This machine's own Debian mirror when its sources name one, Debian's otherwise."""
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.sources")]
    text = "\n".join(path.read_text() for path in files if path.is_file())
    for url in re.findall(r"^(?:URIs:|deb)\s+(?:\[[^]]*\]\s+)?(https?://\S+)", text, re.MULTILINE):
        name = url.rstrip("/").rsplit("/", 1)[-1]
        if name == ("debian-security" if security else "debian"):
            return str(url)
    return SECURITY_MIRROR if security else MIRROR


def _build_from_registry(engine: Engine, flavour: str) -> None:
    base = os.environ.get("WCP360_TEST_BASE_IMAGE", "docker.io/library/debian:12")
    if flavour == "full":
        base = ensure_unlocked(engine, "bare")
    say(f"building {tag(flavour)} from {base}")
    run(
        engine.argv(
            "build",
            "--build-arg",
            f"BASE={base}",
            "--build-arg",
            f"FLAVOUR={flavour}",
            "--build-arg",
            f"PACKAGES={' '.join(PACKAGES[flavour])}",
            "-f",
            str(IMAGE_FILES / "Containerfile"),
            "-t",
            tag(flavour),
            str(IMAGE_FILES),
        ),
        timeout=1800,
    )


def ensure_unlocked(engine: Engine, flavour: str) -> str:
    """The same as `ensure` for a caller that holds the build lock already."""
    if not engine.has_image(tag(flavour)):
        _build_from_registry(engine, flavour)
    return tag(flavour)


def _forget_old_recipes() -> None:
    """Tarballs that nobody has imported for two weeks; younger ones may belong to another checkout."""
    for path in cache_dir().glob("rootfs-*.tar"):
        if time.time() - path.stat().st_mtime > KEEP_SECONDS:
            path.unlink(missing_ok=True)
