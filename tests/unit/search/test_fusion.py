"""Two rankings into one: by places, by stretched scores; and the mistakes that are easily made there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.search.fusion import Place, linear, ranked, reciprocal

SCORES = st.dictionaries(st.integers(0, 30), st.floats(-1e6, 1e6), max_size=20)


def test_places_are_by_score_whatever_the_order_of_arrival() -> None:
    assert ranked({"low": 0.1, "high": 9.0, "mid": 3.0}) == {
        "high": Place(1, 9.0), "mid": Place(2, 3.0), "low": Place(3, 0.1),
    }  # fmt: skip


def test_equal_scores_share_a_place() -> None:
    assert {key: place.rank for key, place in ranked({"a": 1.0, "b": 2.0, "c": 1.0, "d": 0.5}).items()} == {
        "b": 1, "a": 2, "c": 2, "d": 4,
    }  # fmt: skip


def test_reciprocal_sums_over_both_lists() -> None:
    text, vector = ranked({"a": 12.0, "b": 5.0}), ranked({"b": 0.9, "c": 0.8})
    assert reciprocal([(text, 1.0), (vector, 1.0)], 60) == pytest.approx(
        {"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62}
    )
    assert reciprocal([(text, 2.0), (vector, 0.5)], 0) == pytest.approx({"a": 2.0, "b": 1.0 + 0.5, "c": 0.25})


def test_second_in_both_beats_first_in_one() -> None:
    fused = reciprocal([(ranked({"x": 9.0, "both": 8.0}), 1.0), (ranked({"y": 0.9, "both": 0.8}), 1.0)], 60)
    assert max(fused, key=lambda key: fused[key]) == "both"


def test_linear_stretches_each_list_so_that_its_best_is_one() -> None:
    text, vector = ranked({"a": 30.0, "b": 20.0, "c": 10.0}), ranked({"b": 0.9, "c": 0.1})
    assert linear([(text, 1.0), (vector, 1.0)]) == pytest.approx({"a": 1.0, "b": 0.5 + 1.0, "c": 0.0})


def test_linear_with_one_hit_or_equal_scores() -> None:
    assert linear([(ranked({"a": 7.0}), 0.5), (ranked({"b": -0.2, "c": -0.2}), 2.0)]) == {"a": 0.5, "b": 2.0, "c": 2.0}
    assert linear([({}, 1.0), (ranked({}), 1.0)]) == {}


@given(SCORES, st.floats(0.1, 10))
def test_a_better_score_is_never_a_worse_result(scores: dict[int, float], weight: float) -> None:
    """Not so where BM25 is taken for a distance, or a distance for a similarity."""
    ranking = ranked(scores)
    for fused in (reciprocal([(ranking, weight)], 60), linear([(ranking, weight)])):
        assert set(fused) == set(scores)
        for a in scores:
            for b in scores:
                if scores[a] > scores[b]:
                    assert ranking[a].rank < ranking[b].rank
                    assert fused[a] >= fused[b]


@given(SCORES, SCORES)
def test_the_order_of_the_lists_does_not_matter(one: dict[int, float], other: dict[int, float]) -> None:
    a, b = (ranked(one), 1.0), (ranked(other), 3.0)
    assert reciprocal([a, b], 60) == pytest.approx(reciprocal([b, a], 60))
    assert linear([a, b]) == pytest.approx(linear([b, a]))
