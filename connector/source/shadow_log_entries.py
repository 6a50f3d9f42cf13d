"""Entries of a SQLite upstream's change log as changes. Pure: rows in, values out.

Orders are (epoch, 0, number of the entry, 1). The numbers rise with every commit of the whole file, whatever dataset or
table it was about, so they order a topic's partition as well as a document, and a dataset that was deleted and made
again stands above its old life.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

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
    Op,
    SourceInfo,
)
from connector.upstream.names import REQUIRED

DATABASE = "main"
INSTALLED = "installed"
RESET = "reset"

_OPS = {"insert": Op.CREATE, "update": Op.UPDATE, "delete": Op.DELETE}


class Entry(NamedTuple):
    """A row of the change log with the payload of the shadow log's entry that it stands for.

    shadow_table  None: the entry is about the dataset itself
    op            insert, update, delete; cascade: the dataset went, and its documents with it; installed: triggers
                  were made, and what was written before that may be in no log; reset: the dataset's entries in the
                  shadow log may be gone, and its SCNs begin anew
    payload       None: there is none, or it is gone
    at            microseconds since the epoch
    """

    seq: int
    shadow_table: str | None
    dataset_id: str | None
    op: str
    scn: int | None
    document_id: str | None
    description: str | None
    source_uri: str | None
    last_scn: int | None
    at: int
    payload: bytes | str | None


def order_of(epoch: int, seq: int) -> CommitOrder:
    return CommitOrder(epoch, 0, seq, 1)


def mark_after(epoch: int, seq: int) -> CommitOrder:
    """Above every entry up to `seq`, below all later ones."""
    return CommitOrder(epoch, 0, seq + 1, 0)


def source_info(name: str, table: str, seq: int, at: int, *, snapshot: bool = False) -> SourceInfo:
    return SourceInfo("sqlite", name, at, snapshot, DATABASE, table, 0, None, None, seq, 0 if snapshot else 1)


def needs_payload(entry: Entry) -> bool:
    return entry.shadow_table is not None and entry.op in ("insert", "update")


def change_of(entry: Entry, epoch: int, name: str, dataset_table: str) -> Change:
    """The change that an entry stands for; `name` is the topic prefix. Raises CorruptedLog, UnsupportedChange."""
    order = order_of(epoch, entry.seq)
    info = source_info(name, entry.shadow_table or dataset_table, entry.seq, entry.at)
    if entry.dataset_id is None or entry.op not in (*_OPS, "cascade"):
        raise UnsupportedChange(f"entry {entry.seq} of the change log is not understood: {entry.op!r}")
    if entry.shadow_table is None:
        op = _OPS[entry.op]
        after = None if op is Op.DELETE else Dataset(entry.description, entry.source_uri, entry.last_scn)
        return DatasetChange(op, DatasetKey(entry.dataset_id), after, order, info)
    if entry.op == "cascade":
        return Floor(FloorKey(entry.dataset_id), order, FloorReason.CASCADE, info)
    if entry.document_id is None:
        raise UnsupportedChange(f"entry {entry.seq} of the change log names no document")
    key = DocKey(entry.dataset_id, entry.document_id)
    if entry.op == "delete":
        return DocChange(Op.DELETE, key, entry.scn or 0, None, order, info)
    if entry.payload is None or entry.scn is None:
        raise CorruptedLog(f"entry {entry.seq} of the change log, {key}, has no payload")
    return DocChange(_OPS[entry.op], key, entry.scn, document_of(entry.payload, key, entry.seq), order, info)


def document_of(payload: bytes | str, key: DocKey, seq: int) -> Document:
    """The row in a payload: JSON with the keys of `REQUIRED`, the embedding in hex, and timestamps where the table has
    them. Raises CorruptedLog when it is anything else, or another document's."""
    where = f"the payload of entry {seq}, document {key.id!r} of dataset {key.dataset_id!r}"
    try:
        fields: Any = json.loads(payload)
    except ValueError as error:
        raise CorruptedLog(f"{where}, is not JSON: {error}") from error
    if not isinstance(fields, dict) or not fields.keys() >= set(REQUIRED):
        raise CorruptedLog(f"{where}, lacks one of {', '.join(REQUIRED)}")
    if (fields["dataset_id"], fields["id"]) != (key.dataset_id, key.id):
        raise CorruptedLog(f"{where}, is that of {fields['id']!r} in {fields['dataset_id']!r}")
    try:
        embedding = bytes.fromhex(fields["embedding"] or "")
    except (TypeError, ValueError) as error:
        raise CorruptedLog(f"{where}: the embedding is not hexadecimal: {error}") from error
    scn = fields["scn"]
    if scn is not None and type(scn) is not int:
        raise CorruptedLog(f"{where}: the scn is {scn!r}")
    texts = {part: fields.get(part) for part in ("content", "meta", "embedding_model", "created_at", "updated_at")}
    for part, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise CorruptedLog(f"{where}: {part} is {type(value).__name__}, not text")
    return Document(
        content=texts["content"],
        meta=texts["meta"],
        embedding=embedding or None,
        embedding_model=texts["embedding_model"],
        scn=scn or 0,
        archived=bool(fields["archived"]),
        created_at=texts["created_at"],
        updated_at=texts["updated_at"],
    )
