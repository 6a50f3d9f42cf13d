"""Avro's primitives as bytes, and what is worth remembering of them: the material of everything here that makes events
without fastavro. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from connector.errors import UnsupportedChange

NULL, BRANCH_1, FALSE, TRUE = b"\x00", b"\x02", b"\x00", b"\x01"

_SMALL = 1 << 14
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
# Fourteen bits at a time: two bytes with more to come, or the one or two bytes that end a number.
_MORE = [bytes((z & 0x7F | 0x80, z >> 7 | 0x80)) for z in range(_SMALL)]
_LAST = [bytes((z,)) if z < 0x80 else bytes((z & 0x7F | 0x80, z >> 7)) for z in range(_SMALL)]

_LARGEST_KEPT = 1024  # bytes of one form; longer ones hardly repeat


def long_bytes(n: int) -> bytes:
    """Avro's long: zigzag, then seven bits a byte, the lowest first. Raises UnsupportedChange beyond 64 bits."""
    if not _LEAST <= n <= _MOST:
        raise too_large(n)
    z = (n << 1) ^ (n >> 63)
    if z < _SMALL:
        return _LAST[z]
    if z < _SMALL << 14:
        return _MORE[z & 0x3FFF] + _LAST[z >> 14]
    out = b""
    while z >= _SMALL:
        out += _MORE[z & 0x3FFF]
        z >>= 14
    return out + _LAST[z]


def counted(data: bytes) -> bytes:
    """Avro's bytes and string: length, then content."""
    return long_bytes(len(data)) + data


def too_large(number: int) -> UnsupportedChange:
    return UnsupportedChange(
        f"a change holds the number {number}, and the log has room for 64 bits with a sign",
        hint="Change numbers (the column scn) must stay below 2^63; correct the row at the source.",
    )


_Key = TypeVar("_Key")


class Kept(dict[_Key, bytes]):
    """Encoded forms by what they are made of; made when first asked for, forgotten together when there are too many."""

    __slots__ = ("_make", "_most")

    def __init__(self, make: Callable[[_Key], bytes], most: int = 4096) -> None:
        self._make: Callable[[_Key], bytes] = make
        self._most = most

    def __missing__(self, key: _Key) -> bytes:
        made = self._make(key)
        if len(made) <= _LARGEST_KEPT:
            if len(self) >= self._most:
                self.clear()
            self[key] = made
        return made
