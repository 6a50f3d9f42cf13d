"""Integers of variable length as binlog events store them. Pure; reading past the end raises CorruptedLog."""

from __future__ import annotations

from connector.errors import CorruptedLog


def packed(data: bytes, pos: int) -> tuple[int, int]:
    """MySQL's length-encoded integer at `pos`: (value, position after it)."""
    try:
        first = data[pos]
    except IndexError:
        raise CorruptedLog(f"event ends inside a length-encoded integer at byte {pos}") from None
    if first < 0xFB:
        return first, pos + 1
    size = _PACKED_SIZES.get(first)
    if size is None:
        raise CorruptedLog(f"0x{first:02x} does not begin a length-encoded integer (byte {pos})")
    return fixed(data, pos + 1, size), pos + 1 + size


_PACKED_SIZES = {0xFC: 2, 0xFD: 3, 0xFE: 8}


def fixed(data: bytes, pos: int, size: int) -> int:
    """Little-endian unsigned integer of `size` bytes."""
    raw = data[pos : pos + size]
    if len(raw) != size:
        raise CorruptedLog(f"event ends inside an integer of {size} bytes at byte {pos}")
    return int.from_bytes(raw, "little")


def span(data: bytes, pos: int, size: int) -> bytes:
    """Exactly `size` bytes at `pos`."""
    raw = data[pos : pos + size]
    if len(raw) != size:
        raise CorruptedLog(f"event ends inside a field of {size} bytes at byte {pos}")
    return raw


def packed_span(data: bytes, pos: int) -> tuple[bytes, int]:
    """A string that a length-encoded integer precedes: (bytes, position after it)."""
    size, pos = packed(data, pos)
    return span(data, pos, size), pos + size


def varlen(data: bytes, pos: int) -> tuple[int, int]:
    """Unsigned integer of MySQL's `mysql::serialization` library (tagged GTIDs): (value, position after it).

    The count of low one-bits in the first byte is the count of further bytes; 8 of them mean that a plain
    64-bit integer follows.
    """
    first = fixed(data, pos, 1)
    extra = (~first & (first + 1)).bit_length() - 1
    if extra >= 8:
        return fixed(data, pos + 1, 8), pos + 9
    return fixed(data, pos, extra + 1) >> (extra + 1), pos + extra + 1


def varlen_signed(data: bytes, pos: int) -> tuple[int, int]:
    """Signed kin of `varlen`: the lowest bit is the sign, the others are those of the value, inverted if it is set."""
    raw, pos = varlen(data, pos)
    return (~(raw >> 1) if raw & 1 else raw >> 1), pos


def encode_varlen(value: int) -> bytes:
    """The shortest form that `varlen` reads."""
    bits = max(value.bit_length(), 1)
    size = (bits + 6) // 7
    if size > 8:
        return b"\xff" + value.to_bytes(8, "little")
    return (value << size | ((1 << (size - 1)) - 1)).to_bytes(size, "little")
