"""What stands for a row when two sides are compared: eight bytes for each column. Pure.

Equal rows have equal digests. Unequal ones have, too, once in 2^64 for each column, so a difference can hide, but none
is made up. Never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from connector.model import Dataset, Document

COLUMNS: Sequence[str] = (
    "content",
    "meta",
    "embedding",
    "embedding_model",
    "scn",
    "archived",
    "created_at",
    "updated_at",
)
DATASET_COLUMNS: Sequence[str] = ("description", "source_uri", "last_scn")

_BYTES = 8
_NULL = b"\0" * _BYTES


def document_digest(row: Document) -> bytes:
    return b"".join(
        map(
            _digest,
            (
                row.content,
                row.meta,
                row.embedding,
                row.embedding_model,
                row.scn,
                int(row.archived),
                row.created_at,
                row.updated_at,
            ),
        )
    )


def dataset_digest(row: Dataset) -> bytes:
    return b"".join(map(_digest, (row.description, row.source_uri, row.last_scn)))


def differing(one: bytes, other: bytes) -> list[str]:
    """Names of the columns in which two rows differ."""
    names = COLUMNS if len(one) == _BYTES * len(COLUMNS) else DATASET_COLUMNS
    parts = range(0, len(one), _BYTES)
    return [name for name, at in zip(names, parts, strict=True) if one[at : at + _BYTES] != other[at : at + _BYTES]]


def _digest(value: Any) -> bytes:
    if value is None:
        return _NULL
    if isinstance(value, bytes):
        data = b"b" + value
    elif isinstance(value, str):
        data = b"t" + value.encode()
    else:
        data = b"i" + str(value).encode()
    return blake2b(data, digest_size=_BYTES).digest()
