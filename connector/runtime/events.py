"""Decoded records as JSON: the names of the wire, keys spelled out, vectors as numbers only when asked for. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from connector.model import (
    CommitOrder,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    Key,
    Lane,
    PublishedPosition,
    SourcePosition,
    Tombstone,
)
from connector.runtime.tail import Tailed
from connector.wire import Event


def as_json(read: Tailed, *, vectors: bool = False) -> dict[str, Any]:
    """One record. vectors: with the embedding as a list of numbers, where its bytes are whole float32s."""
    record = read.record
    out: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": None if read.key is None else key_json(read.key),
    }
    if record.headers:
        out["headers"] = {name: value.decode(errors="replace") for name, value in record.headers}
    match read.body:
        case Event():
            out["value"] = _event(read.body, vectors)
        case Tombstone() as tombstone:
            out["value"] = {
                "dataset_id": tombstone.dataset_id,
                "id": tombstone.id,
                "order": order_json(tombstone.order),
                "scn": tombstone.scn,
                "reason": tombstone.reason.value,
                "ts_us": tombstone.ts_us,
            }
        case PublishedPosition() as position:
            out["value"] = position_json(position)
        case None:
            out["value"] = None
    return out


def key_json(key: Key) -> dict[str, Any]:
    if isinstance(key, DocKey):
        return {"dataset_id": key.dataset_id, "id": key.id}
    return {"dataset_id": key.dataset_id, "kind": "dataset" if isinstance(key, DatasetKey) else "floor"}


def order_json(order: CommitOrder) -> dict[str, int]:
    return order._asdict()


def position_json(position: PublishedPosition) -> dict[str, Any]:
    return {
        **source_position_json(position.source),
        "ends": lanes_json(position.ends),
        "closed": position.closed,
        "ts_us": position.ts_us,
    }


def source_position_json(at: SourcePosition) -> dict[str, Any]:
    """What the kind of source uses; the rest is left out."""
    identity = at.identity
    out: dict[str, Any] = {
        "identity": {
            "connector": identity.connector,
            **{
                name: value
                for name in ("uuid", "base_name", "first_timestamp", "server_id", "domain")
                if (value := getattr(identity, name))
            },
        },
        "epoch": at.epoch,
    }
    if at.file:
        out |= {"file": at.file, "position": at.position, "gtid_set": at.gtid_set}
    if at.bridge:
        out["bridge"] = at.bridge
    if at.skipped:
        out["skipped"] = list(at.skipped)
    if at.open_file:
        out |= {"open_file": at.open_file, "open_position": at.open_position}
    if identity.connector == "sqlite" or at.of_shadow_log:
        out["dataset_log_seq"] = at.dataset_log_seq
        out["cursors"] = {
            dataset: {"incarnation": c.incarnation, "scn": c.scn, "ordinal": c.ordinal, "missing": list(c.missing)}
            for dataset, c in sorted(at.cursors.items())
        }
    if at.snapshot is not None:
        out["snapshot"] = {
            "table": at.snapshot.table,
            "last_key": at.snapshot.last_key,
            "start": order_json(at.snapshot.start),
            "datasets": at.snapshot.datasets,
            "tables": at.snapshot.tables,
        }
    out["snapshot_done"] = at.snapshot_done
    return out


def lanes_json(offsets: Mapping[Lane, int]) -> list[dict[str, Any]]:
    return [
        {"topic": lane.topic, "partition": lane.partition, "offset": offset} for lane, offset in sorted(offsets.items())
    ]


def _event(event: Event, vectors: bool) -> dict[str, Any]:
    change = event.change
    out: dict[str, Any]
    match change:
        case DocChange():
            out = {
                "op": change.op.value,
                "dataset_id": change.key.dataset_id,
                "id": change.key.id,
                "scn": change.scn,
                "after": None if change.after is None else _document(change.after, vectors),
            }
            if change.unpublished is not None:
                out["unpublished"] = change.unpublished
        case DatasetChange():
            out = {
                "op": change.op.value,
                "dataset_id": change.key.dataset_id,
                "after": change.after
                and {
                    "description": change.after.description,
                    "source_uri": change.after.source_uri,
                    "last_scn": change.after.last_scn,
                },
            }
        case Floor():
            out = {"floor": change.reason.value, "dataset_id": change.key.dataset_id}
    transaction = event.transaction
    return out | {
        "order": order_json(change.order),
        "transaction": {"id": transaction.id, "total_order": transaction.total_order, "last": transaction.last},
        "source": change.source._asdict(),
        "ts_us": event.ts_us,
    }


def _document(after: Document, vectors: bool) -> dict[str, Any]:
    size = len(after.embedding or b"")
    whole = size % 4 == 0
    out: dict[str, Any] = {
        "content": after.content,
        "meta": after.meta,
        "embedding_bytes": size,
        "dims": size // 4 if whole and size else None,
        "embedding_model": after.embedding_model,
        "scn": after.scn,
        "archived": after.archived,
        "created_at": after.created_at,
        "updated_at": after.updated_at,
    }
    if vectors and whole and after.embedding:
        out["embedding"] = list(struct.unpack(f"<{size // 4}f", after.embedding))
    return out
