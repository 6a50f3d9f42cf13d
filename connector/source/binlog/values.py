"""Column values: from the bytes that the binlog stores to what SELECT shows (session time zone +00:00). Pure.

Each function here takes exactly the bytes of one value. Repeated values (timestamps of one transaction) are
remembered, in tables of bounded size. Formats: MySQL `libs/mysql/binlog/event`, `mysys/decimal.cc` and
`my_time.cc`; MariaDB stores the same.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from connector.errors import CorruptedLog

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Decoded = TypeVar("_Decoded")
_REMEMBERED = 4096  # values; a few hundred KB at most per kind of column


def fraction_size(digits: int) -> int:
    """Bytes that a fraction of that many decimal digits takes."""
    return (digits + 1) // 2


def _fraction(value: int, digits: int) -> str:
    """`value` counts in units of the stored size: hundredths, ten-thousandths or millionths."""
    return f".{value:0{fraction_size(digits) * 2}d}"[: digits + 1] if digits else ""


def datetime2(digits: int) -> Callable[[bytes], str]:
    """DATETIME(n): five bytes and the fraction, big-endian."""
    shift = 8 * fraction_size(digits)
    offset = 0x8000000000 << shift
    mask = (1 << shift) - 1

    @lru_cache(_REMEMBERED)
    def decode(raw: bytes) -> str:
        value = int.from_bytes(raw, "big") - offset
        whole = value >> shift
        date, time = whole >> 17, whole & 0x1FFFF
        year, month = divmod(date >> 5, 13)
        text = f"{year:04d}-{month:02d}-{date & 31:02d} {time >> 12:02d}:{time >> 6 & 63:02d}:{time & 63:02d}"
        return text + _fraction(value & mask, digits)

    return decode


def timestamp2(digits: int) -> Callable[[bytes], str]:
    """TIMESTAMP(n): four bytes of seconds and the fraction, big-endian; 0 is the zero date."""

    @lru_cache(_REMEMBERED)
    def decode(raw: bytes) -> str:
        fraction = _fraction(int.from_bytes(raw[4:], "big"), digits)
        return _moment(int.from_bytes(raw[:4], "big")) + fraction

    return decode


def _moment(seconds: int) -> str:
    if seconds == 0:
        return "0000-00-00 00:00:00"
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")


def time2(digits: int) -> Callable[[bytes], str]:
    """TIME(n): three bytes and the fraction, one biased big-endian integer."""
    shift = 8 * fraction_size(digits)
    offset = 0x800000 << shift
    mask = (1 << shift) - 1

    @lru_cache(_REMEMBERED)
    def decode(raw: bytes) -> str:
        value = int.from_bytes(raw, "big") - offset
        size = abs(value)
        whole = size >> shift
        text = f"{whole >> 12:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}" + _fraction(size & mask, digits)
        return f"-{text}" if value < 0 else text

    return decode


@lru_cache(_REMEMBERED)
def date(raw: bytes) -> str:
    """DATE: three bytes, little-endian: day 5 bits, month 4, year 15."""
    value = int.from_bytes(raw, "little")
    return f"{value >> 9:04d}-{value >> 5 & 15:02d}-{value & 31:02d}"


def old_timestamp(raw: bytes) -> str:
    """TIMESTAMP as before MySQL 5.6: seconds, little-endian."""
    return _moment(int.from_bytes(raw, "little"))


def old_datetime(raw: bytes) -> str:
    """DATETIME as before MySQL 5.6: the decimal number YYYYMMDDhhmmss, little-endian."""
    day, time = divmod(int.from_bytes(raw, "little"), 1_000_000)
    return (
        f"{day // 10000:04d}-{day // 100 % 100:02d}-{day % 100:02d} "
        f"{time // 10000:02d}:{time // 100 % 100:02d}:{time % 100:02d}"
    )


def old_time(raw: bytes) -> str:
    """TIME as before MySQL 5.6: the signed decimal number hhmmss, little-endian."""
    value = int.from_bytes(raw, "little", signed=True)
    size = abs(value)
    text = f"{size // 10000:02d}:{size // 100 % 100:02d}:{size % 100:02d}"
    return f"-{text}" if value < 0 else text


def year(raw: bytes) -> int:
    """YEAR: years since 1900; 0 is the year 0000."""
    return 1900 + raw[0] if raw[0] else 0


_DIGITS_PER_WORD = 9
_BYTES_OF_DIGITS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def decimal_size(precision: int, scale: int) -> int:
    """Bytes that DECIMAL(precision, scale) takes."""
    return sum(
        4 * (digits // _DIGITS_PER_WORD) + _BYTES_OF_DIGITS[digits % _DIGITS_PER_WORD]
        for digits in (precision - scale, scale)
    )


def decimal(precision: int, scale: int) -> Callable[[bytes], str]:
    """DECIMAL: groups of nine digits as big-endian words, partial groups at both ends, sign in the first bit."""
    words_before, digits_before = divmod(precision - scale, _DIGITS_PER_WORD)
    words_after, digits_after = divmod(scale, _DIGITS_PER_WORD)
    groups: list[tuple[int, int, int]] = []  # start, end, digits
    at = 0
    for digits in (
        *((digits_before,) if digits_before else ()),
        *(_DIGITS_PER_WORD,) * (words_before + words_after),
        *((digits_after,) if digits_after else ()),
    ):
        groups.append((at, at + _BYTES_OF_DIGITS[digits], digits))
        at += _BYTES_OF_DIGITS[digits]
    size = at
    ones = (1 << 8 * size) - 1

    def decode(raw: bytes) -> str:
        value = int.from_bytes(raw, "big") ^ (0x80 << 8 * (size - 1))  # as stored for a positive number
        negative = not raw[0] & 0x80
        plain = (value ^ ones if negative else value).to_bytes(size, "big")
        text = ""
        for start, end, digits in groups:
            group = f"{int.from_bytes(plain[start:end], 'big'):0{digits}d}"
            if len(group) != digits:
                raise CorruptedLog(f"DECIMAL({precision},{scale}) holds {raw.hex()}")
            text += group
        whole = text[: precision - scale].lstrip("0") or "0"
        if scale:
            whole = f"{whole}.{text[precision - scale :]}"
        return f"-{whole}" if negative else whole

    return decode


def integer(*, unsigned: bool) -> Callable[[bytes], int]:
    """Little-endian integers."""

    def decode(raw: bytes) -> int:
        return int.from_bytes(raw, "little", signed=not unsigned)

    return decode


def bits(raw: bytes) -> int:
    """BIT(n): big-endian."""
    return int.from_bytes(raw, "big")


def float32(raw: bytes) -> float:
    return float(struct.unpack("<f", raw)[0])


def float64(raw: bytes) -> float:
    return float(struct.unpack("<d", raw)[0])


def fixed_binary(size: int) -> Callable[[bytes], bytes]:
    """BINARY(n): the log drops trailing zero bytes, SELECT shows them."""

    def decode(raw: bytes) -> bytes:
        return raw.ljust(size, b"\0")

    return decode


def member(members: tuple[str, ...]) -> Callable[[bytes], str]:
    """ENUM: the index of the member, from 1; 0 is the empty string of an invalid value."""
    texts = ("", *members)

    def decode(raw: bytes) -> str:
        number = int.from_bytes(raw, "little")
        if number >= len(texts):
            raise CorruptedLog(f"ENUM of {len(members)} members holds number {number}")
        return texts[number]

    return decode


def member_set(members: tuple[str, ...]) -> Callable[[bytes], str]:
    """SET: a bit for each member, shown separated by commas."""

    @lru_cache(_REMEMBERED)
    def decode(raw: bytes) -> str:
        value = int.from_bytes(raw, "little")
        if value >> len(members):
            raise CorruptedLog(f"SET of {len(members)} members holds {value:#x}")
        return ",".join(text for bit, text in enumerate(members) if value >> bit & 1)

    return decode


def compressed(decode: Callable[[bytes], _Decoded] | None) -> Callable[[bytes], _Decoded | bytes]:
    """MariaDB's COMPRESSED columns: header byte, inflated size (big-endian), deflate data; `decode` takes it on.

    Header: method in the upper four bits (0 stored, 8 zlib), 8 for data without zlib's frame, length of the size.
    """

    def inflate(raw: bytes) -> bytes:
        head = raw[0] if raw else 0
        if head >> 4 == 0:
            return raw[1:]
        if head >> 4 != 8:
            raise CorruptedLog(f"compressed value has the unknown method {head >> 4}")
        start = 1 + (head & 7)
        size = int.from_bytes(raw[1:start], "big")
        stream = zlib.decompressobj(-zlib.MAX_WBITS if head & 8 else zlib.MAX_WBITS)
        try:
            plain = stream.decompress(raw[start:], size + 1)
        except zlib.error as error:
            raise CorruptedLog(f"compressed value does not decompress: {error}") from None
        if len(plain) != size or not stream.eof:
            raise CorruptedLog(f"compressed value inflates to other than the {size} bytes it says")
        return plain

    return inflate if decode is None else lambda raw: decode(inflate(raw))
