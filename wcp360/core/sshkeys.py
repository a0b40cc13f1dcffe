"""SSH public keys, read as ``authorized_keys`` has them (sshd(8)), but without options."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct

TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
MIN_RSA_BITS = 2048
_COMMENT = re.compile(r"[ -~]{0,200}", re.ASCII)


def normalise_key(value: str) -> str:
    """Return the key on one line, or raise ValueError with a sentence that says what is wrong with it."""
    fields = value.split(" ", 2)
    if len(fields) < 2 or fields[0] not in TYPES:
        raise ValueError(f"A key starts with its type, one of {', '.join(sorted(TYPES))}; options are not taken.")
    blob = _decode(fields[1])
    parts = _parts(blob)
    if parts[0] != fields[0].encode():
        raise ValueError(f"The key says {fields[0]}, but its data is of another type.")
    if fields[0] == "ssh-rsa" and int.from_bytes(parts[2], "big").bit_length() < MIN_RSA_BITS:
        raise ValueError(f"The RSA key is too short; it needs at least {MIN_RSA_BITS} bits.")
    if len(fields) == 3 and _COMMENT.fullmatch(fields[2]) is None:
        raise ValueError("The key's comment may hold up to 200 printable ASCII characters.")
    return " ".join(fields)


def fingerprint(key: str) -> str:
    """Return the fingerprint as ``ssh-keygen -l`` prints it: ``SHA256:`` and unpadded base 64."""
    digest = hashlib.sha256(_decode(key.split(" ")[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("The key's data is not valid base 64.") from error


def _parts(blob: bytes) -> list[bytes]:
    """Split the length-prefixed strings of a key blob (RFC 4253 section 6.6); every kind we take has two or more."""
    parts, rest = [], blob
    while rest:
        if len(rest) < 4:
            raise ValueError("The key's data is cut short.")
        (length,) = struct.unpack(">I", rest[:4])
        if length > len(rest) - 4:
            raise ValueError("The key's data is cut short.")
        parts.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    if len(parts) < 2 or (parts[0] == b"ssh-rsa" and len(parts) != 3):
        raise ValueError("The key's data is cut short.")
    return parts
