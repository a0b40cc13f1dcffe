"""The grammar of SSH public keys, against keys that OpenSSH itself made."""

from __future__ import annotations

import base64
import struct
import subprocess
from pathlib import Path

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils.ssh_keys import KeyFormatError, check_public_key


def make_key(directory: Path, kind: str, bits: int | None = None) -> str:
    """Return the public key line of a new key pair."""
    path = directory / f"{kind}-{bits}"
    size = ["-b", str(bits)] if bits else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", "me@here", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().rstrip("\n")


@pytest.mark.parametrize(("kind", "bits"), [("ed25519", None), ("ecdsa", 256), ("ecdsa", 521), ("rsa", 2048)])
def test_accepts_what_openssh_makes(tmp_path: Path, kind: str, bits: int | None) -> None:
    line = make_key(tmp_path, kind, bits)
    check_public_key(line)
    check_public_key(line.rsplit(" ", 1)[0])


def test_accepts_security_keys() -> None:
    fields = [b"sk-ssh-ed25519@openssh.com", b"k" * 32, b"ssh:"]
    blob = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    check_public_key("sk-ssh-ed25519@openssh.com " + base64.b64encode(blob).decode())


def test_refuses_short_rsa(tmp_path: Path) -> None:
    with pytest.raises(KeyFormatError, match="2048"):
        check_public_key(make_key(tmp_path, "rsa", 1024))


@pytest.mark.parametrize("change", ['command="id" {}', "{}\nssh-ed25519 AAAA", "{}\x00", "x{}", "{}\u202e", " {}"])
def test_refuses_options_and_hidden_characters(tmp_path: Path, change: str) -> None:
    line = make_key(tmp_path, "ed25519")
    with pytest.raises(KeyFormatError):
        check_public_key(change.format(line))


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-ed25519 ", "ssh-ed25519 AAAA", "ssh-ed25519 !!!!", "ssh-dss AAAAB3NzaC1kc3M="]
)
def test_refuses_what_is_no_key(line: str) -> None:
    with pytest.raises(KeyFormatError):
        check_public_key(line)
