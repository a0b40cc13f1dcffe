"""The grammar of the SSH public keys that tenants may give: plain keys, no options, nothing outdated."""

from __future__ import annotations

import base64
import binascii
import struct

#: Below this an RSA key is breakable within reach of large attackers (NIST SP 800-131A).
RSA_MINIMUM_BITS = 2048
#: What OpenSSH itself takes at most (SSH_RSA_MAXIMUM_MODULUS_SIZE, 16384 bits).
RSA_MAXIMUM_BITS = 16384
_CURVES = {f"ecdsa-sha2-nistp{bits}": (f"nistp{bits}", 1 + 2 * ((bits + 7) // 8)) for bits in (256, 384, 521)}
_SECURITY_KEYS = {"sk-ssh-ed25519@openssh.com": 3, "sk-ecdsa-sha2-nistp256@openssh.com": 4}


class KeyFormatError(ValueError):
    """The line is no acceptable public key; the message is a sentence that says why."""


def check_public_key(line: str) -> None:
    """Raise KeyFormatError unless ``line`` is ``type base64 [comment]`` of an acceptable type and strength."""
    if not line.isprintable():
        raise KeyFormatError("An SSH key must be one line of printable characters.")
    kind, _dummy, rest = line.partition(" ")
    fields = _blob_fields(rest.partition(" ")[0])
    if not fields or fields[0] != kind.encode():
        raise KeyFormatError("An SSH key must be 'type base64 comment' without options before the type.")
    if not _is_acceptable(kind, fields[1:]):
        raise KeyFormatError(
            f"The SSH key of type '{kind[:40]}' is not accepted: use ssh-ed25519, ecdsa-sha2-nistp256/384/521, their "
            f"sk- forms, or ssh-rsa of at least {RSA_MINIMUM_BITS} bits."
        )


def _is_acceptable(kind: str, fields: list[bytes]) -> bool:
    if kind == "ssh-ed25519":
        return len(fields) == 1 and len(fields[0]) == 32
    if kind in _CURVES:
        curve, length = _CURVES[kind]
        return len(fields) == 2 and fields[0] == curve.encode() and len(fields[1]) == length
    if kind == "ssh-rsa":
        return (
            len(fields) == 2 and RSA_MINIMUM_BITS <= int.from_bytes(fields[1], "big").bit_length() <= RSA_MAXIMUM_BITS
        )
    return kind in _SECURITY_KEYS and len(fields) == _SECURITY_KEYS[kind] - 1


def _blob_fields(text: str) -> list[bytes]:
    """Split a key's base64 blob into its length-prefixed fields (RFC 4251, string); empty when it is none."""
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return []
    fields = []
    while blob:
        if len(blob) < 4 or len(blob) - 4 < (length := struct.unpack(">I", blob[:4])[0]):
            return []
        fields.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return fields
