"""Feature vectors of many prompts, kept on disk by the hash of encoder and texts, so that a second run is
quick.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from router.errors import ArtifactError
from router.learn.dataset import Prompt
from router.learn.progress import tracked
from router.perceive.artifact import read_arrays
from router.perceive.encoder import Encoder
from router.perceive.features import feature_vector
from router.types import Floats


def vectors_of(prompts: Sequence[Prompt], encoder: Encoder) -> Floats:
    """Feature vectors float32 `(prompts, width)`, each made as for a single request."""
    return np.stack([feature_vector(encoder, prompt.turns) for prompt in tracked(prompts, "reading prompts")])


def embeddings_of(prompts: Sequence[Prompt], encoder: Encoder, cache: Path | None) -> Floats:
    """The bare embeddings of the newest turns, float32 `(prompts, dimensions)`, from `cache` where they lie
    there.
    """
    texts = [prompt.turns[-1] for prompt in prompts]
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for text in texts:
        digest.update(len(text).to_bytes(8, "little") + text.encode("utf-8", "replace"))
    file = None if cache is None else cache / f"{digest.hexdigest()[:32]}.npy"
    if file is not None and file.exists():
        # A damaged file is made anew.
        with contextlib.suppress(ArtifactError):
            stored: Floats = read_arrays(file)[file.stem]
            if stored.shape == (len(texts), encoder.dimensions):
                return stored
    vectors = encoder.encode(texts)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and then moved, so that a run that is stopped leaves no torn file.
        part = file.with_suffix(".part.npy")
        np.save(part, vectors)
        part.replace(file)
    return vectors
