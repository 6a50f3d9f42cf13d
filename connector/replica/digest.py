"""A fingerprint of each dataset, so that two replicas can be compared without sending their documents."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import apsw

from connector.replica.schema import quoted

_COLUMNS = "id, content, meta, embedding, embedding_model, scn, archived, created_at, updated_at"


def digests(connection: apsw.Connection, shadow_table: str = "shadow_vec_docs") -> dict[str, str]:
    """SHA-256 in hex by dataset, over its rows in the order of their ids, every column included. Datasets without
    documents are not in it. Rows are read one by one: memory is that of one row. One state of the file is read."""
    found: dict[str, Any] = {}
    with connection:
        rows: Any = connection.execute(
            f"SELECT dataset_id, {_COLUMNS} FROM {quoted(shadow_table)} ORDER BY dataset_id, id"
        )
        for dataset_id, *values in rows:
            digest = found.get(dataset_id)
            if digest is None:
                digest = found[dataset_id] = hashlib.sha256()
            for value in values:
                digest.update(_encoded(value))
    return {dataset_id: digest.hexdigest() for dataset_id, digest in found.items()}


def _encoded(value: object) -> bytes:
    """Type, length and bytes: no two rows have the same encoding."""
    if value is None:
        return b"n"
    if isinstance(value, bytes):
        return struct.pack("<cQ", b"b", len(value)) + value
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return struct.pack("<cQ", b"t", len(data)) + data
    assert isinstance(value, int)
    return struct.pack("<cq", b"i", value)
