"""Every character set of the servers: each code that one takes is read as the server itself converts it, each that it
does not take is refused, and every code point that it can store is read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pymysql
import pytest

from connector.source.binlog.charsets import collation_of, text_decoder
from tests.servers.model import SqlDatabase

_WIDE = {"ucs2", "utf16", "utf16le", "utf32", "utf8mb3", "utf8mb4"}
_DOUBLE = {"big5", "cp932", "euckr", "gb2312", "gbk", "sjis", "ujis", "eucjpms", "gb18030"}
_TRIPLE = {"ujis", "eucjpms"}
_LONG = {*_WIDE, "gb18030"}
_ROWS = 5000
_CHUNK = 32768


def codes(charset: str) -> Iterator[bytes]:
    for first in range(256):
        yield bytes([first])
    if charset not in _DOUBLE:
        return
    for first in range(0x80, 0x100):
        for second in range(0x100):
            yield bytes([first, second])
    if charset in _TRIPLE:
        for second in range(0xA0, 0x100):
            for third in range(0xA0, 0x100):
                yield bytes([0x8F, second, third])


def read(decode: Callable[[bytes], str], code: bytes) -> str | None:
    """None: refused, or not one character."""
    try:
        text = decode(code)
    except UnicodeDecodeError:
        return None
    return text if len(text) == 1 else None


def of_codes(cursor: pymysql.cursors.Cursor, charset: str) -> dict[bytes, str]:
    """What the server makes of each code that a column of the character set takes as one character."""
    cursor.execute("DROP TABLE IF EXISTS codes")
    cursor.execute("CREATE TABLE codes (code VARBINARY(4))")
    all_codes = list(codes(charset))
    for at in range(0, len(all_codes), _ROWS):
        values = ",".join(f"(X'{code.hex()}')" for code in all_codes[at : at + _ROWS])
        cursor.execute(f"INSERT INTO codes VALUES {values}")
    text = f"CONVERT(code USING {charset})"
    taken = f"HEX({text}) = HEX(code) AND CHAR_LENGTH({text}) = 1"
    cursor.execute(f"SELECT code, CONVERT({text} USING utf8mb4) FROM codes WHERE {taken}")
    # A question mark, or nothing, stands for what has no counterpart.
    return {code: text for code, text in cursor.fetchall() if text and (text != "?" or code == b"?")}


def of_code_points(cursor: pymysql.cursors.Cursor, charset: str) -> Iterator[tuple[bytes, str]]:
    """(bytes in that character set, what the server makes of them) for all of Unicode; what it lacks is a `?`."""
    points = [chr(point) for point in range(1, 0x110000) if not 0xD800 <= point < 0xE000]
    for at in range(0, len(points), _CHUNK):
        octets = "".join(points[at : at + _CHUNK]).encode("utf-32-be").hex()
        stored = f"CONVERT(_utf32 X'{octets}' USING {charset})"
        cursor.execute(f"SELECT CAST({stored} AS BINARY), CONVERT({stored} USING utf8mb4)")
        yield cursor.fetchall()[0]


def test_each_is_converted_as_the_server_converts_it(sql_database: SqlDatabase) -> None:
    with closing(sql_database.connect(autocommit=True)) as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("SHOW CHARACTER SET")
        there = {str(row[0]) for row in cursor.fetchall()} - {"binary"}
        assert len(there) >= 39
        for charset in sorted(there):
            decode = text_decoder(charset)
            assert decode is not None, f"{charset} is refused"
            assert collation_of(charset) is not None
            if charset not in _WIDE:
                expected = of_codes(cursor, charset)
                assert len(expected) >= 127
                found = {code: read(decode, code) for code in codes(charset)}
                differs = {c.hex(): (text, expected.get(c)) for c, text in found.items() if text != expected.get(c)}
                assert differs == {}, charset
                joined = sorted(expected)
                assert decode(b"".join(joined)) == "".join(expected[code] for code in joined), charset
            if charset in _LONG:  # of the others every code was there
                for stored, text in of_code_points(cursor, charset):
                    assert decode(stored) == text, charset


@pytest.mark.parametrize("charset", ["cp932", "eucjpms", "big5", "gb18030", "sjis", "ujis", "euckr", "gbk"])
def test_what_is_cut_off_is_refused(charset: str) -> None:
    decode = text_decoder(charset)
    assert decode is not None
    with pytest.raises(UnicodeDecodeError):
        decode(b"abc\x81")


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        *(("cp932", around % octet) for octet in (b"\x80", b"\xa0", b"\xfd", b"\xff") for around in (b"%b", b"a%ba")),
        ("cp932", b"\xb1\xa0a"),
        ("eucjpms", b"a\xa2\xafa"),
        ("ujis", b"a\xad\xa1a"),
        ("dec8", b"a\xffa"),
    ],
)
def test_what_is_not_defined_is_refused_wherever_it_stands(charset: str, data: bytes) -> None:
    decode = text_decoder(charset)
    assert decode is not None
    with pytest.raises(UnicodeDecodeError):
        decode(data)


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        ("sjis", b"a\\\x81\x5f\xb1\x83\x5c", "a\\\\ｱソ"),  # the second byte of a code may be a backslash
        ("cp932", b"\xb1\x81\x60\x87\x40b", "ｱ～①b"),
        ("ujis", b"\x8e\xb1\xa1\xc0\xf5\xa1\x8f\xf5\xa1\xa1\xc1", "ｱ\\\ue000\ue3ac〜"),
        ("eucjpms", b"~\x8f\xa2\xb7\xa1\xc1\xad\xa1\x8f\xf3\xf3", "~～～①ⅰ"),
        ("big5", b"\xa1\xfe\xa2\x41\xa2\xcc\xa4\x51", "\ufffd／\ufffd十"),
        ("gb18030", b"\xa8\xbc0\x81\x35\xf4\x37\xc4\xe3", "\u1e3f0\ue7c7你"),
    ],
)
def test_what_differs_stands_beside_what_does_not(charset: str, data: bytes, text: str) -> None:
    decode = text_decoder(charset)
    assert decode is not None
    assert decode(data) == text
