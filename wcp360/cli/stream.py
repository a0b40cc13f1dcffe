"""Live events: the client's side of the WebSocket ``/api/v1/stream`` (RFC 6455), text frames only."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import select
import socket
import struct
from typing import Any

from wcp360.cli.client import Client, Refused
from wcp360.cli.exits import Exit, Failure

PATH = "/api/v1/stream"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_MAX_FRAME = 4 * 2**20


class Closed(Failure):
    """The server ended the stream, and says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, Exit.SERVER_FAULT)


class Stream:
    """An open stream of events: those after ``after``, or from now on where it is None."""

    def __init__(self, client: Client, after: int | None = None) -> None:
        self._connection = client.connect()
        self._socket: socket.socket = self._connection.sock
        self._buffer = b""
        self._message = b""
        try:
            self._shake_hands(client, PATH if after is None else f"{PATH}?after={after}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the server notices."""
        self._socket.close()
        self._connection.close()

    def next(self, timeout: float) -> dict[str, Any] | None:
        """Return the next event, or None after ``timeout`` seconds without one. Raises Closed."""
        while True:
            frame = self._frame()
            if frame is None:
                if not select.select([self._socket], [], [], timeout)[0]:
                    return None
                self._fill()
                continue
            event = self._event(*frame)
            if event is not None:
                return event

    def _shake_hands(self, client: Client, target: str) -> None:
        nonce = base64.b64encode(os.urandom(16)).decode()
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        self._connection.request("GET", target, headers=headers | {"Sec-WebSocket-Key": nonce} | client.authorization())
        # getresponse() would close a connection that says `Connection: Upgrade`, so its head is read here.
        head, self._buffer = self._head()
        status = int(head.split(b" ", 2)[1])
        if status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            raise Refused(status, _problem(self._buffer))
        # SHA-1 is what RFC 6455 section 4.2.2 names; it proves that a WebSocket server answers, nothing else.
        wanted = base64.b64encode(hashlib.sha1((nonce + _GUID).encode(), usedforsecurity=False).digest())
        if wanted not in head:
            raise Closed("What answers is not a WebSocket server.")

    def _head(self) -> tuple[bytes, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            more = self._socket.recv(65536)
            if not more or len(received) > 65536:
                raise Closed("The server closed the connection in the middle of its answer.")
            received += more
        head, _, rest = received.partition(b"\r\n\r\n")
        return head, rest

    def _fill(self) -> None:
        try:
            more = self._socket.recv(65536)
        except OSError as error:
            raise Closed(f"The stream of events broke off: {error.strerror or error}.") from error
        if not more:
            raise Closed("The server closed the stream of events.")
        self._buffer += more

    def _frame(self) -> tuple[int, bytes] | None:
        """Take one whole frame off the buffer: its opcode with the FIN bit, and its payload."""
        data = self._buffer
        if len(data) < 2:
            return None
        length, start = data[1] & 0x7F, 2
        if length >= 126:
            form = ">H" if length == 126 else ">Q"
            start += struct.calcsize(form)
            if len(data) < start:
                return None
            (length,) = struct.unpack(form, data[2:start])
        if length > _MAX_FRAME:
            raise Closed("The server sent a frame that is too large.")
        if len(data) < start + length:
            return None
        self._buffer = data[start + length :]
        return data[0], data[start : start + length]

    def _event(self, first: int, payload: bytes) -> dict[str, Any] | None:
        opcode = first & 0x0F
        if opcode == _CLOSE:
            raise Closed(payload[2:].decode("utf-8", "replace") or "The server closed the stream of events.")
        if opcode == _PING:
            self._send(_PONG, payload)
            return None
        if opcode == _PONG:
            return None
        self._message = payload if opcode == _TEXT else self._message + payload
        if not first & 0x80:
            return None
        event = json.loads(self._message)
        return event if isinstance(event, dict) and "id" in event else None

    def _send(self, opcode: int, payload: bytes) -> None:
        """Send a short control frame; a client's frames are masked (RFC 6455 section 5.3)."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)


def _problem(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
