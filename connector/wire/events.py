"""Changes and tombstones to Avro bytes and back. fastavro is the definition of the bytes; nothing is judged here."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, NamedTuple

from fastavro import schemaless_reader, schemaless_writer
from fastavro.schema import parse_schema

from connector import __version__
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
    Op,
    SourceInfo,
    Tombstone,
    TombstoneReason,
)
from connector.wire.avro import too_large
from connector.wire.schemas import (
    FRAME_BYTES,
    MAGIC,
    REGISTRY_FRAME_BYTES,
    REGISTRY_MAGIC,
    branches,
    frame_of,
    load,
)

_VALUE = load("value")
_TOMBSTONE_SCHEMA = load("tombstone")
_VALUE_FRAME = frame_of(_VALUE)
_TOMBSTONE_FRAME = frame_of(_TOMBSTONE_SCHEMA)
_DOC, _DATASET, _FLOOR = branches(_VALUE)
_TOMBSTONE = parse_schema(_TOMBSTONE_SCHEMA)
_DOC_KEY, _DATASET_KEY, _FLOOR_KEY = branches(load("key"))

# A union is written as the zigzag index of its branch: one byte for indexes below 64.
_BRANCH = (b"\x00", b"\x02", b"\x04")
DOC_HEAD, DATASET_HEAD, FLOOR_HEAD = (_VALUE_FRAME + b for b in _BRANCH)
DOC_KEY_HEAD = _BRANCH[0]
OPS_IN_ORDER = (Op.CREATE, Op.UPDATE, Op.DELETE, Op.READ)  # as the enumeration in the schema has them
_OPS = {op.value: op for op in Op}
UNREADABLE = (EOFError, IndexError, ValueError, struct.error, UnicodeDecodeError, OverflowError, TypeError)


class TransactionInfo(NamedTuple):
    id: str
    total_order: int
    last: bool


class Event(NamedTuple):
    """A decoded value of a data topic."""

    change: Change
    transaction: TransactionInfo
    ts_us: int


def encode_key(key: Key) -> bytes:
    """Plain Avro binary of the key union; the same bytes for the same key, for ever."""
    out = BytesIO()
    if type(key) is DocKey:
        out.write(_BRANCH[0])
        schemaless_writer(out, _DOC_KEY, {"dataset_id": key.dataset_id, "id": key.id})
    elif type(key) is DatasetKey:
        out.write(_BRANCH[1])
        schemaless_writer(out, _DATASET_KEY, {"dataset_id": key.dataset_id})
    else:
        out.write(_BRANCH[2])
        schemaless_writer(out, _FLOOR_KEY, {"dataset_id": key.dataset_id})
    return out.getvalue()


def decode_key(data: bytes) -> Key:
    """Raises CorruptedLog."""
    stream = BytesIO(data)
    branch = stream.read(1)
    try:
        if branch == _BRANCH[0]:
            fields: Any = schemaless_reader(stream, _DOC_KEY, None)
            key: Key = DocKey(fields["dataset_id"], fields["id"])
        elif branch == _BRANCH[1]:
            fields = schemaless_reader(stream, _DATASET_KEY, None)
            key = DatasetKey(fields["dataset_id"])
        elif branch == _BRANCH[2]:
            fields = schemaless_reader(stream, _FLOOR_KEY, None)
            key = FloorKey(fields["dataset_id"])
        else:
            raise CorruptedLog(f"a key begins with {branch!r}, which names none of the kinds of key")
    except UNREADABLE as error:
        raise CorruptedLog(f"a key of {len(data)} bytes cannot be decoded: {error}") from error
    if stream.tell() != len(data):
        raise CorruptedLog(f"a key of {len(data)} bytes has {len(data) - stream.tell()} bytes too many")
    return key


def _order(order: CommitOrder) -> dict[str, int]:
    return {"epoch": order[0], "file": order[1], "position": order[2], "ordinal": order[3]}


def _source(source: SourceInfo) -> dict[str, Any]:
    return {
        "version": __version__,
        "connector": source[0],
        "name": source[1],
        "ts_us": source[2],
        "snapshot": source[3],
        "db": source[4],
        "table": source[5],
        "server_id": source[6],
        "gtid": source[7],
        "file": source[8],
        "pos": source[9],
        "row": source[10],
    }


def encode_value(change: Change, transaction: TransactionInfo, ts_us: int) -> bytes:
    """The framed event. ts_us: when the connector handled it, microseconds since the epoch. Raises UnsupportedChange
    for a number beyond 64 bits."""
    out = BytesIO()
    common = {
        "order": _order(change.order),
        "source": _source(change.source),
        "transaction": {"id": transaction[0], "total_order": transaction[1], "last": transaction[2]},
        "ts_us": ts_us,
    }
    if type(change) is DocChange:
        out.write(DOC_HEAD)
        after = change.after
        document = None
        if after is not None:
            embedding = after.embedding
            size = None if embedding is None else len(embedding)
            fields = {
                "content": after.content,
                "meta": after.meta,
                "embedding": embedding,
                "dims": None if size is None or size & 3 else size >> 2,
                "embedding_model": after.embedding_model,
                "scn": after.scn,
                "archived": after.archived,
                "created_at": after.created_at,
                "updated_at": after.updated_at,
            }
            document = ("vecsync.Document", fields)  # named, so that fastavro need not find out which branch it is
        common["op"] = change.op.value
        common["dataset_id"] = change.key.dataset_id
        common["id"] = change.key.id
        common["scn"] = change.scn
        common["after"] = document
        common["unpublished"] = change.unpublished
        return _write(out, _DOC, common)
    if type(change) is DatasetChange:
        out.write(DATASET_HEAD)
        row = change.after
        common["op"] = change.op.value
        common["dataset_id"] = change.key.dataset_id
        common["after"] = row and {
            "description": row.description,
            "source_uri": row.source_uri,
            "last_scn": row.last_scn,
        }
        return _write(out, _DATASET, common)
    assert type(change) is Floor
    out.write(FLOOR_HEAD)
    common["dataset_id"] = change.key.dataset_id
    common["reason"] = change.reason.value
    return _write(out, _FLOOR, common)


def _write(out: BytesIO, schema: Any, fields: dict[str, Any]) -> bytes:
    try:
        schemaless_writer(out, schema, fields)
    except (OverflowError, ValueError) as error:
        widest = _widest(fields)
        if -(1 << 63) <= widest < 1 << 63:
            raise
        raise too_large(widest) from error
    return out.getvalue()


def _widest(fields: object) -> int:
    """The number of largest magnitude in it."""
    if isinstance(fields, dict | tuple):
        parts = fields.values() if isinstance(fields, dict) else fields
        return max(map(_widest, parts), key=abs, default=0)
    return fields if isinstance(fields, int) else 0


def _decode_source(s: dict[str, Any]) -> SourceInfo:
    return SourceInfo(
        s["connector"],
        s["name"],
        s["ts_us"],
        s["snapshot"],
        s["db"],
        s["table"],
        s["server_id"],
        s["gtid"],
        s["file"],
        s["pos"],
        s["row"],
    )


def decode_value(data: bytes) -> Event:
    """Raises CorruptedLog, and UnsupportedChange for an event written with a schema that this version lacks."""
    head = data[: FRAME_BYTES + 1]
    if head[:FRAME_BYTES] != _VALUE_FRAME:
        raise foreign_frame(data)
    stream = BytesIO(data)
    stream.seek(FRAME_BYTES + 1)
    try:
        if head == DOC_HEAD:
            change, f = _decode_doc(stream)
        elif head == DATASET_HEAD:
            change, f = _decode_dataset(stream)
        elif head == FLOOR_HEAD:
            change, f = _decode_floor(stream)
        else:
            raise CorruptedLog(f"an event names branch {head[-1:]!r} of the union, which has three")
    except UNREADABLE as error:
        raise CorruptedLog(f"an event of {len(data)} bytes cannot be decoded: {error}") from error
    if stream.tell() != len(data):
        raise CorruptedLog(f"an event of {len(data)} bytes has {len(data) - stream.tell()} bytes too many")
    t = f["transaction"]
    return Event(change, TransactionInfo(t["id"], t["total_order"], t["last"]), f["ts_us"])


def _decode_doc(stream: BytesIO) -> tuple[Change, dict[str, Any]]:
    f: Any = schemaless_reader(stream, _DOC, None)
    a, o = f["after"], f["order"]
    document = a and Document(
        a["content"],
        a["meta"],
        a["embedding"],
        a["embedding_model"],
        a["scn"],
        a["archived"],
        a["created_at"],
        a["updated_at"],
    )
    change = DocChange(
        _OPS[f["op"]],
        DocKey(f["dataset_id"], f["id"]),
        f["scn"],
        document,
        CommitOrder(o["epoch"], o["file"], o["position"], o["ordinal"]),
        _decode_source(f["source"]),
        f["unpublished"],
    )
    return change, f


def _decode_dataset(stream: BytesIO) -> tuple[Change, dict[str, Any]]:
    f: Any = schemaless_reader(stream, _DATASET, None)
    a = f["after"]
    change = DatasetChange(
        _OPS[f["op"]],
        DatasetKey(f["dataset_id"]),
        a and Dataset(a["description"], a["source_uri"], a["last_scn"]),
        CommitOrder(**f["order"]),
        _decode_source(f["source"]),
    )
    return change, f


def _decode_floor(stream: BytesIO) -> tuple[Change, dict[str, Any]]:
    f: Any = schemaless_reader(stream, _FLOOR, None)
    change = Floor(
        FloorKey(f["dataset_id"]),
        CommitOrder(**f["order"]),
        FloorReason(f["reason"]),
        _decode_source(f["source"]),
    )
    return change, f


def encode_tombstone(tombstone: Tombstone) -> bytes:
    out = BytesIO()
    out.write(_TOMBSTONE_FRAME)
    fields = {
        "dataset_id": tombstone.dataset_id,
        "id": tombstone.id,
        "order": _order(tombstone.order),
        "scn": tombstone.scn,
        "reason": tombstone.reason.value,
        "ts_us": tombstone.ts_us,
    }
    return _write(out, _TOMBSTONE, fields)


def decode_tombstone(data: bytes) -> Tombstone:
    """Raises CorruptedLog and UnsupportedChange."""
    if data[:FRAME_BYTES] != _TOMBSTONE_FRAME:
        raise foreign_frame(data)
    stream = BytesIO(data)
    stream.seek(FRAME_BYTES)
    try:
        f: Any = schemaless_reader(stream, _TOMBSTONE, None)
        tombstone = Tombstone(
            f["dataset_id"],
            f["id"],
            CommitOrder(**f["order"]),
            f["scn"],
            TombstoneReason(f["reason"]),
            f["ts_us"],
        )
    except UNREADABLE as error:
        raise CorruptedLog(f"a tombstone of {len(data)} bytes cannot be decoded: {error}") from error
    if stream.tell() != len(data):
        raise CorruptedLog(f"a tombstone has {len(data) - stream.tell()} bytes too many")
    return tombstone


def foreign_frame(data: bytes) -> UnsupportedChange | CorruptedLog:
    """What to raise for a record that does not begin with the frame expected."""
    if data[:1] == REGISTRY_MAGIC and len(data) >= REGISTRY_FRAME_BYTES:
        (id,) = struct.unpack_from(">i", data, 1)
        return UnsupportedChange(
            f"a record is framed for a schema registry, with id {id}, and that schema is not known here",
            hint="Set registry.url to the registry it was written for. If it is set, run the version of the connector "
            "that wrote the record, or a newer one.",
        )
    if data[: len(MAGIC)] != MAGIC or len(data) < FRAME_BYTES:
        return CorruptedLog(f"a record of {len(data)} bytes does not begin as an Avro single-object encoding")
    return UnsupportedChange(
        f"a record was written with schema {data[2:FRAME_BYTES].hex()}, which this version does not know",
        hint="Run the version of the connector that wrote it, or a newer one.",
    )
