"""Binlogs that real servers wrote (see `data/README.md`), whole and damaged."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog import files
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.events import FLAG_IN_USE
from connector.source.binlog.rows import Rows
from tests.unit.binlog.cells import patiently
from tests.unit.binlog.listing import DATA, SERVERS, Everything, listing


@pytest.mark.parametrize("server", SERVERS)
def test_a_captured_binlog_says_what_its_statements_did(server: str) -> None:
    assert listing(DATA / f"{server}.binlog") == (DATA / f"{server}.txt").read_text()


@pytest.mark.parametrize("server", SERVERS)
@patiently
@given(data=st.data())
def test_no_flipped_bit_passes(server: str, data: st.DataObject) -> None:
    whole = (DATA / f"{server}.binlog").read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    if (at, bit) == (4 + 17, 0):
        assert FLAG_IN_USE == 1  # servers clear it without computing the checksum anew
        return
    damaged = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
    with pytest.raises((CorruptedLog, UnsupportedChange)):
        read(damaged)


@pytest.mark.parametrize("server", SERVERS)
@patiently
@given(data=st.data())
def test_a_file_cut_inside_an_event_is_refused(server: str, data: st.DataObject) -> None:
    whole = (DATA / f"{server}.binlog").read_bytes()
    ends = {4}
    for event in files.events(io.BytesIO(whole)):
        ends.add(max(ends) + len(event))
    cut = data.draw(st.integers(0, len(whole) - 1).filter(lambda at: at not in ends))
    with pytest.raises(CorruptedLog):
        read(whole[:cut])


def read(content: bytes) -> None:
    decoder = Decoder(Everything())
    for event in files.events(io.BytesIO(content)):
        for item in decoder.feed(event):
            if isinstance(item, Rows):
                item.pairs() if item.kind.name == "UPDATE" else item.rows()


def test_encrypted_files_are_refused() -> None:
    with pytest.raises(UnsupportedChange, match="encrypted"):
        read(b"\xfdbin" + bytes(600))
