"""Which event a log is known by, and what is kept of it."""

from __future__ import annotations

import struct
import zlib

from connector.source.binlog.events import EventType as T
from connector.source.binlog.marks import Marks, told


def event(kind: int, body: bytes, *, crc32: bool = True) -> bytes:
    size = 19 + len(body) + 4 * crc32
    made = struct.pack("<IBIIIH", 1_700_000_000, kind, 7, size, 1000, 0) + body
    return made + zlib.crc32(made).to_bytes(4, "little") if crc32 else made


def test_the_last_certain_event_is_the_mark() -> None:
    marks = Marks()
    assert marks.last() is None
    first, second = event(T.GTID, b"one"), event(T.XID, b"12345678")
    marks.saw(first, "b.000001", 500, crc32=True)
    marks.saw(event(T.QUERY, b"BEGIN"), "b.000001", 600, crc32=True)
    marks.saw(second, "b.000001", 1000, crc32=True)
    mark = marks.last()
    assert mark == ("b.000001", 1000 - len(second), told(second, crc32=True))
    marks.saw(event(T.QUERY, b"CREATE"), "b.000001", 1200, crc32=True)
    assert marks.last() == mark, "a statement is no better than a transaction before it"


def test_a_statement_is_better_than_an_earlier_file() -> None:
    marks = Marks()
    marks.saw(event(T.XID, b"12345678"), "b.000001", 1000, crc32=True)
    marks.last()
    create = event(T.QUERY, b"CREATE")
    marks.saw(create, "b.000002", 400, crc32=True)
    assert marks.last() == ("b.000002", 400 - len(create), told(create, crc32=True))


def test_a_setting_of_the_server_changes_nothing() -> None:
    assert told(event(T.XID, b"12345678"), crc32=True) == told(event(T.XID, b"12345678", crc32=False), crc32=False)
    assert told(event(T.XID, b"12345678"), crc32=True) != told(event(T.XID, b"12345679"), crc32=True)


def test_little_is_kept_of_much() -> None:
    assert len(told(event(T.QUERY, b"x" * 10_000), crc32=True)) == 32
