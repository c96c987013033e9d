"""Feature vectors and embeddings of many prompts, cached on disk by a hash of the encoder and the texts."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from router.errors import ArtifactError, ConfigurationError
from router.formats.files import replacing
from router.learn.data.prompts import Prompt
from router.learn.engine import LOCAL, Arrays, Engine
from router.perceive import features
from router.perceive.artifact import read_arrays
from router.perceive.features import feature_vectors, vector_width
from router.perceive.text.encoder import Encoder
from router.perceive.text.text_features import NAMES
from router.types import Floats

_ABANDONED_S = 86_400.0
CACHE_BYTES = 8_000_000_000
"""Size of the cache of feature vectors; beyond it the least recently used files are deleted."""

_BATCH = 512
_MIN_TRACKED_BATCHES = 4
_CHECKED_ROWS = 32


def vectors_of(
    prompts: Sequence[Prompt], encoder: Encoder, cache: Path | None = None, engine: Engine = LOCAL
) -> Floats:
    """Feature vectors float32 `(prompts, width)`, each computed as for a single request.

    With a folder `cache`, the vectors are stored in a file there and the result is a memory map of it: it needs no
    memory of its own, and the next run reads it. Raises ConfigurationError where the folder cannot be written.
    """
    shape = len(prompts), vector_width(encoder)
    if cache is None or not prompts:
        vectors = np.empty(shape, dtype=np.float32)
        for start, block in _blocks(prompts, encoder, engine):
            vectors[start : start + len(block)] = block
        return vectors
    file = cache / f"{_digest(prompts, encoder)}.npy"
    cached = _map_cached(file, shape)
    if cached is not None and _is_current(cached, prompts, encoder):
        file.touch()
        return cached
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part, part.open("wb") as stream:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for _, block in _blocks(prompts, encoder, engine):
                stream.write(block.astype("<f4", copy=False).tobytes())
        _delete_oldest(cache, file)
    except OSError as error:
        hint = "set PULVINAR_CACHE to a folder with room"
        raise ConfigurationError(f"{cache}: cannot be written: {error.strerror}; {hint}") from None
    written = _map_cached(file, shape)
    assert written is not None, file
    return written


def embeddings_of(prompts: Sequence[Prompt], encoder: Encoder, cache: Path | None) -> Floats:
    """Embeddings of the newest turns, without other features, float32 `(prompts, dimensions)`; read from the folder
    `cache` where it has them, else stored there.
    """
    texts = [prompt.turns[-1] for prompt in prompts]
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for text in texts:
        digest.update(len(text).to_bytes(8, "little") + text.encode("utf-8", "replace"))
    file = None if cache is None else cache / f"{digest.hexdigest()[:32]}.npy"
    if file is not None and file.exists():
        # A damaged file is written again.
        with contextlib.suppress(ArtifactError):
            stored: Floats = read_arrays(file)[file.stem]
            if stored.shape == (len(texts), encoder.dimensions):
                return stored
    vectors = encoder.encode(texts)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part, part.open("wb") as stream:
            np.save(stream, vectors)
    return vectors


def _blocks(prompts: Sequence[Prompt], encoder: Encoder, engine: Engine) -> Iterator[tuple[int, Floats]]:
    """The feature vectors of the prompts, batch by batch, with the row of the first in each batch."""

    def encode(turns: Sequence[tuple[str, ...]]) -> Arrays:
        return (feature_vectors(encoder, turns),)

    starts = range(0, len(prompts), _BATCH)
    batches = [[prompt.turns for prompt in prompts[start : start + _BATCH]] for start in starts]
    blocks = engine.map(encode, batches, "encoding prompts", _MIN_TRACKED_BATCHES, "batch")
    for start, (block,) in zip(starts, blocks, strict=True):
        yield start, block


def _digest(prompts: Sequence[Prompt], encoder: Encoder) -> str:
    """A hash of everything that the feature vectors depend on: encoder, version of the features, texts."""
    digest = hashlib.sha256(f"{encoder.fingerprint} {features.VERSION} {' '.join(NAMES)}".encode())
    for prompt in prompts:
        for turn in prompt.turns:
            raw = turn.encode("utf-8", "replace")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(bytes(9))
    return digest.hexdigest()[:32]


def _map_cached(file: Path, shape: tuple[int, int]) -> Floats | None:
    """A memory map of the vectors in `file`; None where it is missing, damaged or has another shape."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if isinstance(array, np.ndarray) and array.shape == shape and array.dtype == np.float32 else None


def _is_current(cached: Floats, prompts: Sequence[Prompt], encoder: Encoder) -> bool:
    """Whether recomputing a sample gives the cached vectors; another release or a damaged disk makes a difference."""
    rows = np.unique(np.linspace(0, len(prompts) - 1, _CHECKED_ROWS).astype(int))
    recomputed = feature_vectors(encoder, [prompts[row].turns for row in rows])
    return np.allclose(cached[rows], recomputed, rtol=1e-5, atol=1e-6)


def _delete_oldest(cache: Path, newest: Path) -> None:
    """Delete the least recently used files until the cache is no larger than CACHE_BYTES, and what killed runs left."""
    for part in cache.glob(".*.part"):
        if time.time() - part.stat().st_mtime > _ABANDONED_S:
            part.unlink(missing_ok=True)
    files = sorted((file for file in cache.glob("*.npy") if file != newest), key=lambda file: -file.stat().st_mtime)
    total = newest.stat().st_size
    for file in files:
        total += file.stat().st_size
        if total > CACHE_BYTES:
            file.unlink(missing_ok=True)
