"""Fit a predictor on routing data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import router
from router.errors import CallerError
from router.learn.dataset import RoutingSet, join
from router.learn.embeddings import vectors_of
from router.learn.ridge import TwoLevelRidge
from router.perceive.encoder import Encoder
from router.perceive.predictor import (
    FORMAT,
    VERSION,
    DataSource,
    Head,
    Manifest,
    ModelEvidence,
    Predictor,
)
from router.types import Floats

ASSUMED_OUTPUT_TOKENS = 256
"""Expected length of an answer where no data set says."""

_DIRECTIONS = 32
_SPREAD_SAMPLE = 2_000
_MIN_PROMPTS = 2


def train(sets: Sequence[RoutingSet], encoder: Encoder, command: str = "") -> Predictor:
    """A predictor for every model of `sets`. The same sets give the same numbers.

    Raises CallerError where there is too little to learn from.
    """
    if not sets or sum(len(each.prompts) for each in sets) < _MIN_PROMPTS:
        raise CallerError(f"training needs at least {_MIN_PROMPTS} prompts with outcomes")
    data = join(sets)
    if not np.isfinite(data.scores).any():
        raise CallerError("training needs outcomes; every cell of the score table is empty")
    head = fit_head(vectors_of(data.prompts, encoder), data)
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        release=router.__version__,
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        models=tuple(_evidence(model, column, sets, data) for column, model in enumerate(data.models)),
        data_sets=tuple(DataSource(each.name, len(each.prompts), each.sha256, each.license) for each in sets),
        sha256={},
        command=command,
    )
    return Predictor(head, encoder, manifest)


def fit(vectors: Floats, data: RoutingSet, encoder: Encoder) -> Predictor:
    """A predictor from feature vectors `(prompts, width)` and the outcomes on them, without a record of its making."""
    models = tuple(ModelEvidence(name, 0, 0.0, ()) for name in data.models)
    manifest = Manifest(FORMAT, VERSION, router.__version__, encoder.name, encoder.fingerprint, models, (), {})
    return Predictor(fit_head(vectors, data), encoder, manifest)


def fit_head(vectors: Floats, data: RoutingSet) -> Head:
    """The arrays of a predictor from feature vectors `(prompts, width)` and the outcomes on them."""
    ridge = TwoLevelRidge().fit(vectors, data.scores)
    standard = (vectors - ridge.center_) / ridge.scale_
    directions, gain, rest = leverage_of(standard)
    leverages = np.square(standard).sum(axis=1) * rest + np.square(standard @ directions.T) @ gain
    known = np.isfinite(data.scores).sum(axis=0)
    weights = np.column_stack([ridge.particular_, ridge.common_])
    least, greatest = _reach(standard, weights, np.isfinite(data.scores))
    length_weights, length_offset = _length_head(vectors, data.output_tokens, len(data.models))
    # A model nobody has measured may be any of those that somebody has.
    spread = np.zeros(len(known) + 1)
    sample = standard[:: max(1, len(standard) // _SPREAD_SAMPLE)]
    spread[-1] = (sample @ ridge.particular_ + ridge.ability_).std(axis=1).mean()

    def column(values: NDArray[np.floating], population: float) -> Floats:
        return np.append(values, population).astype(np.float32)

    return Head(
        weights=np.ascontiguousarray(weights, dtype=np.float32),
        least=least,
        greatest=greatest,
        bias=column(ridge.ability_, ridge.population_),
        residual_std=column(ridge.residual_std_, float(ridge.residual_std_.mean())),
        data_ratio=column(len(vectors) / np.maximum(known, 1), 1.0),
        spread=spread.astype(np.float32),
        center=ridge.center_.astype(np.float32),
        scale=ridge.scale_.astype(np.float32),
        directions=directions,
        direction_gain=gain,
        rest_gain=np.array([rest], dtype=np.float32),
        leverage_quantiles=np.quantile(leverages, np.linspace(0, 1, 101)).astype(np.float32),
        length_weights=length_weights,
        length_offset=length_offset,
    )


def _reach(standard: Floats, weights: NDArray[np.floating], known: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """How far each linear part went, from the first to the ninety-ninth percentile of its own prompts."""
    linear = standard @ weights
    rows = [*(known[:, model] for model in range(known.shape[1])), known.any(axis=1)]
    ends = [
        np.quantile(linear[own, column], (0.01, 0.99)) if own.any() else (0.0, 0.0) for column, own in enumerate(rows)
    ]
    least, greatest = np.array(ends, dtype=np.float32).T
    return np.ascontiguousarray(least), np.ascontiguousarray(greatest)


def leverage_of(standard: Floats, penalty: float = 300.0) -> tuple[Floats, Floats, float]:
    """How much a prompt leans on few others: `zᵀ (ZᵀZ + αI)⁻¹ z`, exact along the largest directions of `Z`.

    Returns directions `(k, width)`, what to add to the squared length along each, and the gain of all the
    rest.
    """
    gram = standard.T.astype(np.float64) @ standard.astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    count = min(_DIRECTIONS, len(values))
    top, rest = values[::-1][:count], values[::-1][count:]
    rest = np.maximum(rest, 0.0)
    # Weighted by how much of the prompts lies along each direction, so that the mean over the prompts is exact.
    rest_gain = float((rest / (rest + penalty)).sum() / rest.sum()) if rest.sum() > 0 else 1.0 / penalty
    gain = 1.0 / (np.maximum(top, 0.0) + penalty) - rest_gain
    return vectors[:, ::-1][:, :count].T.astype(np.float32).copy(), gain.astype(np.float32), rest_gain


def _length_head(vectors: Floats, output_tokens: Floats | None, models: int) -> tuple[Floats, Floats]:
    """Weights `(width,)` and offsets `(models + 1,)` of the logarithm of one plus the answer's length in
    tokens.
    """
    width = vectors.shape[1]
    if output_tokens is None or not np.isfinite(output_tokens).any():
        return np.zeros(width, np.float32), np.full(models + 1, np.log1p(ASSUMED_OUTPUT_TOKENS), np.float32)
    rows = np.isfinite(output_tokens).any(axis=1)
    logarithms = np.log1p(output_tokens[rows])
    ridge = TwoLevelRidge().fit(vectors[rows], logarithms)
    # The common part only: shared by all models, it needs one product a prompt.
    weights = ridge.common_ / ridge.scale_ * vectors.std(axis=0).clip(1e-9)
    offset = ridge.ability_ + float(((vectors.mean(axis=0) - ridge.center_) / ridge.scale_) @ ridge.common_)
    measured = np.isfinite(output_tokens).any(axis=0)
    # The mean of a length is more than the exponential of its mean logarithm (Duan's smearing estimate).
    residual = logarithms - ridge.ability_ - (((vectors[rows] - ridge.center_) / ridge.scale_) @ ridge.common_)[:, None]
    offset[measured] += [np.log(np.exp(column[np.isfinite(column)]).mean()) for column in residual[:, measured].T]
    population = float(offset[measured].mean())
    offsets = np.append(np.where(measured, offset, population), population)
    return weights.astype(np.float32), offsets.astype(np.float32)


def _evidence(model: str, column: int, sets: Sequence[RoutingSet], data: RoutingSet) -> ModelEvidence:
    scores = data.scores[:, column]
    known = scores[np.isfinite(scores)]
    return ModelEvidence(
        name=model,
        outcomes=len(known),
        mean_quality=round(float(known.mean()), 6) if len(known) else 0.0,
        data_sets=tuple(
            each.name
            for each in sets
            if model in each.models and np.isfinite(each.scores[:, each.models.index(model)]).any()
        ),
    )
