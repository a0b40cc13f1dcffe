"""Asking a server for its SSH host key, so that a person can compare the fingerprint before it is pinned."""

from __future__ import annotations

import subprocess

from wcp360.core.errors import Conflict, FieldError, Invalid
from wcp360.core.sshkeys import fingerprint

SCAN_SECONDS = 10
# The strongest first; one key is pinned, and OpenSSH then asks the server for a key of that type.
TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")


def confirmed_key(address: str, port: int, given: str) -> str:
    """Return the host key to pin: ``given`` if it is a key, or the server's own where ``given`` is its fingerprint.

    Raises Conflict ``host_key_unconfirmed`` with the fingerprint where nothing is given, and Invalid where the server
    does not answer or has another key.
    """
    if given and not given.startswith("SHA256:"):
        return given
    keys = scan(address, port)
    for key in keys:
        if given and fingerprint(key) == given:
            return key
    seen = fingerprint(keys[0])
    if given:
        raise _wrong("host_key", f"{address} has the host key {seen}, not {given}. Find out why before you go on.")
    raise Conflict(
        f"The host key of {address} is {seen}. Compare it with what the server itself says "
        "(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then send the request again with it as host_key.",
        code="host_key_unconfirmed",
        fingerprint=seen,
        host_key=keys[0],
    )


def scan(address: str, port: int) -> list[str]:
    """Return the server's public host keys, the strongest type first. Raises Invalid where it does not answer."""
    argv = ["ssh-keyscan", "-T", str(SCAN_SECONDS), "-p", str(port), "-t", "ed25519,ecdsa,rsa", "--", address]
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=3 * SCAN_SECONDS, check=False)
    except FileNotFoundError:
        raise _wrong("address", "ssh-keyscan is not installed here; install openssh-client, then try again.") from None
    except subprocess.TimeoutExpired:
        raise _wrong("address", f"{address} port {port} does not answer.") from None
    found = [line.split(" ", 1)[1] for line in answer.stdout.splitlines() if line and not line.startswith("#")]
    keys = sorted((key for key in found if key.split(" ")[0] in TYPES), key=lambda key: TYPES.index(key.split(" ")[0]))
    if not keys:
        raise _wrong("address", f"No SSH server answers at {address} port {port}. Check the address and the port.")
    return keys


def _wrong(field: str, message: str) -> Invalid:
    return Invalid(message, errors=(FieldError(field, message, "host_key"),))
