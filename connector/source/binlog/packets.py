"""Packets of the MySQL protocol off a socket, with a large buffer and without ever losing a part of one.

Reads only. What was received stays buffered across a time-out, so that a packet which came in half is not lost.
Memory: the buffer of one read, and the packet being put together.
"""

from __future__ import annotations

import socket
import ssl

from connector.errors import ConnectionLost

_READ_SIZE = 1 << 18
_FULL = 0xFFFFFF  # payload of a packet that another one continues


class PacketReader:
    """Payloads of a server's packets, in order; those that belong together (16 MiB and more) are joined."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        self._pos = 0
        self._pieces: list[bytes] = []  # received after `_buffer`
        self._received = 0  # bytes in `_pieces`
        self._parts: list[bytes] = []  # payloads of a packet to be continued

    def read(self, timeout_s: float) -> bytes | None:
        """The next payload; None if not all of it came, with pauses of at most that many seconds.

        Raises ConnectionLost when the other side has gone, or the network says so.
        """
        while True:
            if not self._have(4, timeout_s):
                return None
            buffer, pos = self._buffer, self._pos
            size = buffer[pos] | buffer[pos + 1] << 8 | buffer[pos + 2] << 16
            if len(buffer) - pos < 4 + size:
                if not self._have(4 + size, timeout_s):
                    return None
                buffer, pos = self._buffer, self._pos
            payload = buffer[pos + 4 : pos + 4 + size]
            self._pos = pos + 4 + size
            if size == _FULL:
                self._parts.append(payload)
                continue
            if self._parts:
                payload = b"".join([*self._parts, payload])
                self._parts.clear()
            return payload

    def _have(self, count: int, timeout_s: float) -> bool:
        """Whether that many bytes stand in the buffer, or came within the time."""
        have = len(self._buffer) - self._pos
        if have >= count:
            return True
        while have + self._received < count:
            try:
                self._sock.settimeout(timeout_s)
                piece = self._sock.recv(_READ_SIZE)
            except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
                return False
            except OSError as error:
                raise ConnectionLost(f"the connection to the source broke: {error}") from error
            if not piece:
                raise ConnectionLost("the source closed the connection")
            self._pieces.append(piece)
            self._received += len(piece)
        self._buffer = b"".join([self._buffer[self._pos :], *self._pieces])
        self._pieces.clear()
        self._pos = self._received = 0
        return True
