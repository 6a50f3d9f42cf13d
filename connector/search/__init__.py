"""Queries on a replica: by words, by vectors, by both; and plain SQL, read-only.

with open_reader(Path("replica.db")) as replica:
    for hit in replica.search("how do I remove a file", datasets=["docs"]).hits:
        print(hit.score, hit.id, hit.snippet)
"""

from connector.search.results import (
    FUSIONS,
    MODES,
    TEXT_SYNTAXES,
    Breakdown,
    Fusion,
    Hit,
    Mode,
    SearchResult,
    TextSyntax,
    Weights,
)
from connector.search.searcher import MOST_HITS, RRF_K, Searcher, open_reader
from connector.search.sql import Rows, sql

__all__ = [
    "FUSIONS",
    "MODES",
    "MOST_HITS",
    "RRF_K",
    "TEXT_SYNTAXES",
    "Breakdown",
    "Fusion",
    "Hit",
    "Mode",
    "Rows",
    "SearchResult",
    "Searcher",
    "TextSyntax",
    "Weights",
    "open_reader",
    "sql",
]
