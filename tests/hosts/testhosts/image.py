"""The images: bare (a Debian server as handed over), full (nginx and PHP-FPM installed), control (Python packages)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .common import CHECKOUT, IMAGE_FILES, HostsError, cache_dir, locked, run, say
from .engine import Engine

MIRROR = "http://deb.debian.org/debian"
SECURITY_MIRROR = "http://deb.debian.org/debian-security"
# Python comes without python3-apt: the collection must not need it.
BARE = ("systemd", "systemd-sysv", "dbus", "python3", "openssh-server", "sudo", "iproute2", "ca-certificates")
BARE += ("cron", "logrotate", "procps")
EXTENSIONS = ("curl", "gd", "intl", "mbstring", "mysql", "opcache", "xml", "zip")
CONTROL = ("python3-venv", "openssh-client")


@dataclass(frozen=True)
class Recipe:
    """What an image is made from: a Debian release, packages, and the image that it starts from ("" = none)."""

    suite: str
    release: int
    packages: tuple[str, ...]
    base: str = ""
    requirements: tuple[str, ...] = ()  # Python packages in /opt/wcp360


def _full(php: str) -> tuple[str, ...]:
    """All that the roles install by default, so that only tests on bare hosts wait for downloads."""
    return ("nginx", f"php{php}-fpm", f"php{php}-cli", "curl", *(f"php{php}-{name}" for name in EXTENSIONS))


def _dependencies() -> tuple[str, ...]:
    """What the panel itself needs, so that a control host has it before the wheel comes."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return tuple(sorted(project["dependencies"]))


RECIPES = {
    "bare": Recipe("bookworm", 12, BARE),
    "full": Recipe("bookworm", 12, _full("8.2"), "bare"),
    "bare13": Recipe("trixie", 13, BARE),
    "full13": Recipe("trixie", 13, _full("8.4"), "bare13"),
    "control13": Recipe("trixie", 13, CONTROL, "bare13", _dependencies()),
}
KEEP_SECONDS = 14 * 24 * 3600
# What decides whether and how packages can be fetched; the rest of apt's settings is the image's own.
APT_SETTINGS = re.compile(r"Acquire::(http|https|Check-|Retries|Proxy|ForceIPv)", re.ASCII | re.IGNORECASE)


def recipe_hash(flavour: str) -> str:
    """Twelve hex digits over everything that an image is made from."""
    digest = hashlib.sha256()
    for path in (IMAGE_FILES / "provision.sh", IMAGE_FILES / "Containerfile"):
        digest.update(path.read_bytes())
    while flavour:
        recipe = RECIPES[flavour]
        digest.update(repr(recipe).encode())
        flavour = recipe.base
    return digest.hexdigest()[:12]


def tag(flavour: str) -> str:
    """The image's name in the engine's storage."""
    return f"localhost/wcp360-host:{flavour}-{recipe_hash(flavour)}"


def can_debootstrap() -> bool:
    """debootstrap wants root and Debian's own tool; everything else builds from a registry."""
    return os.geteuid() == 0 and shutil.which("debootstrap") is not None


def ensure(engine: Engine, flavour: str) -> str:
    """Have the image, from the engine's storage, else the cached tarball, else built; returns its name."""
    if flavour not in RECIPES:
        raise HostsError(f"there is no image {flavour!r}: use one of {', '.join(RECIPES)}")
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


def _tarball(flavour: str) -> Path:
    return cache_dir() / f"rootfs-{flavour}-{recipe_hash(flavour)}.tar"


def _import(engine: Engine, flavour: str) -> None:
    tarball = _tarball(flavour)
    if not tarball.exists():
        _make_tree(flavour, tarball)
    tarball.touch()
    say(f"importing {tag(flavour)}")
    run(engine.argv("import", "--change", "STOPSIGNAL SIGRTMIN+3", str(tarball), tag(flavour)))


def _make_tree(flavour: str, tarball: Path) -> None:
    """Build the tree below the cache directory and keep it as a tarball (moved in place when it is whole)."""
    recipe = RECIPES[flavour]
    with tempfile.TemporaryDirectory(prefix="tree-", dir=cache_dir()) as work:
        tree = Path(work) / "root"
        tree.mkdir(mode=0o755)
        if recipe.base:
            base = _tarball(recipe.base)
            if not base.exists():
                _make_tree(recipe.base, base)
            run(["tar", "-C", str(tree), "-xpf", str(base)])
        else:
            say(f"debootstrap {recipe.suite} (about a minute, once per recipe)")
            include = ",".join(recipe.packages)
            run(["debootstrap", "--variant=minbase", f"--include={include}", recipe.suite, str(tree), _mirror()])
        _provision(flavour, tree)
        half = tarball.with_suffix(".part")
        run(["tar", "-C", str(tree), "--numeric-owner", "-cpf", str(half), "."])
        half.rename(tarball)
    _forget_old_recipes()


def _provision(flavour: str, tree: Path) -> None:
    recipe = RECIPES[flavour]
    say(f"setting up the {flavour} image: {' '.join(recipe.packages)}")
    _outer_network_settings(tree, recipe.suite)
    script = tree / "provision.sh"
    shutil.copy(IMAGE_FILES / "provision.sh", script)
    words = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", *_pip_settings()]
    words.append(f"REQUIREMENTS={' '.join(requirement.replace(' ', '') for requirement in recipe.requirements)}")
    run([*words, "chroot", str(tree), "/bin/sh", "/provision.sh", kind(flavour), *recipe.packages])
    script.unlink()


def kind(flavour: str) -> str:
    """Return what the flavour is on every release: bare, full or control."""
    return flavour.rstrip("0123456789")


def _pip_settings() -> list[str]:
    """Where this machine gets its Python packages from, as far as that is no directory of its own."""
    names = ("PIP_INDEX_URL", "PIP_CERT", "PIP_PROXY", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT")
    names += ("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
    return [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]


def _outer_network_settings(tree: Path, suite: str) -> None:
    """The tree fetches packages the way this machine does: sources, proxies, certificates, name servers."""
    apt = tree / "etc/apt"
    for old in [apt / "sources.list", *(apt / "sources.list.d").glob("*")]:
        old.unlink(missing_ok=True)
    (apt / "sources.list.d/debian.sources").write_text(
        f"Types: deb\nURIs: {_mirror()}\nSuites: {suite} {suite}-updates\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"
        f"Types: deb\nURIs: {_mirror(security=True)}\nSuites: {suite}-security\nComponents: main\n"
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
    recipe = RECIPES[flavour]
    base = os.environ.get("WCP360_TEST_BASE_IMAGE", "docker.io/library/debian") + f":{recipe.release}"
    if recipe.base:
        base = ensure_unlocked(engine, recipe.base)
    say(f"building {tag(flavour)} from {base}")
    given = {"BASE": base, "FLAVOUR": kind(flavour), "PACKAGES": " ".join(recipe.packages)}
    given["REQUIREMENTS"] = " ".join(requirement.replace(" ", "") for requirement in recipe.requirements)
    arguments = [word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")]
    words = [*arguments, "-f", str(IMAGE_FILES / "Containerfile"), "-t", tag(flavour), str(IMAGE_FILES)]
    run(engine.argv("build", *words), timeout=1800)


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
