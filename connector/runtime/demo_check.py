"""Is a replica exactly the source? Asked with plain SQL on both files, past everything that wrote them. Reads only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from connector.replica.connection import open_reader as open_replica
from connector.upstream.sqlite import open_reader as open_source

_DOCUMENTS = (
    "SELECT dataset_id, id, content, meta, embedding, embedding_model, scn, archived, created_at, updated_at"
    " FROM shadow_vec_docs"
)


class Comparison(NamedTuple):
    """documents, vectors: that the replica holds. different: keys that are missing, too many, or not the same.
    unfound: documents whose words the full text does not find."""

    documents: int
    vectors: int
    different: tuple[tuple[str, str], ...]
    unfound: int

    @property
    def equal(self) -> bool:
        return not self.different and not self.unfound


def compare(upstream: Path, replica: Path, datasets: Sequence[str]) -> Comparison:
    """Every column of every document of those datasets, and the full text: each document by its own first word."""
    within = f"WHERE dataset_id IN ({', '.join('?' * len(datasets))})"
    here = open_source(upstream)
    try:
        expected = _rows(here.execute(f"{_DOCUMENTS} {within}", datasets))
    finally:
        here.close()
    there = open_replica(replica)
    try:
        # Unrestricted: a document of a dataset that is not followed must not be there at all.
        found = _rows(there.execute(_DOCUMENTS))
        unfound = sum(not _is_found(there, key, row) for key, row in found.items())
    finally:
        there.close()
    keys = expected.keys() | found.keys()
    different = sorted(key for key in keys if expected.get(key) != found.get(key))
    return Comparison(len(found), sum(bool(row[2]) for row in found.values()), tuple(different), unfound)


def _rows(cursor: Any) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {(row[0], row[1]): tuple(row[2:]) for row in cursor}


def _is_found(replica: Any, key: tuple[str, str], row: tuple[Any, ...]) -> bool:
    word = re.search(r"(?<![^\W_])[^\W_]{3,}(?![^\W_])", row[0] or "")
    if word is None:
        return True
    sql = (
        "SELECT 1 FROM replica_document d JOIN replica_collection c ON c.no = d.collection"
        " JOIN document_text t ON t.rowid = d.no"
        " WHERE c.dataset_id = ? AND d.id = ? AND t.document_text MATCH ?"
    )
    return bool(replica.execute(sql, (*key, f'content : "{word[0]}"')).fetchall())
