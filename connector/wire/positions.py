"""Published positions as bytes: the records of the topic `<prefix>.positions`."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from fastavro import schemaless_reader, schemaless_writer
from fastavro.schema import parse_schema

from connector.errors import CorruptedLog
from connector.model import (
    CommitOrder,
    DatasetCursor,
    Lane,
    LogMark,
    PublishedPosition,
    SnapshotProgress,
    SourceIdentity,
    SourcePosition,
)
from connector.wire.events import UNREADABLE, foreign_frame
from connector.wire.schemas import FRAME_BYTES, Schema, frame_of, load

_SCHEMA = load("position")
_FRAME = frame_of(_SCHEMA)
_PARSED = parse_schema(_SCHEMA)

# What earlier versions did not write yet, by the version of the schema that lacks it: of the position, and of its
# snapshot. They are read with the defaults.
_LACKING: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({"mark", "bridge", "skipped"}), frozenset({"tables"})),
    (frozenset(), frozenset({"tables"})),
)


def _readable() -> dict[bytes, Any]:
    """Frame to the schema of the writer, of every version."""
    found = {_FRAME: _PARSED}
    for names, of_snapshot in _LACKING:
        earlier = _without(_SCHEMA, names)
        (snapshot,) = (field for field in earlier["fields"] if field["name"] == "snapshot")
        snapshot["type"] = [snapshot["type"][0], _without(snapshot["type"][1], of_snapshot)]
        found[frame_of(earlier)] = parse_schema(earlier)
    return found


def _without(record: Schema, names: frozenset[str]) -> Schema:
    return {**record, "fields": [{**field} for field in record["fields"] if field["name"] not in names]}


_READABLE = _readable()


def position_key(source_name: str) -> bytes:
    """One key per source: the topic is compacted, and the last record counts."""
    return source_name.encode()


def encode_position(position: PublishedPosition) -> bytes:
    at, snapshot = position.source, position.source.snapshot
    fields: dict[str, Any] = {
        "identity": {
            "connector": at.identity.connector,
            "uuid": at.identity.uuid,
            "base_name": at.identity.base_name,
            "first_timestamp": at.identity.first_timestamp,
            "server_id": at.identity.server_id,
            "domain": at.identity.domain,
        },
        "epoch": at.epoch,
        "gtid_set": at.gtid_set,
        "file": at.file,
        "position": at.position,
        "file_began": at.file_began,
        "mark": at.mark and at.mark._asdict(),
        "bridge": at.bridge,
        "skipped": list(at.skipped),
        "open_file": at.open_file,
        "open_position": at.open_position,
        "dataset_log_seq": at.dataset_log_seq,
        "cursors": {
            dataset: {
                "incarnation": c.incarnation,
                "scn": c.scn,
                "ordinal": c.ordinal,
                "missing": list(c.missing),
            }
            for dataset, c in at.cursors.items()
        },
        "snapshot": snapshot
        and {
            "table": snapshot.table,
            "last_key": None if snapshot.last_key is None else list(snapshot.last_key),
            "start": snapshot.start._asdict(),
            "datasets": None if snapshot.datasets is None else list(snapshot.datasets),
            "floored": list(snapshot.floored),
            "tables": list(snapshot.tables),
        },
        "snapshot_done": at.snapshot_done,
        "ends": [
            {"topic": lane.topic, "partition": lane.partition, "offset": offset}
            for lane, offset in sorted(position.ends.items())
        ],
        "closed": position.closed,
        "ts_us": position.ts_us,
    }
    out = BytesIO()
    out.write(_FRAME)
    schemaless_writer(out, _PARSED, fields)
    return out.getvalue()


def decode_position(data: bytes) -> PublishedPosition:
    """Raises CorruptedLog, and UnsupportedChange for a position written with a schema that this version lacks."""
    writer = _READABLE.get(data[:FRAME_BYTES])
    if writer is None:
        raise foreign_frame(data)
    stream = BytesIO(data)
    stream.seek(FRAME_BYTES)
    try:
        f: Any = schemaless_reader(stream, writer, None if writer is _PARSED else _PARSED)
    except UNREADABLE as error:
        raise CorruptedLog(f"a position of {len(data)} bytes cannot be decoded: {error}") from error
    if stream.tell() != len(data):
        raise CorruptedLog(f"a position has {len(data) - stream.tell()} bytes too many")
    s = f["snapshot"]
    snapshot = s and SnapshotProgress(
        s["table"],
        None if s["last_key"] is None else tuple(s["last_key"]),
        CommitOrder(**s["start"]),
        None if s["datasets"] is None else tuple(s["datasets"]),
        tuple(s["floored"]),
        tuple(s["tables"]),
    )
    source = SourcePosition(
        identity=SourceIdentity(**f["identity"]),
        epoch=f["epoch"],
        gtid_set=f["gtid_set"],
        file=f["file"],
        position=f["position"],
        file_began=f["file_began"],
        mark=f["mark"] and LogMark(**f["mark"]),
        bridge=f["bridge"],
        skipped=tuple(f["skipped"]),
        open_file=f["open_file"],
        open_position=f["open_position"],
        dataset_log_seq=f["dataset_log_seq"],
        cursors={
            dataset: DatasetCursor(c["incarnation"], c["scn"], c["ordinal"], tuple(c["missing"]))
            for dataset, c in f["cursors"].items()
        },
        snapshot=snapshot,
        snapshot_done=f["snapshot_done"],
    )
    ends = {Lane(e["topic"], e["partition"]): e["offset"] for e in f["ends"]}
    return PublishedPosition(source, ends, f["closed"], f["ts_us"])
