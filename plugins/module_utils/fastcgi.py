"""The few bytes of FastCGI that it takes to send one GET request over a Unix socket and read the answer."""

from __future__ import annotations

import socket
import struct

from ansible_collections.wcp360.hosting.plugins.module_utils.exchange import exchange

BEGIN, PARAMS, STDIN, STDOUT, STDERR = 1, 4, 5, 6, 7


class FastcgiError(OSError):
    """What answered on the socket does not speak FastCGI."""


def get(path: str, parameters: dict[str, str], timeout: float) -> tuple[bytes, bytes]:
    """Send one request to the Unix socket ``path`` and return what came on stdout and on stderr.

    ``timeout`` is in seconds and holds for the whole exchange. Raises OSError where nobody listens, where the
    answer is not complete in time, is too long (see ``exchange``) or is not FastCGI.
    """
    return _streams(exchange(socket.AF_UNIX, path, _request(parameters), timeout))


def body(answer: bytes) -> str:
    """Return the body of a CGI answer, without its header."""
    return answer.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")


def ping(path: str, ping_path: str, timeout: float) -> str:
    """Return what PHP-FPM's ``ping.path`` answers on the socket ``path``; empty when it is not known there."""
    parameters = {
        "SCRIPT_NAME": ping_path,
        "SCRIPT_FILENAME": ping_path,
        "REQUEST_URI": ping_path,
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": "",
    }
    answer, _dummy = get(path, parameters, timeout)
    return "" if answer.startswith(b"Status:") else body(answer).strip()


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHBB", 1, kind, 1, len(content), 0, 0) + content


def _length(value: bytes) -> bytes:
    return bytes([len(value)]) if len(value) < 128 else struct.pack(">I", len(value) | 1 << 31)


def _request(parameters: dict[str, str]) -> bytes:
    pairs = [(key.encode(), value.encode()) for key, value in parameters.items()]
    content = b"".join(_length(key) + _length(value) + key + value for key, value in pairs)
    responder = struct.pack(">HB5x", 1, 0)
    return _record(BEGIN, responder) + _record(PARAMS, content) + _record(PARAMS, b"") + _record(STDIN, b"")


def _streams(data: bytes) -> tuple[bytes, bytes]:
    streams = {STDOUT: b"", STDERR: b""}
    while data:
        if len(data) < 8 or data[0] != 1:
            raise FastcgiError("What answered does not speak FastCGI.")
        kind, length, padding = data[1], struct.unpack(">H", data[4:6])[0], data[6]
        if kind in streams:
            streams[kind] += data[8 : 8 + length]
        data = data[8 + length + padding :]
    return streams[STDOUT], streams[STDERR]
