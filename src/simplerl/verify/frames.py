"""Frames: length-prefixed JSON over a local socket, the only thing that ever passes between pool and worker.

JSON and nothing else: no pickle, so that bytes from a worker that read hostile text can never become code.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")
#: A longer frame is a protocol error: answers are capped far below.
MAX_FRAME = 1 << 20


class Closed(Exception):
    """The other end is gone."""


def pack(message: dict[str, Any]) -> bytes:
    """Return the bytes of one frame. Lone surrogates survive, escaped."""
    body = json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Collects bytes from a socket and gives back whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, sock: socket.socket) -> None:
        """Read what is there; raise `Closed` at the end of the stream."""
        try:
            data = sock.recv(1 << 16)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise Closed from error
        if not data:
            raise Closed
        self._buffer += data

    def frames(self) -> list[dict[str, Any]]:
        """Return the complete frames received so far."""
        found = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                raise Closed
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            found.append(json.loads(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return found


def receive(sock: socket.socket, inbox: Inbox) -> dict[str, Any]:
    """Block until one frame has arrived."""
    while True:
        found = inbox.frames()
        if found:
            if len(found) > 1:
                raise Closed  # one request at a time is the protocol
            return found[0]
        inbox.feed(sock)
