"""Embedders: the same for ever, of length 1, and found by name or by the model's name."""

from __future__ import annotations

import hashlib
import importlib.metadata
import socket
import struct
import sys
from importlib.machinery import ModuleSpec
from math import isclose, sqrt
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import embed
from connector.embed import hashing, wordllama_model
from connector.errors import ConfigurationError
from connector.settings import ModelSettings


def values(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)


def cosine(a: bytes, b: bytes) -> float:
    return sum(x * y for x, y in zip(values(a), values(b), strict=True))


@given(st.text())
def test_every_text_has_a_vector_of_length_one(text: str) -> None:
    (vector,) = embed.load("hashing").embed([text])
    assert len(vector) == 4 * hashing.DIMS
    assert isclose(sqrt(cosine(vector, vector)), 1, rel_tol=1e-5)


def test_hashing_gives_the_vectors_it_has_always_given() -> None:
    text = "Replicas order by commit position, never by SCN. Ünïcode, 文書 and numbers 42."
    digest = hashlib.sha256(embed.load("hashing").embed([text])[0]).hexdigest()
    assert digest == "1d1d158c9c3d8ba450e69ad29073a7490fe2bde08f33a0b80503d1bded717af1", (
        "rows carry the model's name: a changed vector needs a changed hashing.MODEL"
    )


def test_similar_wording_is_nearer_than_other_wording() -> None:
    query, near, inflected, far = embed.load("hashing").embed(
        ["remove a file", "removes the given file", "file removal and removing", "parse an URL into its parts"]
    )
    assert cosine(query, near) > 0.3 > cosine(query, far)
    assert cosine(query, inflected) > cosine(query, far) + 0.1


def test_order_of_the_batch_does_not_matter() -> None:
    texts = ["one two", "", "long " * 4000, "three", "..."]
    for name in ("hashing", "wordllama"):
        embedder = embed.load(name)
        together = embedder.embed(texts)
        assert [cosine(a, embedder.embed([t])[0]) for a, t in zip(together, texts, strict=True)] == pytest.approx(
            [1.0] * len(texts), abs=1e-5
        )


def test_nothing_to_embed() -> None:
    assert [embed.load(name).embed([]) for name in ("hashing", "wordllama")] == [[], []]


def test_wordllama_understands_meaning_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    embedder = wordllama_model.load()
    query, near, far = embedder.embed(["how do I erase a file", "Remove (delete) the path.", "Sum of all numbers."])
    assert len(query) == 4 * embedder.dims
    assert cosine(query, near) > cosine(query, far)


def test_wordllama_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordllama_model, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="not installed") as caught:
        wordllama_model.load()
    assert "vecsync-connector[wordllama]" in caught.value.hint


def test_wordllama_without_its_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(**options: object) -> None:
        raise FileNotFoundError("tokenizer")

    monkeypatch.setitem(sys.modules, "wordllama", SimpleNamespace(WordLlama=SimpleNamespace(load=load)))
    monkeypatch.setattr(
        wordllama_model, "find_spec", lambda name: ModuleSpec(name, None, origin="/somewhere/wordllama/__init__.py")
    )
    with pytest.raises(ConfigurationError, match="does not carry its model"):
        wordllama_model.load()


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigurationError, match="hashing, wordllama"):
        embed.load("bert")


def test_the_embedder_of_a_model() -> None:
    hashing_embedder = embed.load("hashing")
    configured = {"ours": ModelSettings(dims=None, embedder="hashing"), "theirs": ModelSettings(dims=3, embedder=None)}
    assert embed.embedder_for_model(hashing.MODEL, {}) is hashing_embedder
    assert embed.embedder_for_model("ours", configured) is hashing_embedder
    assert embed.embedder_for_model("theirs", configured) is None
    assert embed.embedder_for_model("text-embedding-3-small", configured) is None
    with pytest.raises(ConfigurationError, match="no embedder"):
        embed.embedder_for_model("ours", {"ours": ModelSettings(dims=None, embedder="typo")})


class Constant:
    name = "constant-v1"
    dims = 1

    def embed(self, texts: list[str]) -> list[bytes]:
        return [struct.pack("<f", 1.0)] * len(texts)


def test_others_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        importlib.metadata.EntryPoint("constant-v1", f"{__name__}:Constant", embed.ENTRY_POINTS),
        importlib.metadata.EntryPoint("broken", "no_such_module_at_all:make", embed.ENTRY_POINTS),
    ]

    def find(*, group: str, name: str | None = None) -> list[importlib.metadata.EntryPoint]:
        assert group == "vecsync.embedders"
        return [point for point in points if name in (None, point.name)]

    monkeypatch.setattr(embed, "entry_points", find)
    embed.load.cache_clear()
    try:
        assert embed.available() == ("broken", "constant-v1", "hashing", "wordllama")
        assert embed.load("constant-v1").embed(["x"]) == [struct.pack("<f", 1.0)]
        found = embed.embedder_for_model("constant-v1", {})
        assert found is not None
        assert found.dims == 1
        with pytest.raises(ConfigurationError, match="no_such_module_at_all"):
            embed.load("broken")
    finally:
        embed.load.cache_clear()
