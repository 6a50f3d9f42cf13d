"""Events, keys, tombstones and positions as bytes: there and back, as others read them, and when they are damaged."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog, UnsupportedChange
from connector.model import (
    Change,
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Key,
    Lane,
    Op,
    PublishedPosition,
    SnapshotProgress,
    SourceIdentity,
    SourceInfo,
    SourcePosition,
    Tombstone,
    TombstoneReason,
)
from connector.wire import (
    DocEncoder,
    Event,
    TransactionInfo,
    decode_key,
    decode_position,
    decode_tombstone,
    decode_value,
    encode_key,
    encode_position,
    encode_tombstone,
    encode_value,
    position_key,
)
from connector.wire.schemas import FRAME_BYTES, frame_of, load, schema_directory
from tests.unit.wire.wire_values import changes, keys, longs, positions, tombstones, transactions

AVRO = Path(__file__).parents[3] / "avro"
SOURCE = SourceInfo("mysql", "vecsync", 1_700_000_000_000_000, False, "app", "shadow_vec_docs", 1, None, "b.1", 4, 1)
ORDER = CommitOrder(1, 7, 4096, 3)
DOCUMENT = Document("text", "{}", struct.pack("<3f", 1, 2, 3), "m", 5, False, "2025-01-01 00:00:00.000", None)
CHANGE = DocChange(Op.UPDATE, DocKey("d", "i"), 5, DOCUMENT, ORDER, SOURCE)
INFO = TransactionInfo("uuid:1", 3, True)


@given(changes, transactions, longs)
def test_events_come_back_as_they_were(change: Change, transaction: TransactionInfo, ts_us: int) -> None:
    assert decode_value(encode_value(change, transaction, ts_us)) == Event(change, transaction, ts_us)


@given(keys)
def test_keys_come_back_as_they_were(key: Key) -> None:
    assert decode_key(encode_key(key)) == key


@given(keys, keys)
def test_different_keys_have_different_bytes(one: Key, other: Key) -> None:
    assert (encode_key(one) == encode_key(other)) == (one == other)


@given(tombstones)
def test_tombstones_come_back_as_they_were(tombstone: Tombstone) -> None:
    assert decode_tombstone(encode_tombstone(tombstone)) == tombstone


@given(positions)
def test_positions_come_back_as_they_were(position: PublishedPosition) -> None:
    assert decode_position(encode_position(position)) == position


def _generic(name: str, data: bytes) -> Any:
    """As a stranger reads it: the schema file, fastavro, nothing of ours."""
    schema = fastavro.parse_schema(json.loads((AVRO / f"{name}.avsc").read_text()))
    stream = io.BytesIO(data)
    fields = fastavro.schemaless_reader(stream, schema, None, return_record_name=True)
    assert stream.read() == b""
    return fields


@given(changes, transactions, longs)
def test_a_reader_with_only_the_schema_sees_the_same(change: Change, transaction: TransactionInfo, ts_us: int) -> None:
    name, event = _generic("value", encode_value(change, transaction, ts_us)[10:])
    assert name == f"vecsync.{type(change).__name__}"
    assert event["dataset_id"] == change.key.dataset_id
    assert tuple(event["order"].values()) == tuple(change.order)
    assert list(event["order"]) == list(CommitOrder._fields)
    assert event["transaction"] == transaction._asdict()
    assert event["ts_us"] == ts_us
    source = dict(event["source"])
    assert source.pop("version")
    assert source == change.source._asdict()
    if isinstance(change, Floor):
        assert event["reason"] == change.reason
        return
    assert event["op"] == change.op
    after = event["after"][1] if isinstance(event["after"], tuple) else event["after"]
    if change.after is None:
        assert after is None
        return
    names = _names(change.after)
    assert {name: after[name] for name in names} == {name: getattr(change.after, name) for name in names}
    if isinstance(change, DocChange):
        assert (event["id"], event["scn"], event["unpublished"]) == (change.key.id, change.scn, change.unpublished)
        embedding = change.after.embedding if change.after is not None else None
        whole = embedding is not None and len(embedding) % 4 == 0
        assert after["dims"] == (len(embedding) // 4 if embedding is not None and whole else None)


def _names(value: Document | Dataset | Key) -> tuple[str, ...]:
    return value._fields if isinstance(value, tuple) else tuple(field.name for field in fields(value))


@given(keys)
def test_a_reader_with_only_the_schema_sees_the_same_key(key: Key) -> None:
    name, found = _generic("key", encode_key(key))
    assert name == f"vecsync.{type(key).__name__}"
    assert found == {name: getattr(key, name) for name in _names(key)}


@given(tombstones)
def test_a_reader_with_only_the_schema_sees_the_same_tombstone(tombstone: Tombstone) -> None:
    fields = _generic("tombstone", encode_tombstone(tombstone)[10:])
    assert (fields["dataset_id"], fields["id"], fields["scn"]) == (tombstone.dataset_id, tombstone.id, tombstone.scn)
    assert tuple(fields["order"].values()) == tuple(tombstone.order)
    assert (fields["reason"], fields["ts_us"]) == (tombstone.reason, tombstone.ts_us)


@given(positions)
def test_a_reader_with_only_the_schema_sees_the_same_position(position: PublishedPosition) -> None:
    fields = _generic("position", encode_position(position)[10:])
    assert (fields["epoch"], fields["gtid_set"]) == (position.source.epoch, position.source.gtid_set)
    assert (fields["file"], fields["position"]) == (position.source.file, position.source.position)
    assert {(e["topic"], e["partition"]): e["offset"] for e in fields["ends"]} == position.ends
    assert set(fields["cursors"]) == set(position.source.cursors)


# The Avro specification's own table-driven algorithm ("Schema Fingerprints"), independent of fastavro's.
_EMPTY = 0xC15D213AA4D7A795


def _fingerprint_table() -> list[int]:
    table = []
    for n in range(256):
        fp = n
        for _ in range(8):
            fp = (fp >> 1) ^ (_EMPTY & -(fp & 1))
        table.append(fp)
    return table


def _crc64(text: bytes) -> int:
    table, fp = _fingerprint_table(), _EMPTY
    for byte in text:
        fp = (fp >> 8) ^ table[(fp ^ byte) & 0xFF]
    return fp


def test_the_frame_is_avros_single_object_encoding() -> None:
    assert _crc64(b'"null"') == 0x63DD24E7CC258F8A
    assert frame_of("null") == b"\xc3\x01" + struct.pack("<Q", 0x63DD24E7CC258F8A)
    encoded = {
        "value": encode_value(CHANGE, INFO, 1),
        "tombstone": encode_tombstone(Tombstone("d", "i", ORDER, 5, TombstoneReason.DELETE, 1)),
    }
    for name, data in encoded.items():
        form = fastavro.schema.to_parsing_canonical_form(load(name))
        assert data[:FRAME_BYTES] == b"\xc3\x01" + struct.pack("<Q", _crc64(form.encode()))


def test_the_schemas_are_those_in_the_repository() -> None:
    assert sorted(path.name for path in AVRO.glob("*.avsc")) == [
        "key.avsc",
        "position.avsc",
        "tombstone.avsc",
        "value.avsc",
    ]
    assert schema_directory() == AVRO


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (DocKey("dataset", "id"), "000e64617461736574046964"),
        (DocKey("", ""), "000000"),
        (DocKey("d", "x" * 64), "0002648001" + "78" * 64),
        (DocKey("ключ", "🔑"), "0010d0bad0bbd18ed18708f09f9491"),
        (DatasetKey("dataset"), "020e64617461736574"),
        (FloorKey("dataset"), "04020e64617461736574"),
        (FloorKey(None), "0400"),
    ],
)
def test_the_bytes_of_keys_never_change(key: Key, expected: str) -> None:
    assert encode_key(key).hex() == expected
    if isinstance(key, DocKey):
        assert DocEncoder().key(key).hex() == expected


def test_a_position_is_kept_under_the_name_of_its_source() -> None:
    assert position_key("vecsync") == b"vecsync"


SAMPLES: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "document": (encode_value(CHANGE, INFO, 1), decode_value),
    "deletion": (encode_value(CHANGE._replace(op=Op.DELETE, after=None), INFO, 1), decode_value),
    "dataset": (
        encode_value(DatasetChange(Op.CREATE, DatasetKey("d"), Dataset("x", None, 3), ORDER, SOURCE), INFO, 1),
        decode_value,
    ),
    "floor": (encode_value(Floor(FloorKey(None), ORDER, FloorReason.TRUNCATE, SOURCE), INFO, 1), decode_value),
    "tombstone": (encode_tombstone(Tombstone("d", None, ORDER, 5, TombstoneReason.MOVED, 1)), decode_tombstone),
    "key": (encode_key(DocKey("dataset", "id")), decode_key),
    "floor key": (encode_key(FloorKey("dataset")), decode_key),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_records_cut_short_or_too_long_are_told(name: str) -> None:
    data, decode = SAMPLES[name]
    decode(data)
    for length in range(len(data)):
        with pytest.raises(CorruptedLog):
            decode(data[:length])
    with pytest.raises(CorruptedLog, match="1 bytes too many"):
        decode(data + b"\0")


@given(position=positions, data=st.data())
def test_positions_cut_short_or_too_long_are_told(position: PublishedPosition, data: st.DataObject) -> None:
    encoded = encode_position(position)
    length = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(CorruptedLog):
        decode_position(encoded[:length])
    with pytest.raises(CorruptedLog, match="too many"):
        decode_position(encoded + b"\0")


@given(
    name=st.sampled_from(sorted(SAMPLES)),
    where=st.integers(0),
    what=st.binary(min_size=1, max_size=10),
    replaced=st.integers(0, 10),
)
def test_damaged_records_are_told_or_read(name: str, where: int, what: bytes, replaced: int) -> None:
    """Nothing but our own two errors comes out; and what is read of a damaged record is a record."""
    data, decode = SAMPLES[name]
    at = where % (len(data) + 1)
    try:
        decoded = decode(data[:at] + what + data[at + replaced :])
    except (CorruptedLog, UnsupportedChange):
        return
    if isinstance(decoded, Event):
        assert decode_value(encode_value(*decoded)) == decoded


@given(position=positions, where=st.integers(0), what=st.binary(min_size=1, max_size=10), replaced=st.integers(0, 10))
def test_damaged_positions_are_told_or_read(
    position: PublishedPosition, where: int, what: bytes, replaced: int
) -> None:
    data = encode_position(position)
    at = where % (len(data) + 1)
    try:
        decode_position(data[:at] + what + data[at + replaced :])
    except (CorruptedLog, UnsupportedChange):
        return


@given(st.binary(max_size=200))
def test_anything_else_is_told(data: bytes) -> None:
    for decode in (decode_value, decode_tombstone, decode_position):
        with pytest.raises((CorruptedLog, UnsupportedChange)):
            decode(data)
    try:
        key = decode_key(data)
    except CorruptedLog:
        return
    assert decode_key(encode_key(key)) == key


def test_a_foreign_schema_is_named() -> None:
    data = b"\xc3\x01" + bytes.fromhex("0102030405060708") + b"rest"
    for decode in (decode_value, decode_tombstone, decode_position):
        with pytest.raises(UnsupportedChange, match="0102030405060708"):
            decode(data)


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, -(2**63) - 1, 2**200])
def test_numbers_beyond_64_bits_are_refused_and_never_wrapped(number: int) -> None:
    encode = DocEncoder()
    before = encode(CHANGE, INFO, 1)
    damaged: list[DocChange] = [
        CHANGE._replace(scn=number),
        CHANGE._replace(after=DOCUMENT._replace(scn=number)),
        CHANGE._replace(source=SOURCE._replace(ts_us=number)),
    ]
    if number > 0:
        damaged.append(CHANGE._replace(order=ORDER._replace(position=number)))
        damaged.append(CHANGE._replace(source=SOURCE._replace(pos=number)))
    for change in damaged:
        with pytest.raises(UnsupportedChange, match=str(number)):
            encode_value(change, INFO, 1)
        for _ in range(2):  # a failure leaves nothing behind in the encoder
            with pytest.raises(UnsupportedChange, match=str(number)):
                encode(change, INFO, 1)
    with pytest.raises(UnsupportedChange, match=str(number)):
        encode_value(CHANGE, INFO, number)
    with pytest.raises(UnsupportedChange, match=str(number)):
        encode_value(DatasetChange(Op.CREATE, DatasetKey("d"), Dataset(None, None, number), ORDER, SOURCE), INFO, 1)
    with pytest.raises(UnsupportedChange, match=str(number)):
        encode_tombstone(Tombstone("d", "i", ORDER, number, TombstoneReason.DELETE, 1))
    assert encode(CHANGE, INFO, 1) == before == encode_value(CHANGE, INFO, 1)


# Written by the version that knew no marks.
POSITION_WITHOUT_MARK = (
    "c30132d513f5627f6e3f0a6d7973716c020875756964020c62696e6c6f67000e0006020a613a312d351a62696e6c6f672e30"
    "3030303034a41380c49fd50c000000000001020274021200010a"
)


def test_a_position_of_an_earlier_version_is_read() -> None:
    assert decode_position(bytes.fromhex(POSITION_WITHOUT_MARK)) == PublishedPosition(
        SourcePosition(
            SourceIdentity("mysql", "uuid", "binlog", 0, 7, 0),
            3,
            "a:1-5",
            "binlog.000004",
            1234,
            1700000000,
            snapshot_done=True,
        ),
        {Lane("t", 1): 9},
        True,
        5,
    )


# Written by the version whose snapshots did not say which tables they read.
POSITION_WITHOUT_TABLES = (
    "c3018b825fb756ace9830a6d7973716c020875756964020c62696e6c6f67000e0006020a613a312d351a62696e6c6f672e30"
    "3030303034a41380c49fd50c000000000000000208646f6373020402410278000608d00f00000208646f63730000020274021200010a"
)


def test_a_position_in_a_snapshot_of_an_earlier_version_is_read() -> None:
    found = decode_position(bytes.fromhex(POSITION_WITHOUT_TABLES))
    progress = SnapshotProgress("docs", ("A", "x"), CommitOrder(3, 4, 1000, 0), None, ("docs",))
    assert (found.source.snapshot, found.ends) == (progress, {Lane("t", 1): 9})
