"""Binary JSON that does not add up is refused; whatever else is compared with a server (`test_binlog_live`)."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog
from connector.source.binlog.json_text import json_text
from tests.unit.binlog.cells import patiently


def array(*members: tuple[int, bytes], body: bytes = b"") -> bytes:
    entries = b"".join(bytes([kind]) + value for kind, value in members)
    return b"\2" + struct.pack("<HH", len(members), 4 + len(entries) + len(body)) + entries + body


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "null"),
        (b"\4\1", "true"),
        (b"\5\xff\xff", "-1"),
        (array((5, b"\1\0"), (4, b"\0\0")), "[1, null]"),
        (array((12, b"\7\0"), body=b"\2hi"), '["hi"]'),
        (b"\x0b" + struct.pack("<d", 1e15), "1e15"),
        (b"\x0b" + struct.pack("<d", -0.0), "-0.0"),
    ],
)
def test_values(raw: bytes, text: str) -> None:
    assert json_text(raw) == text


@pytest.mark.parametrize(
    "raw",
    [
        b"\4\3",
        b"\x0d\0",
        b"\5\1",
        array((12, b"\7\0"), body=b"\x09hi"),
        array((12, b"\x63\0"), body=b"\2hi"),
        b"\2\xff\xff\4\0",
        b"\x0c\xff\xff\xff\xff\xff\xff",
        array((2, b"\0\0")),
        b"\x0b" + struct.pack("<d", float("nan")),
        b"\x0b" + struct.pack("<d", float("-inf")),
    ],
)
def test_what_does_not_add_up_is_refused(raw: bytes) -> None:
    with pytest.raises(CorruptedLog):
        json_text(raw)


@patiently
@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        text = json_text(raw)
    except (CorruptedLog, ValueError, ArithmeticError, IndexError):
        return
    assert isinstance(text, str)


def shared(levels: int) -> bytes:
    """Arrays of two members that are one and the same array: 2 ** levels values in ten bytes a level."""
    raw = array((4, b"\0\0"))[1:]
    for _ in range(levels):
        raw = array((2, b"\x0a\0"), (2, b"\x0a\0"), body=raw)[1:]
    return b"\2" + raw


def test_members_that_share_their_bytes_are_refused() -> None:
    """No server writes them, and their text has no bound."""
    assert json_text(shared(0)) == "[null]"
    for levels in (1, 60):
        with pytest.raises(CorruptedLog, match="more than"):
            json_text(shared(levels))
    text = b"\xff\x0f" + b"x" * 2047
    with pytest.raises(CorruptedLog, match="more than"):
        json_text(array(*[(12, struct.pack("<H", 4 + 3 * 5000))] * 5000, body=text))


def test_a_long_array_takes_time_by_its_length() -> None:
    strings = 12_000
    entries = b"".join(b"\x0c" + (8 + 5 * strings + 100 * number).to_bytes(4, "little") for number in range(strings))
    body = (b"\x63" + b"y" * 99) * strings
    raw = b"\3" + struct.pack("<II", strings, 8 + len(entries) + len(body)) + entries + body
    began = time.thread_time()
    assert json_text(raw) == f"[{', '.join([chr(34) + 'y' * 99 + chr(34)] * strings)}]"
    assert time.thread_time() - began < 2  # half a minute if each member copied what stands behind it
