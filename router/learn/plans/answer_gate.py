"""The gate: how likely each model's answer is right, before the call and once its text is known."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from router.learn.data.answers import AnswerSet
from router.learn.plans.out_of_fold import LinearOutOfFold, logistic_out_of_fold, logit, standardised
from router.types import Doubles, Floats, Indices

_PRIOR_PENALTY = 300.0
# An answer's own doubt bounds the prior: no forecast from the prompt alone is surer than this.
_LEAST_PRIOR = 0.03
_COUNTS = ("out_chars", "hedges", "lines", "digits")


class Gate(Struct, frozen=True, eq=False):
    """Forecasts out of fold, float64 `(prompts, models)`, in [0, 1]; `signals` `(prompts, models, signals)`.

    `prior` is the forecast from the prompt, `posterior` that of an answer whose text is known. `signals` are
    standardised over prompts and models.
    """

    prior: Doubles
    posterior: Doubles
    signals: Doubles


def prior_of(data: AnswerSet, vectors: Floats, folds: Indices) -> Doubles:
    """Forecasts of every model from the prompt, out of fold and calibrated: `(prompts, models)`."""
    linear = logit(LinearOutOfFold(vectors.astype(np.float64), folds, _PRIOR_PENALTY)(data.scores), _LEAST_PRIOR)
    columns = [
        logistic_out_of_fold(linear[:, [model]], data.scores[:, model], folds) for model in range(len(data.models))
    ]
    return np.clip(np.stack(columns, axis=1), _LEAST_PRIOR, 1 - _LEAST_PRIOR)


def fit_gate(data: AnswerSet, vectors: Floats, folds: Indices, signals: Doubles | None = None) -> Gate:
    """The gate of every model of `data`; `signals` stand in for those of the set (a control)."""
    prior = prior_of(data, vectors, folds)
    texts = text_signals(data) if signals is None else signals
    log_odds = logit(prior, _LEAST_PRIOR)
    usual = log_odds.mean(axis=1, keepdims=True)
    posterior = np.stack(
        [
            logistic_out_of_fold(
                np.concatenate([log_odds[:, [model]], usual, texts[:, model]], axis=1), data.scores[:, model], folds
            )
            for model in range(len(data.models))
        ],
        axis=1,
    )
    return Gate(prior, posterior, texts)


def text_signals(data: AnswerSet) -> Doubles:
    """The signals of `data`, standardised, with the square of the length: `(prompts, models, signals)`.

    Counts are on a logarithmic scale; the length is relative to the usual one of its model.
    """
    columns = []
    for position, name in enumerate(data.signal_names):
        values = data.signals[:, :, position]
        values = np.log1p(np.maximum(values, 0)) if name in _COUNTS else values
        if name == "out_chars":
            values = standardised(values)
            columns.append(np.square(values))
        columns.append(values)
    stacked = np.stack(columns, axis=2)
    return standardised(stacked.reshape(-1, len(columns))).reshape(stacked.shape)
