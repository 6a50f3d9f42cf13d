"""Binary JSON that does not add up is refused; whatever else is compared with a server (`test_binlog_live`)."""

from __future__ import annotations

import struct

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
