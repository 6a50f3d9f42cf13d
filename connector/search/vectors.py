"""The vector part of a search: which models, which query vectors, and their nearest documents.

Reads inside the caller's transaction. Similarities of different models are never compared with one another.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import apsw

from connector.embed import Embedder
from connector.errors import DimensionMismatch, NoEmbedder, QueryRefused
from connector.replica.schema import quoted
from connector.search.scope import Scope

MOST_NEIGHBOURS = 4096  # what vec0 gives at once


class Stored(NamedTuple):
    """A vec0 table that holds vectors in the scope. model "" stands for rows that name none."""

    table: str
    model: str
    dims: int


class Question(NamedTuple):
    stored: Stored
    vector: bytes


class Questions(NamedTuple):
    """What is asked of which table; and models whose documents cannot be found by vector."""

    asked: tuple[Question, ...]
    skipped: tuple[str, ...]


def stored_vectors(connection: apsw.Connection, within: Scope) -> list[Stored]:
    """The tables that hold vectors in the scope, by model."""
    found = []
    for table, model, dims in connection.execute("SELECT name, model, dims FROM replica_vectors ORDER BY model, dims"):
        # vec0 drops a chunk with its last vector, and keeps the partition keys beside each.
        chunks = quoted(f"{table}_chunks")
        where = "partition01 <= ?"
        args = [int(within.archived)]
        if within.collections is not None:
            where += f" AND partition00 IN ({', '.join('?' * len(within.collections))})"
            args.extend(within.collections)
        if connection.execute(f"SELECT 1 FROM {chunks} WHERE {where} LIMIT 1", args).fetchall():
            found.append(Stored(table, model, dims))
    return found


def checked_vector(vector: bytes) -> bytes:
    """A query's vector as it is searched with: of length 1, which changes no cosine and keeps its squares within
    float32. Raises QueryRefused, naming what is wrong with it."""
    hint = "Give it as float32, little-endian: 4 bytes for each dimension."
    if not vector or len(vector) % 4:
        raise QueryRefused(f"the query's vector has {len(vector)} bytes, which are no float32 numbers", hint=hint)
    form = f"<{len(vector) // 4}f"
    values = struct.unpack(form, vector)
    for place, value in enumerate(values):
        if not math.isfinite(value):
            raise QueryRefused(f"the query's vector has {value} at place {place}", hint="Every number must be finite.")
    length = math.hypot(*values)
    if length == 0:
        raise QueryRefused(
            "the query's vector has length 0, so nothing is near it or far from it", hint="Check how it was made."
        )
    return struct.pack(form, *(value / length for value in values))


def by_vector(stored: Sequence[Stored], vector: bytes) -> Questions:
    """Asks with a vector that was given. Raises DimensionMismatch; QueryRefused when several models would fit it."""
    dims = len(vector) // 4
    fitting = [one for one in stored if one.dims == dims]
    if stored and not fitting:
        sizes = ", ".join(f"{one.dims} ({_shown(one.model)})" for one in stored)
        raise DimensionMismatch(f"the query's vector has {dims} dimensions, the stored ones have {sizes}")
    if len(fitting) > 1:
        names = ", ".join(_shown(one.model) for one in fitting)
        raise QueryRefused(
            f"vectors of several models have {dims} dimensions: {names}",
            hint="Say which model the query's vector is of (--model).",
        )
    skipped = tuple(one.model for one in stored if one not in fitting)
    return Questions(tuple(Question(one, vector) for one in fitting), skipped)


def by_text(stored: Sequence[Stored], query: str, embedder_of: Callable[[str], Embedder | None]) -> Questions:
    """Asks each model with the query embedded for it. Raises NoEmbedder, DimensionMismatch when none can be asked."""
    asked: list[Question] = []
    skipped: list[str] = []
    sizes: list[str] = []
    for one in stored:
        embedder = embedder_of(one.model)
        if embedder is None:
            skipped.append(one.model)
        elif embedder.dims != one.dims:
            skipped.append(one.model)
            sizes.append(f"its embedder gives {embedder.dims} dimensions, the vectors of {one.model} have {one.dims}")
        else:
            asked.append(Question(one, checked_vector(embedder.embed([query])[0])))
    if stored and not asked:
        if sizes:
            raise DimensionMismatch(sizes[0], hint="Check replica.models: this embedder is not the model's.")
        names = ", ".join(map(_shown, skipped))
        raise NoEmbedder(
            f"no embedder is known for {names}",
            hint="Name one in replica.models.<model>.embedder, give the query's vector (--vector), or use --mode text.",
        )
    # A model with vectors of several sizes was asked if one of them fits.
    answered = {question.stored.model for question in asked}
    return Questions(tuple(asked), tuple(dict.fromkeys(model for model in skipped if model not in answered)))


def similarities(connection: apsw.Connection, question: Question, within: Scope, count: int) -> dict[int, float]:
    """The `count` nearest documents (their `no`), exact, with cosine similarity: -1 ... 1, more is nearer."""
    table, count = quoted(question.stored.table), min(count, MOST_NEIGHBOURS)
    conditions = [""] if within.collections is None else [f" AND collection = {no}" for no in within.collections]
    if not within.archived:
        conditions = [f"{condition} AND archived = 0" for condition in conditions]
    found: dict[int, float] = {}
    for condition in conditions:
        rows = connection.execute(
            f"SELECT rowid, distance FROM {table} WHERE embedding MATCH ? AND k = ?{condition}",
            (question.vector, count),
        )
        found.update((no, 1.0 - distance) for no, distance in rows)
    best = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:count]
    return dict(best)


def _shown(model: str) -> str:
    return repr(model) if model else "rows without a model's name"
