"""A replica, open for searching. Never writes to it, and never blocks its writer.

Each search is one read transaction: text, vectors and documents are of one state, whatever is applied meanwhile.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import apsw

from connector.embed import Embedder, embedder_for_model
from connector.errors import QueryRefused
from connector.replica import connection as replica_connection
from connector.replica import schema
from connector.search.frequency import Frequencies
from connector.search.fusion import Place, linear, ranked, reciprocal
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
from connector.search.scope import Scope, fts5_query, scope, snippets, text_scores
from connector.search.vectors import (
    MOST_NEIGHBOURS,
    Questions,
    by_text,
    by_vector,
    checked_vector,
    similarities,
    stored_vectors,
)
from connector.search.words import any_of, plain_words
from connector.settings import ModelSettings

MOST_HITS = 1000
RRF_K = 60.0
# Each part gives more than is asked for: what is second in both may be first of all, and equal scores at the end of the
# list must not be cut by the order of arrival.
_OVERFETCH = 4
_LEAST_CANDIDATES = 100


class _Found(NamedTuple):
    """Candidates by document (`no`): the fused score, and what each part says."""

    scores: Mapping[int, float]
    text: Mapping[int, Place]
    vectors: Mapping[int, Place]


def open_reader(path: Path, models: Mapping[str, ModelSettings] | None = None) -> Searcher:
    """models: `replica.models` of the settings, for the embedders of queries.

    Raises ReplicaRefused: there is no such file, or it is not a replica that this program reads.
    """
    connection = replica_connection.open_reader(path)
    try:
        schema.check(connection, path)
    except apsw.Error as error:
        connection.close()
        raise replica_connection.file_error(error, path) from error
    except BaseException:
        connection.close()
        raise
    return Searcher(connection, path, models or {})


class Searcher:
    """May be used from several threads; one search runs at a time."""

    def __init__(self, connection: apsw.Connection, path: Path, models: Mapping[str, ModelSettings]) -> None:
        self._connection, self._path, self._models = connection, path, models
        self._lock = threading.Lock()
        self._frequencies = Frequencies()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def search(
        self,
        query: str = "",
        *,
        datasets: Sequence[str] | None = None,
        k: int = 10,
        mode: Mode = "hybrid",
        vector: bytes | None = None,
        model: str | None = None,
        include_archived: bool = False,
        fusion: Fusion = "rrf",
        rrf_k: float = RRF_K,
        weights: Weights | None = None,
        text_syntax: TextSyntax = "plain",
        marks: tuple[str, str] = ("", ""),
    ) -> SearchResult:
        """The k best documents.

        query: words, by default as a person types them; with `text_syntax` "fts5" in FTS5's query language.
        datasets: None for all. k: 1 ... MOST_HITS; fewer hits come only if there are no more.
        vector: the query's vector (float32, little-endian), instead of embedding the query's text.
        model: search only vectors of this model. marks: put round matching words in snippets.

        Raises QuerySyntax, UnknownDataset, DimensionMismatch, NoEmbedder, QueryRefused (another argument cannot be
        used), ConfigurationError (a configured embedder cannot be loaded), ReplicaRefused (the file cannot be read).
        """
        weights = weights or Weights()
        _check_arguments(query, k, mode, fusion, rrf_k, weights, text_syntax, vector)
        words = plain_words(query) if mode != "vector" and text_syntax == "plain" else []
        match = any_of(words) if words else fts5_query(query) if mode != "vector" and text_syntax == "fts5" else ""
        if vector is not None:
            vector = checked_vector(vector)
        with self._snapshot() as connection:
            within = scope(connection, datasets, include_archived)
            count = min(max(_OVERFETCH * k, _LEAST_CANDIDATES), MOST_NEIGHBOURS)
            text = ranked(self._text(within, match, words, count, k if mode == "text" else 1)) if match else {}
            questions = Questions((), ())
            if mode != "text":
                questions = self._questions(within, query, vector, model)
            vectors = [ranked(similarities(connection, question, within, count)) for question in questions.asked]
            found = _fused(mode, text, vectors, fusion, rrf_k, weights)
            hits = _hits(connection, found, k, match, marks)
            ready = bool(connection.execute("SELECT ready FROM replica_state").get)
        asked = tuple(dict.fromkeys(question.stored.model for question in questions.asked))
        return SearchResult(tuple(hits), mode, asked, questions.skipped, ready)

    def _text(self, within: Scope, match: str, words: Sequence[str], count: int, least: int) -> dict[int, float]:
        """least: with fewer documents than that, those which have nothing but frequent words are found too."""
        telling = self._frequencies.telling(self._connection, words, within.collections) if words else words
        if len(telling) < len(words):
            found = text_scores(self._connection, any_of(telling), within, count)
            if len(found) >= least:
                return found
        return text_scores(self._connection, match, within, count)

    def _questions(self, within: Scope, query: str, vector: bytes | None, model: str | None) -> Questions:
        stored = stored_vectors(self._connection, within)
        if model is not None:
            others = ", ".join(sorted({one.model for one in stored})) or "none"
            stored = [one for one in stored if one.model == model]
            if not stored:
                raise QueryRefused(
                    f"no vector here is of the model {model!r}; there are vectors of: {others}",
                    hint="Check --model, or leave it out.",
                )
        if vector is not None:
            return by_vector(stored, vector)
        return by_text(stored, query, self._embedder)

    def _embedder(self, model: str) -> Embedder | None:
        return embedder_for_model(model, self._models)

    @contextmanager
    def _snapshot(self) -> Iterator[apsw.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN")
                try:
                    yield self._connection
                finally:
                    self._connection.execute("ROLLBACK")
            except apsw.Error as error:
                raise replica_connection.file_error(error, self._path) from error


def _check_arguments(
    query: str,
    k: int,
    mode: str,
    fusion: str,
    rrf_k: float,
    weights: Weights,
    text_syntax: str,
    vector: bytes | None,
) -> None:
    for name, value, known in (
        ("mode", mode, MODES),
        ("fusion", fusion, FUSIONS),
        ("text syntax", text_syntax, TEXT_SYNTAXES),
    ):
        if value not in known:
            raise QueryRefused(f"there is no {name} {value!r}", hint=f"Choose one of {', '.join(known)}.")
    if not 1 <= k <= MOST_HITS:
        raise QueryRefused(f"k is {k}, and must be between 1 and {MOST_HITS}", hint="Ask for fewer documents.")
    if not (math.isfinite(rrf_k) and rrf_k >= 0):
        raise QueryRefused(f"rrf_k is {rrf_k}, and must be 0 or more", hint=f"{RRF_K:g} is the usual value.")
    both = (weights.text, weights.vector)
    if not all(math.isfinite(weight) and weight >= 0 for weight in both) or not any(both):
        raise QueryRefused(
            f"the weights are {weights.text} and {weights.vector}",
            hint="Each must be 0 or more, and one of them above 0.",
        )
    if not query.strip() and (vector is None or mode == "text"):
        raise QueryRefused("the query is empty", hint="Give some words, or the query's vector (--vector).")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise QueryRefused(
            f"the query is no text: character {error.start + 1} is half of a pair", hint="Check its encoding."
        ) from error


def _fused(
    mode: Mode,
    text: Mapping[int, Place],
    vectors: Sequence[Mapping[int, Place]],
    fusion: Fusion,
    rrf_k: float,
    weights: Weights,
) -> _Found:
    """vectors: one ranking for each model. A document has one vector, so it is in one of them at most."""
    together = {no: place for ranking in vectors for no, place in ranking.items()}
    if mode == "text":
        return _Found({no: place.score for no, place in text.items()}, text, together)
    if mode == "vector" and len(vectors) <= 1:
        return _Found({no: place.score for no, place in together.items()}, text, together)
    rankings = [(text, weights.text), *((ranking, weights.vector) for ranking in vectors)]
    rankings = [(ranking, weight) for ranking, weight in rankings if weight > 0]
    scores = reciprocal(rankings, rrf_k) if fusion == "rrf" else linear(rankings)
    return _Found(scores, text, together)


def _hits(connection: apsw.Connection, found: _Found, k: int, match: str, marks: tuple[str, str]) -> list[Hit]:
    """The k best with their rows. Equal scores go by dataset and id, so that every replica gives the same order."""
    if not found.scores:
        return []
    least = heapq.nlargest(k, found.scores.values())[-1]
    names = {no: _key(connection, no) for no, score in found.scores.items() if score >= least}
    chosen = sorted(names, key=lambda no: (-found.scores[no], names[no]))[:k]
    rows = {no: _row(connection, no) for no in chosen}
    shown = snippets(connection, match, {no: row[0] for no, row in rows.items()}, marks)
    hits = []
    for no in chosen:
        dataset_id, id, shadow_table = names[no]
        content, meta, model, archived = rows[no]
        text, vector = found.text.get(no), found.vectors.get(no)
        breakdown = Breakdown(
            text_rank=text.rank if text else None,
            text_score=text.score if text else None,
            vector_rank=vector.rank if vector else None,
            vector_score=vector.score if vector else None,
        )
        hits.append(
            Hit(
                dataset_id=dataset_id,
                id=id,
                content=content,
                meta=meta,
                embedding_model=model,
                archived=bool(archived),
                shadow_table=shadow_table,
                score=found.scores[no],
                breakdown=breakdown,
                snippet=shown[no],
            )
        )
    return hits


def _key(connection: apsw.Connection, no: int) -> tuple[str, str, str]:
    key: tuple[str, str, str] = connection.execute(
        "SELECT c.dataset_id, d.id, c.shadow_table FROM replica_document d "
        "JOIN replica_collection c ON c.no = d.collection WHERE d.no = ?",
        (no,),
    ).get
    return key


def _row(connection: apsw.Connection, no: int) -> tuple[str | None, str | None, str | None, int]:
    row: tuple[str | None, str | None, str | None, int] = connection.execute(
        "SELECT content, meta, embedding_model, archived FROM replica_document WHERE no = ?", (no,)
    ).get
    return row
