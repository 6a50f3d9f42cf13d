"""The embedder of the `wordllama` package: 256-d averaged token vectors, weights and tokenizer from the wheel itself.

Must never reach for the network: the package would, for a tokenizer that it looks for in the wrong folder, so its own
folder is given as the cache and downloads are off. The package is imported only when this embedder is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from connector.errors import ConfigurationError

DIMS = 256
MODEL = f"wordllama-l2-supercat-{DIMS}"
_BATCH = 64  # texts tokenized together; each is padded to the longest, so more would only cost memory
_LONG = 8192  # characters; longer texts are embedded alone, or 64 of them would be padded to the longest


class WordLlamaEmbedder:
    """Safe to use from several threads: weights and tokenizer are only read."""

    name = MODEL
    dims = DIMS

    def __init__(self, model: Any) -> None:
        self._model = model

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        if not texts:
            return []
        import numpy as np

        # Line breaks and indentation are tokens to the model, and would be averaged with the words.
        lines = [" ".join(text.split()) for text in texts]
        vectors = np.empty((len(lines), DIMS), dtype="<f4")
        short = [place for place, line in enumerate(lines) if len(line) <= _LONG]
        if short:
            vectors[short] = self._model.embed([lines[place] for place in short], norm=False, batch_size=_BATCH)
        for place, line in enumerate(lines):
            if len(line) > _LONG:
                vectors[place] = self._model.embed([line], norm=False)[0]
        lengths = np.linalg.norm(vectors, axis=1)
        nothing = ~(np.isfinite(lengths) & (lengths > 0))  # a text without a single token
        vectors[nothing] = 0
        vectors[nothing, 0] = 1
        lengths[nothing] = 1
        vectors /= lengths[:, None]
        return [row.tobytes() for row in vectors]


def load() -> WordLlamaEmbedder:
    """Takes about 0.3 s. Raises ConfigurationError when the package is missing or does not carry its model."""
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "embedder 'wordllama' needs a package that is not installed",
            hint="Run `pip install 'vecsync-connector[wordllama]'`, or use the embedder `hashing`.",
        )
    from wordllama import WordLlama

    try:
        model = WordLlama.load(cache_dir=Path(spec.origin).parent, dim=DIMS, disable_download=True)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"the installed wordllama does not carry its model: {error}",
            hint="Install wordllama 0.4 from its wheel again, or use the embedder `hashing`.",
        ) from error
    return WordLlamaEmbedder(model)
