"""Compressed events: MySQL's transaction payloads (zstd), and MariaDB's compressed rows and queries (zlib). Pure.

What comes out is bounded by what the event says it holds; a payload is inflated piece by piece, so that a large
transaction is never in memory as a whole, and an event that says it is larger than the rest of its payload is refused
before anything is held for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import zstandard

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.events import HEADER_SIZE
from connector.source.binlog.integers import fixed, packed, span

_PIECE = 1 << 18
_MAX_HEAD = 256  # three fields of at most 19 bytes each, and room for more
_END, _SIZE, _ALGORITHM, _INFLATED_SIZE = range(4)
_ZSTD, _NONE = 0, 255


def payload_events(body: memoryview) -> Iterator[bytes]:
    """The events inside a TRANSACTION_PAYLOAD event, whole and in order; they carry no checksums.

    `body`: a view, because a payload may be hundreds of megabytes.

    Raises CorruptedLog, and UnsupportedChange for an algorithm other than zstd.
    """
    fields: dict[int, int] = {}
    head = bytes(body[:_MAX_HEAD])
    pos = 0
    while True:
        kind, pos = packed(head, pos)
        if kind == _END:
            break
        size, pos = packed(head, pos)
        fields[kind], _ = packed(span(head, pos, size), 0)
        pos += size
    size = fields.get(_SIZE, len(body) - pos)
    if size != len(body) - pos:
        raise CorruptedLog(f"transaction payload says {size} bytes and has {len(body) - pos}")
    algorithm = fields.get(_ALGORITHM, _NONE)
    if algorithm not in (_ZSTD, _NONE):
        raise UnsupportedChange(f"transaction payload is compressed by algorithm {algorithm}, not zstd")
    payload = body[pos:]
    if algorithm == _ZSTD and _INFLATED_SIZE not in fields:
        raise CorruptedLog("transaction payload does not say how large it is")
    said = fields.get(_INFLATED_SIZE, size)
    total = 0  # inflated so far, of which `have` bytes are in `parts`
    have = 0
    parts: list[bytes] = []
    needed = HEADER_SIZE  # so that there is something to do: an event in many pieces is put together once
    for piece in _inflated(payload) if algorithm == _ZSTD else _pieces(payload):
        total += len(piece)
        if total > said:
            raise CorruptedLog(f"transaction payload inflates to more than the {said} bytes it says")
        parts.append(piece)
        have += len(piece)
        if have < needed:
            continue
        rest = parts[0] if len(parts) == 1 else b"".join(parts)
        at = 0
        needed = HEADER_SIZE
        while have - at >= HEADER_SIZE:
            size = fixed(rest, at + 9, 4)
            if not HEADER_SIZE <= size <= said - (total - have + at):
                raise CorruptedLog(f"transaction payload holds an event of {size} bytes")
            if have - at < size:
                needed = size
                break
            yield rest[at : at + size]
            at += size
        parts = [rest[at:]]
        have -= at
    if have:
        raise CorruptedLog(f"transaction payload ends inside an event, after {have} bytes of it")
    if total != said:
        raise CorruptedLog(f"transaction payload inflates to {total} bytes, not {said}")


def _pieces(payload: memoryview) -> Iterator[bytes]:
    return (bytes(payload[at : at + _PIECE]) for at in range(0, len(payload), _PIECE))


def _inflated(payload: memoryview) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor().stream_reader(payload, read_across_frames=True) as reader:
        while True:
            try:
                piece = reader.read(_PIECE)
            except zstandard.ZstdError as error:
                raise CorruptedLog(f"transaction payload does not decompress: {error}") from None
            if not piece:
                return
            yield piece


def inflate_mariadb(data: bytes, start: int, end: int) -> bytes:
    """What MariaDB compressed in data[start:end]: a header byte, the inflated size (big-endian), a zlib stream."""
    head = fixed(data, start, 1)
    size_length = head & 0x07
    if not head & 0x80 or head & 0x70 or not 1 <= size_length <= 4:
        raise UnsupportedChange(f"event is compressed in a way that is not known (header 0x{head:02x})")
    size = int.from_bytes(span(data, start + 1, size_length), "big")
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(memoryview(data)[start + 1 + size_length : end], size + 1)
    except zlib.error as error:
        raise CorruptedLog(f"compressed event does not decompress: {error}") from None
    if len(inflated) != size or not stream.eof:
        raise CorruptedLog(f"compressed event inflates to other than the {size} bytes it says")
    return inflated
