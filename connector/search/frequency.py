"""Which words of a question tell documents apart. Reads inside the caller's transaction.

BM25 gives a word that is in more than half of all documents a weight of 0.000001 (FTS5 allows none below), so it moves
no document past another; but scoring every document that has it takes most of a search's time. Such words are left
out, which changes no order among the documents that remain.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from connector.search.words import any_of

_REMEMBERED = 4096  # words; a program that answers questions meets the same ones again and again
_GROWN = 1.1  # counts are made anew when the replica has grown or shrunk by a tenth
_SMALL = 2000  # documents; to score that many takes no longer than to count words
_PART = 8  # a scope smaller than this part of the replica is scored in less time than words are counted


class Frequencies:
    """Remembers for one open replica which words are frequent. Not safe for several threads at once."""

    def __init__(self) -> None:
        self._frequent: dict[str, bool] = {}
        self._size = 0

    def telling(
        self, connection: apsw.Connection, words: Sequence[str], collections: Sequence[int] | None
    ) -> Sequence[str]:
        """The words without the frequent ones; all of them when they all are, or when it does not pay to look."""
        # Numbers of documents are given in order, so this is their count, or more: then a word less is left out.
        size: int = connection.execute("SELECT coalesce(max(no), 0) FROM replica_document").get
        if size <= _SMALL or (collections is not None and self._few(connection, collections, size // _PART)):
            return words
        if not self._size / _GROWN <= size <= self._size * _GROWN or len(self._frequent) > _REMEMBERED:
            self._frequent.clear()
            self._size = size
        for word in words:
            if word not in self._frequent:
                self._frequent[word] = self._in_half(connection, word, size)
        return [word for word in words if not self._frequent[word]] or words

    @staticmethod
    def _few(connection: apsw.Connection, collections: Sequence[int], limit: int) -> bool:
        marks = ", ".join("?" * len(collections))
        found = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM replica_document WHERE collection IN ({marks}) LIMIT ?)",
            (*collections, limit),
        ).get
        return bool(found < limit)

    @staticmethod
    def _in_half(connection: apsw.Connection, word: str, size: int) -> bool:
        half = size // 2 + 1
        found = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM document_text WHERE document_text MATCH ? LIMIT ?)",
            (any_of([word]), half),
        ).get
        return bool(found == half)
