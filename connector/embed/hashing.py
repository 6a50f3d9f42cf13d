"""Vectors by signed feature hashing of words and of pieces of words: no model, no dependency, any language.

Similar wording gives similar vectors; meaning is not understood. Deterministic for ever: a change of anything here that
changes a vector must change MODEL as well, because rows carry that name.

Source of the method: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning" (2009).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import log, sqrt
from zlib import crc32

DIMS = 256
MODEL = f"hashing-{DIMS}-v1"

_WORD = re.compile(r"[^\W_]+")
_PIECE_WEIGHT = 1.2
_PIECE = 4  # characters: short enough to meet other forms of a word, long enough to say something
_WHOLE_WEIGHT_FROM = 7  # letters; shorter words are the frequent ones, in most languages, and count less


class HashingEmbedder:
    """`embed` is pure, and safe to use from several threads."""

    name = MODEL
    dims = DIMS

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        return [_vector(text) for text in texts]


def _vector(text: str) -> bytes:
    words = [word[:64] for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold())]
    sums = [0.0] * DIMS
    for word, count in Counter(words).items():
        often = 1 + log(count)
        for index, weight in _word_features(word):
            sums[index] += weight * often
    return _unit(sums)


@lru_cache(maxsize=65536)
def _word_features(word: str) -> tuple[tuple[int, float], ...]:
    """Where a word counts, and how much: the whole word, and its pieces with the borders marked."""
    weight = _weight(word)
    index, sign = _place(word)
    features = [(index, sign * weight)]
    bordered = f"<{word}>"
    pieces = [bordered[i : i + _PIECE] for i in range(len(bordered) - _PIECE + 1)]
    for piece in pieces:
        index, sign = _place("#" + piece)
        features.append((index, sign * weight * _PIECE_WEIGHT / sqrt(len(pieces))))
    return tuple(features)


def _weight(word: str) -> float:
    return min(len(word), _WHOLE_WEIGHT_FROM) / _WHOLE_WEIGHT_FROM


def _place(feature: str) -> tuple[int, float]:
    """The dimension of a feature, and its sign."""
    # CRC-32 is linear, so its raw bits are correlated between similar features: mix them (the finish of MurmurHash3).
    h = crc32(feature.encode("utf-8", "surrogatepass"))
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    h ^= h >> 16
    return h % DIMS, 1.0 if h & 0x80000000 else -1.0


def _unit(sums: Iterable[float]) -> bytes:
    values = list(sums)
    length = sqrt(sum(value * value for value in values))
    if length == 0:
        values[0] = length = 1.0
    packed = array("f", [value / length for value in values])
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
