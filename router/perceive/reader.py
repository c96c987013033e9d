"""The reader: how difficult a prompt is, and which families of tasks it belongs to.

Both are linear in the prompt's character n-grams, its embedding and surface features, the size of its context, and its
similarity to landmarks, which are cluster centres of graded prompts:

    reading = intercept + x · weights + Σ_g grams[hash(g)] / sqrt(n) + Σ_l exp(-β (1 - cos(z, l))) landmark_weights[l]

with `x` the standardised dense features and `g` the `n` n-grams of the human's text. The difficulty is then corrected
by an increasing curve, since a linear fit reads prompts that are clearly easy or hard as nearer to the middle than they
are. `router.learn.training.reader` fits it to prompts whose difficulty people graded.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from router.cards.benchmarks import FAMILIES
from router.perceive import kernel
from router.perceive.exact import exp, in_order, interpolated
from router.perceive.skills import levels, quantised, unit_rows
from router.types import Doubles, Floats, Indices

READINGS = 1 + len(FAMILIES) - 1
"""The length of a reading: the difficulty, then the share of each family but `general`, in the order of FAMILIES."""

GRAM_LENGTHS = (2, 4)
GRAM_BITS = 15
"""N-grams are hashed to this many bits."""

CONTEXT_FEATURES = 4
SHARPNESS = 4.0
"""`β`, the inverse squared width of a landmark's neighbourhood."""

_MAX_CHARACTERS = 4_000
_CLIP = 5.0
_STEP, _OFFSET, _MIX = np.uint32(0x01000193), np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B)


class Context(Struct, frozen=True):
    """What stands around the human's turns: the number of characters and of turns of the whole conversation, and
    whether the request has tools.
    """

    characters: int = 0
    turns: int = 1
    tools: bool = False


class ReaderParameters(Struct, frozen=True, eq=False):
    """float16: `grams` `(2 ** GRAM_BITS, READINGS)`; float32: `center`, `scale` `(width + CONTEXT_FEATURES,)`,
    `weights` `(width + CONTEXT_FEATURES, READINGS)`, `intercept` `(READINGS,)`; `landmarks` int8 `(landmarks,
    embedded)`, `landmark_scale` `(landmarks,)`, `landmark_weights` `(landmarks, READINGS)`; `curve` `(2, points)`, the
    difficulties that the linear part reads, increasing, and what prompts read as that difficult really are.
    """

    grams: Floats
    center: Floats
    scale: Floats
    weights: Floats
    intercept: Floats
    landmarks: Floats
    landmark_scale: Floats
    landmark_weights: Floats
    curve: Floats


class Reader:
    """Computes readings. A prompt's reading is the same, to the bit, alone and among others.

    Readings of readers with the same `id` are on one scale.
    """

    def __init__(self, parameters: ReaderParameters) -> None:
        self.parameters = parameters
        digest = hashlib.sha256()
        for name in parameters.__struct_fields__:
            digest.update(getattr(parameters, name).tobytes())
        self.id = digest.hexdigest()[:12]
        self._center, self._scale = parameters.center.astype(np.float64), parameters.scale.astype(np.float64)
        self._bound_of_dense = _CLIP * self._scale
        self._intercept = parameters.intercept.astype(np.float64)
        # One product for the dense features and the similarities.
        self._weights = np.concatenate(
            [parameters.weights / self._scale[:, None], parameters.landmark_weights], dtype=np.float64
        )
        self._landmarks = Landmarks(
            parameters.landmarks, parameters.landmark_scale, parameters.center[: parameters.landmarks.shape[1]]
        )
        self.bound = self._bound()

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy in another process binds its arrays to the kernel there.
        return Reader, (self.parameters,)

    @functools.cached_property
    def _grams(self) -> Floats:
        return self.parameters.grams.astype(np.float32)

    def _bound(self) -> Any | None:
        """The arrays, bound to the compiled kernel; None where numpy is used."""
        parameters, (regressors, readings) = self.parameters, self._weights.shape
        embedded = parameters.landmarks.shape[1]
        is_small = embedded <= kernel.MOST_EMBEDDED and regressors <= kernel.MOST_REGRESSORS
        if (extension := kernel.extension()) is None or not is_small or readings + 3 > kernel.MOST_COLUMNS:
            return None
        if parameters.grams.dtype != np.float16:
            return None
        points, difficulties = parameters.curve.astype(np.float64)
        return extension.Reading(
            *kernel.landmarks_of(
                parameters.landmarks, parameters.landmark_scale, parameters.center[:embedded], levels(embedded)
            ),
            self._center,
            self._bound_of_dense,
            kernel.in_lanes(self._weights),
            self._intercept,
            np.ascontiguousarray(points),
            np.ascontiguousarray(difficulties),
            kernel.contiguous(parameters.grams, np.float16),
        )

    def __call__(self, turns: Sequence[str], vector: Floats, context: Context | None = None) -> Floats:
        """The reading float32 `(READINGS,)` of human turns, oldest first, with this feature vector `(width,)`; the
        shares of the families are in [0, 1], and their sum is at most one.
        """
        dense = np.concatenate([vector, context_features(turns, context)], dtype=np.float64) - self._center
        dense = np.minimum(np.maximum(dense, -self._bound_of_dense), self._bound_of_dense)
        hashes = gram_hashes("\n".join(turns))
        regressors = np.concatenate([dense, self._landmarks(vector[None])[0]])
        reading = self._intercept + in_order(regressors[None], self._weights)[0]
        if len(hashes):
            reading += np.add.reduce(self._grams.take(hashes, axis=0), axis=0) / math.sqrt(len(hashes))
        reading[0] = corrected(reading[0], self.parameters.curve)
        shares = np.minimum(np.maximum(reading[1:], 0.0), 1.0)
        reading[1:] = shares / max(float(shares.sum()), 1.0)
        single: Floats = reading.astype(np.float32)
        return single


