"""Which documents a search may find, and which of them the full-text part does. Reads inside the caller's transaction.

Full text is ranked by BM25 over the whole replica, so that scores of several datasets can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import apsw

from connector.errors import QuerySyntax, UnknownDataset
from connector.replica.fulltext import token
from connector.search.words import check_fts5

TEXT_COLUMNS = ("id", "content")
_SNIPPET_WORDS = 32
_SNIPPET_CHARS = 220
_CONTENT_COLUMN = 0  # of document_text, from 0
# content, id, collection: the dataset's token restricts, it does not score.
_RANK = "bm25(1.0, 1.0, 0.0)"


class Scope(NamedTuple):
    """collections: None when nothing is left out, which is faster than naming each."""

    collections: tuple[int, ...] | None
    archived: bool


def scope(connection: apsw.Connection, datasets: Sequence[str] | None, archived: bool) -> Scope:
    """datasets: None for all. Raises UnknownDataset for one that has neither documents nor a row in vec_dataset."""
    if datasets is None:
        return Scope(None, archived)
    found: list[int] = []
    for dataset in dict.fromkeys(datasets):
        known = connection.execute("SELECT 1 FROM vec_dataset WHERE dataset_id = ?", (dataset,)).fetchall()
        for no, filled in connection.execute(
            "SELECT c.no, EXISTS (SELECT 1 FROM replica_document d WHERE d.collection = c.no) "
            "FROM replica_collection c WHERE c.dataset_id = ?",
            (dataset,),
        ):
            if filled:
                known.append((1,))
                found.append(no)
        if not known:
            raise _unknown(connection, dataset)
    return Scope(tuple(found), archived)


def _unknown(connection: apsw.Connection, dataset: str) -> UnknownDataset:
    names = [
        str(row[0])
        for row in connection.execute(
            "SELECT dataset_id FROM vec_dataset UNION SELECT dataset_id FROM replica_collection ORDER BY 1"
        )
    ]
    near = get_close_matches(dataset, names, 3)
    shown = f"; did you mean {' or '.join(near)}?" if near else f"; there are {len(names)} others" if names else ""
    return UnknownDataset(f"there is no dataset {dataset!r}{shown}")


def fts5_query(query: str) -> str:
    """What FTS5 is asked for a query in its own language, without the dataset. Raises QuerySyntax."""
    check_fts5(query, TEXT_COLUMNS)
    return f"{{{' '.join(TEXT_COLUMNS)}}} : ({query})"


def text_scores(connection: apsw.Connection, match: str, within: Scope, count: int) -> dict[int, float]:
    """The `count` best documents (their `no`), with BM25: more is better."""
    if within.collections is not None:
        if not within.collections:
            return {}
        tokens = " OR ".join(token(no) for no in within.collections)
        match = f"collection : ({tokens}) AND {match}"
    # FTS5 sorts by itself, so the join is lazy: only as many documents are looked up as it takes to find `count`.
    rows = connection.execute(
        "SELECT t.rowid, t.rank FROM document_text t CROSS JOIN replica_document d ON d.no = t.rowid "
        f"WHERE t.document_text MATCH ? AND t.rank MATCH '{_RANK}' AND d.archived <= ? ORDER BY t.rank LIMIT ?",
        (match, int(within.archived), count),
    )
    try:
        return {no: -rank for no, rank in rows}
    except apsw.SQLError as error:
        # What the grammar allows and FTS5 still refuses; how much it nests, for one.
        raise QuerySyntax(str(error).removeprefix("fts5: "), 0) from error


def snippets(
    connection: apsw.Connection, match: str, found: Mapping[int, str | None], marks: tuple[str, str]
) -> dict[int, str]:
    """For each document (content by `no`) the part that matches, with its words between the marks; else the beginning.

    match: "" when no words were searched.
    """
    result = {no: opening(content) for no, content in found.items()}
    if match:
        for no in found:
            for (text,) in connection.execute(
                f"SELECT snippet(document_text, {_CONTENT_COLUMN}, ?, ?, '…', {_SNIPPET_WORDS}) "
                "FROM document_text WHERE document_text MATCH ? AND rowid = ?",
                (*marks, match, no),
            ):
                result[no] = " ".join(text.split())
    return result


def opening(content: str | None) -> str:
    """The first words."""
    text = " ".join((content or "")[: 4 * _SNIPPET_CHARS].split())
    if len(text) <= _SNIPPET_CHARS:
        return text
    return re.sub(r"\s\S*$", "", text[: _SNIPPET_CHARS + 1]).rstrip() + "…"
