"""Text to vectors, by embedders that are chosen by name. Nothing here ever uses the network.

Two come along: `hashing`, which needs nothing, and `wordllama`, a small model that carries its weights (pip extra
`wordllama`). Others are found by the entry-point group `vecsync.embedders`: the entry point's name is the embedder's
name, and what it points to is called without arguments and gives an Embedder.

An embedder's own name and the name of its *model* differ: the model's name is what rows carry in `embedding_model`, so
it must change whenever the same text would give another vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import NamedTuple, Protocol

from connector.embed import hashing, wordllama_model
from connector.errors import ConfigurationError
from connector.settings import ModelSettings

__all__ = ["ENTRY_POINTS", "Embedder", "available", "embedder_for_model", "load"]

ENTRY_POINTS = "vecsync.embedders"


class Embedder(Protocol):
    @property
    def name(self) -> str:
        """The model's name, as rows carry it in `embedding_model`."""
        ...

    @property
    def dims(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """One vector for each text: `dims` float32 little-endian, of length 1 (also for a text without any word)."""
        ...


class _BuiltIn(NamedTuple):
    model: str
    make: Callable[[], Embedder]


_BUILT_IN = {
    "hashing": _BuiltIn(hashing.MODEL, hashing.HashingEmbedder),
    "wordllama": _BuiltIn(wordllama_model.MODEL, wordllama_model.load),
}


def available() -> tuple[str, ...]:
    """Names that `load` knows; one that needs a package may still have to be installed."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINTS))}))


@cache
def load(name: str) -> Embedder:
    """The embedder of that name; made once. Raises ConfigurationError when there is none, or its package is missing."""
    if name in _BUILT_IN:
        return _BUILT_IN[name].make()
    for point in entry_points(group=ENTRY_POINTS, name=name):
        try:
            found: Embedder = point.load()()
        except ImportError as error:
            raise ConfigurationError(
                f"embedder {name!r} cannot be loaded: {error}",
                hint=f"Install what the package of entry point {point.value!r} needs.",
            ) from error
        return found
    raise ConfigurationError(
        f"there is no embedder {name!r}; there are {', '.join(available())}",
        hint=f"Choose one of these, or install a package with an entry point in the group {ENTRY_POINTS!r}.",
    )


def embedder_for_model(model: str, models: Mapping[str, ModelSettings]) -> Embedder | None:
    """What turns a query's text into a vector comparable with those that rows of `model` carry; None: not known.

    models: `replica.models` of the settings, which decides where it names an embedder. Otherwise a model that comes
    along is known by its name, and so is one that is called like an entry point.
    """
    configured = models.get(model)
    if configured is not None and configured.embedder is not None:
        return load(configured.embedder)
    for name, built_in in _BUILT_IN.items():
        if built_in.model == model:
            return load(name)
    if any(entry_points(group=ENTRY_POINTS, name=model)):
        return load(model)
    return None
