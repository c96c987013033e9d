"""Feature vectors and embeddings of many prompts, kept on disk by the hash of encoder and texts, so that a second run
is quick.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from router.errors import ArtifactError, ConfigurationError
from router.learn.data.routing_set import Prompt
from router.learn.progress import tracked
from router.perceive import features
from router.perceive.artifact import read_arrays
from router.perceive.encoder import Encoder
from router.perceive.features import feature_vectors, vector_width
from router.perceive.text_features import NAMES
from router.types import Floats

CACHE_BYTES = 8_000_000_000
"""Of kept feature vectors those that have not been used for longest are deleted beyond this."""

_AT_ONCE = 512
_TRACKED = 4
_SAMPLE = 32


def vectors_of(prompts: Sequence[Prompt], encoder: Encoder, cache: Path | None = None) -> Floats:
    """Feature vectors float32 `(prompts, width)`, each made as for a single request.

    With a folder `cache` they lie in a file there, which the array is a view of: they need no memory of their own, and
    the next time they are not made again. Raises ConfigurationError where the folder cannot be written.
    """
    shape = len(prompts), vector_width(encoder)
    if cache is None or not prompts:
        vectors = np.empty(shape, dtype=np.float32)
        for start, block in _blocks(prompts, encoder):
            vectors[start : start + len(block)] = block
        return vectors
    file = cache / f"{_digest(prompts, encoder)}.npy"
    kept = _kept(file, shape)
    if kept is not None and _is_current(kept, prompts, encoder):
        file.touch()
        return kept
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Written beside and then moved, so that a run that is stopped leaves no torn file.
        part = file.with_suffix(".part")
        with part.open("wb") as stream:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for _, block in _blocks(prompts, encoder):
                stream.write(block.astype("<f4", copy=False).tobytes())
        part.replace(file)
        _delete_oldest(cache, file)
    except OSError as error:
        hint = "set PULVINAR_CACHE to a folder with room"
        raise ConfigurationError(f"{cache}: cannot be written: {error.strerror}; {hint}") from None
    written = _kept(file, shape)
    assert written is not None, file
    return written


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


def _blocks(prompts: Sequence[Prompt], encoder: Encoder) -> Iterator[tuple[int, Floats]]:
    """The feature vectors of some prompts at a time, and the number of the first."""
    for start in tracked(range(0, len(prompts), _AT_ONCE), "reading prompts", _TRACKED):
        yield start, feature_vectors(encoder, [prompt.turns for prompt in prompts[start : start + _AT_ONCE]])


def _digest(prompts: Sequence[Prompt], encoder: Encoder) -> str:
    """Of all that feature vectors depend on."""
    digest = hashlib.sha256(f"{encoder.fingerprint} {features.VERSION} {' '.join(NAMES)}".encode())
    for prompt in prompts:
        for turn in prompt.turns:
            raw = turn.encode("utf-8", "replace")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(bytes(9))
    return digest.hexdigest()[:32]


def _kept(file: Path, shape: tuple[int, int]) -> Floats | None:
    """The vectors in `file`; None where it is missing, damaged or holds something else."""
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if isinstance(found, np.ndarray) and found.shape == shape and found.dtype == np.float32 else None


def _is_current(kept: Floats, prompts: Sequence[Prompt], encoder: Encoder) -> bool:
    """Whether a sample, made again, comes out the same: else another release or a damaged disk is behind the file."""
    rows = np.unique(np.linspace(0, len(prompts) - 1, _SAMPLE).astype(int))
    again = feature_vectors(encoder, [prompts[row].turns for row in rows])
    return np.allclose(kept[rows], again, rtol=1e-5, atol=1e-6)


def _delete_oldest(cache: Path, newest: Path) -> None:
    files = sorted((file for file in cache.glob("*.npy") if file != newest), key=lambda file: -file.stat().st_mtime)
    total = newest.stat().st_size
    for file in files:
        total += file.stat().st_size
        if total > CACHE_BYTES:
            file.unlink(missing_ok=True)