def corrected(readings: Doubles, curve: Floats) -> Doubles:
    """The difficulties that a `curve` gives for `readings` of any shape: linear between its points, and beyond them
    as far from its end as the reading is.
    """
    points, difficulties = curve.astype(np.float64)
    inside = np.minimum(np.maximum(readings, points[0]), points[-1])
    found: Doubles = interpolated(inside, points, difficulties) + (readings - inside)
    return found


class Landmarks:
    """Cluster centres of embeddings: integers `(landmarks, embedded)`, of eight bits, with their scales
    `(landmarks,)`; `center` `(embedded,)` is subtracted from an embedding.
    """

    def __init__(self, integers: Floats, scale: Floats, center: Floats) -> None:
        self._integers = np.ascontiguousarray(integers.T, dtype=np.float32)
        self._scale, self._center = scale.astype(np.float64), center
        self._levels = levels(len(center))

    def __call__(self, vectors: Floats) -> Doubles:
        """The similarity float64 `(prompts, landmarks)` of feature vectors `(prompts, width)` to the landmarks; every
        sum is exact, as in `SkillProjector.cosine`.
        """
        topics = unit_rows(vectors[:, : len(self._center)] - self._center)
        integers, step = quantised(topics, self._levels)
        cosines = (integers @ self._integers) * (step.astype(np.float64) * self._scale)
        return exp(SHARPNESS * (cosines - 1.0))


def context_features(turns: Sequence[str], context: Context | None) -> Doubles:
    """Of the context, float64 `(CONTEXT_FEATURES,)`: the logarithms of its characters and turns, whether the request
    has tools, and the logarithm of the human's turns.
    """
    context = around(turns, context)
    return np.array(
        [math.log1p(context.characters), math.log1p(context.turns), float(context.tools), math.log1p(len(turns))]
    )


def around(turns: Sequence[str], context: Context | None) -> Context:
    """`context`, or that of these turns alone."""
    return Context(sum(map(len, turns)), len(turns)) if context is None else context


def _clipped(text: str) -> str:
    """The part of `text` of which the n-grams are read."""
    if len(text) <= _MAX_CHARACTERS:
        return text
    return f"{text[: 3 * _MAX_CHARACTERS // 4]} {text[-_MAX_CHARACTERS // 4 :]}"


def gram_hashes(text: str) -> Indices:
    """The hashes of the n-grams of `text`, in lower case and with single spaces; of a long text, of its beginning and
    end.

    A rolling polynomial over UTF-16 units, so that all n-grams of a length cost a few operations on arrays.
    """
    text = f" {' '.join(_clipped(text).lower().split())} "
    units = np.frombuffer(text.encode("utf-16-le", "replace"), dtype="<u2").astype(np.uint32)
    steps = (units + np.uint32(1)) * _OFFSET
    rolling, parts = np.zeros(len(units), np.uint32), []
    for length in range(1, max(GRAM_LENGTHS) + 1):
        if len(units) < length:
            break
        rolling = rolling[: len(units) - length + 1] * _STEP + steps[length - 1 :]
        if length in GRAM_LENGTHS:
            parts.append(rolling * _MIX >> np.uint32(32 - GRAM_BITS))
    return np.concatenate(parts).astype(np.intp) if parts else np.zeros(0, np.intp)
