"""Two rankings into one: reciprocal rank fusion, and the weighted sum of normalised scores. Pure.

A ranking maps what was found to its place (from 1) and to its score, of which more is better. Nothing is concatenated:
a text's score and a vector's are never compared with one another.

Source of the first: Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
Learning Methods" (2009), which has k = 60.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)


class Place(NamedTuple):
    """rank: from 1, the best. score: more is better."""

    rank: int
    score: float


def ranked(scores: Mapping[K, float]) -> dict[K, Place]:
    """Places by score. Equal scores have the place of the first of them, so that no order is made up."""
    places: dict[K, Place] = {}
    rank, last = 0, None
    for number, (key, score) in enumerate(sorted(scores.items(), key=lambda item: -item[1]), 1):
        if score != last:
            rank, last = number, score
        places[key] = Place(rank, score)
    return places


def reciprocal(rankings: Sequence[tuple[Mapping[K, Place], float]], k: float) -> dict[K, float]:
    """Sum of weight / (k + rank) over the rankings (with their weights) that have the key."""
    fused: dict[K, float] = {}
    for ranking, weight in rankings:
        for key, place in ranking.items():
            fused[key] = fused.get(key, 0.0) + weight / (k + place.rank)
    return fused


def linear(rankings: Sequence[tuple[Mapping[K, Place], float]]) -> dict[K, float]:
    """Sum of weight x score, each ranking's scores stretched to 0 (its worst) ... 1 (its best); absent counts 0.

    A ranking whose scores are all the same gives 1 to each.
    """
    fused: dict[K, float] = {}
    for ranking, weight in rankings:
        if not ranking:
            continue
        scores = [place.score for place in ranking.values()]
        least, width = min(scores), max(scores) - min(scores)
        for key, place in ranking.items():
            normalised = (place.score - least) / width if width > 0 else 1.0
            fused[key] = fused.get(key, 0.0) + weight * normalised
    return fused
