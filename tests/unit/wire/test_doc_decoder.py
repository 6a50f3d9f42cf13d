"""The fast decoder gives what `decode_value` gives, whatever the bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog, UnsupportedChange
from connector.model import Change, CommitOrder, DocChange, DocKey, Document, Op, SourceInfo
from connector.wire import Event, EventDecoder, TransactionInfo, decode_value, encode_value
from tests.unit.wire.wire_values import changes, doc_changes, longs, transactions


def definition(data: bytes) -> Event | None:
    """None where it refuses the bytes."""
    try:
        return decode_value(data)
    except (CorruptedLog, UnsupportedChange):
        return None


@given(st.lists(st.tuples(changes, transactions, longs), min_size=1, max_size=5))
def test_the_same_events(events: list[tuple[Change, TransactionInfo, int]]) -> None:
    decode = EventDecoder()
    for event in events:
        data = encode_value(*event)
        assert decode(data) == decode_value(data) == Event(*event)


@given(doc_changes, transactions, longs, st.data())
def test_damaged_events(change: DocChange, transaction: TransactionInfo, ts_us: int, data: st.DataObject) -> None:
    """Never another event: the same one, or refused. Some bytes that the definition takes are no Avro: those may be
    refused too. A decoder that has seen the whole event takes nothing from it into the damaged one."""
    whole = encode_value(change, transaction, ts_us)
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from(
            [
                whole[:at],
                whole[:at] + whole[at + 1 :],
                whole + b"\0",
                *(whole[:at] + bytes([byte]) + whole[at + 1 :] for byte in (0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF)),
            ]
        )
    )
    decode = EventDecoder()
    decode(whole)
    expected = definition(damaged)
    try:
        found = decode(damaged)
    except (CorruptedLog, UnsupportedChange):
        return
    assert found == expected


def test_many_damaged_events() -> None:
    """At every place of an event with everything in it, every byte."""
    source = SourceInfo("mysql", "p", 1_700_000_000_000_000, False, "app", "docs", 7, "u:1", "binlog.000001", 157, 1)
    row = Document("content", '{"a": 1}', b"\0\0\x80?" * 3, "m", 70, True, "2026-01-01 00:00:00", None)
    change = DocChange(Op.UPDATE, DocKey("d", "i"), 70, row, CommitOrder(1, 1, 157, 1), source)
    whole = encode_value(change, TransactionInfo("u:1", 1, True), 1_700_000_000_000_000)
    decode, accepted = EventDecoder(), 0
    for at in range(len(whole)):
        for byte in range(256):
            damaged = whole[:at] + bytes([byte]) + whole[at + 1 :]
            expected = definition(damaged)
            try:
                found = decode(damaged)
            except (CorruptedLog, UnsupportedChange):
                continue
            assert found == expected
            accepted += 1
    assert accepted > 1000  # a changed letter is another event, and not a damaged one


@pytest.mark.parametrize("cut", range(1, 200))
def test_what_a_damaged_event_said_is_forgotten(cut: int) -> None:
    """The end of a text that was cut off is not taken for known when the same bytes begin another text."""
    source = SourceInfo("mysql", "p", 1, False, "app", "docs", 7, "u:1", "binlog.000001", 157, 1)
    row = Document("content", None, b"\0\0\x80?", "model", 1, False, "2026-01-01 00:00:00", "2026-01-01 00:00:00")
    change = DocChange(Op.CREATE, DocKey("d", "i"), 1, row, CommitOrder(1, 1, 157, 1), source)
    whole = encode_value(change, TransactionInfo("u:1", 1, True), 1)
    decode = EventDecoder()
    with pytest.raises(CorruptedLog):
        decode(whole[: -min(cut, len(whole) - 12)])
    assert decode(whole) == decode_value(whole)


@pytest.mark.parametrize(
    "number",
    [b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01", b"\xff" * (1 << 23)],
    ids=["65 bits", "eleven bytes", "without end"],
)
def test_a_number_beyond_64_bits_is_refused_and_not_gathered(number: bytes) -> None:
    source = SourceInfo("mysql", "p", 1, False, "app", "docs", 7, None, None, 157, 1)
    change = DocChange(Op.DELETE, DocKey("d", "i"), 1, None, CommitOrder(1, 1, 1, 1), source)
    whole = encode_value(change, TransactionInfo("t", 1, True), 1)
    at = whole.index(b"\x02d\x02i") + 4  # the change number comes after dataset and id
    assert whole[at : at + 1] == b"\x02"
    with pytest.raises(CorruptedLog, match="64 bits"):
        EventDecoder()(whole[:at] + number + whole[at + 1 :])


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 8191, 8192, 8193, 1 << 20])
def test_lengths_of_every_size(size: int) -> None:
    rng = random.Random(size)
    text = "x" * size
    row = Document(text, text, rng.randbytes(size), text, size, False, text, text)
    change = DocChange(
        Op.CREATE,
        DocKey(text, text),
        size,
        row,
        CommitOrder(size, size, size, size),
        SourceInfo(text, text, size, True, text, text, size, text, text, size, size),
        text,
    )
    event = (change, TransactionInfo(text, size, True), size)
    assert EventDecoder()(encode_value(*event)) == Event(*event)


def test_every_field_is_taken_anew_when_it_changes() -> None:
    decode = EventDecoder()
    source = SourceInfo("mysql", "p", 1, False, "app", "docs", 7, "u:1", "binlog.000001", 157, 1)
    base = DocChange(Op.CREATE, DocKey("d", "i"), 1, None, CommitOrder(1, 1, 1, 1), source)
    variants = [base]
    for n in range(len(source)):
        others = ("x", "x", 5, True, "x", "x", 5, None, None, 5, 5)
        variants += [base._replace(source=SourceInfo._make((*source[:n], others[n], *source[n + 1 :]))), base]
    for n in range(len(base.order)):
        variants.append(base._replace(order=CommitOrder._make((*base.order[:n], 300, *base.order[n + 1 :]))))
    for number, change in enumerate(variants):
        info = TransactionInfo(f"t{number // 2}", number, bool(number % 2))
        assert decode(encode_value(change, info, number // 3)) == Event(change, info, number // 3)
