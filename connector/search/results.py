"""What a search gives, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["hybrid", "vector", "text"]
Fusion = Literal["rrf", "linear"]
TextSyntax = Literal["plain", "fts5"]

MODES: tuple[Mode, ...] = ("hybrid", "vector", "text")
FUSIONS: tuple[Fusion, ...] = ("rrf", "linear")
TEXT_SYNTAXES: tuple[TextSyntax, ...] = ("plain", "fts5")


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts in a hybrid search; at least one is above 0."""

    text: float = 1.0
    vector: float = 1.0


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Where a hit's score comes from; None: that part did not find it (or was not asked).

    text_rank, vector_rank: place in that part's list, from 1; equal scores share a place.
    text_score: BM25, more is better. vector_score: cosine similarity, -1 ... 1.
    """

    text_rank: int | None = None
    text_score: float | None = None
    vector_rank: int | None = None
    vector_score: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found.

    score: BM25 in text mode, cosine similarity in vector mode, the fused score in hybrid mode (and in vector mode over
    several models, whose similarities cannot be compared). More is better; only scores of one search are comparable.
    snippet: the part of the content that matches the words, else its beginning.
    """

    dataset_id: str
    id: str
    content: str | None
    meta: str | None
    embedding_model: str | None
    archived: bool
    shadow_table: str
    score: float
    breakdown: Breakdown
    snippet: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """hits: best first. mode: as it was asked.

    models: whose vectors were searched. skipped_models: whose documents could not be found by vector, because
    no embedder is known for them, or theirs gives another dimension.
    ready: False while the replica fills for the first time: documents may be missing.
    """

    hits: tuple[Hit, ...]
    mode: Mode
    models: tuple[str, ...]
    skipped_models: tuple[str, ...]
    ready: bool
