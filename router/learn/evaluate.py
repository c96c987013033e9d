"""An honest report of a predictor on one data set, with baselines on the same folds beside it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut
from sklearn.preprocessing import StandardScaler

from router.errors import CallerError, MissingExtraError
from router.learn.dataset import RoutingSet
from router.learn.embeddings import embeddings_of, vectors_of
from router.learn.metrics import Quality, assess, best_single
from router.learn.progress import tracked
from router.learn.train import fit as fit_predictor
from router.perceive.encoder import Encoder
from router.types import Doubles, Indices

OURS = "pulvinar"
_ALPHAS = tuple(np.logspace(0, 6, 13))
_FIRST_OPTION = re.compile(r"\n\s*\(?A[).:]\s")
_WORDS = re.compile(r"\w+")

Fit = Callable[[Indices, Indices], Doubles]
"""Rows to train on, rows to forecast → expected scores `(rows to forecast, models)`."""


class Report(Struct, frozen=True):
    """What `route eval` prints. `skipped` names baselines that could not run here, and why."""

    data_set: str
    prompts: int
    models: int
    protocol: str
    encoder: str
    best_single: str
    best_single_quality: float
    oracle_quality: float
    methods: tuple[Quality, ...]
    skipped: tuple[str, ...] = ()


def evaluate(
    data: RoutingSet,
    encoder: Encoder,
    *,
    folds: int = 5,
    by: str | None = None,
    baseline_encoder: Callable[[], Encoder] | None = None,
    cache: Path | None = None,
    seed: int = 0,
) -> Report:
    """Cross-validate on `data`: `folds` random folds, or one fold a domain where `by` is "domain".

    A prompt is never forecast from its own copies. `baseline_encoder` makes the encoder of the ridge
    baseline; where its extra is missing the baseline is named under `skipped`.
    """
    data = _with_outcomes(data)
    splits = tuple(_splits(data, folds, by, seed))
    vectors = vectors_of(data.prompts, encoder)
    scores = np.asarray(data.scores, dtype=np.float64)
    methods: dict[str, Fit] = {OURS: lambda train, test: _ours(data, vectors, encoder, train, test)}
    static = vectors[:, : encoder.dimensions]
    methods[f"ridge, {encoder.name} embeddings"] = lambda train, test: _ridge(static, scores, train, test)
    skipped = []
    if baseline_encoder is not None:
        try:
            other = baseline_encoder()
        except MissingExtraError as error:
            skipped.append(str(error))
        else:
            embeddings = embeddings_of(data.prompts, other, cache)
            methods[f"ridge, {other.name} embeddings"] = lambda train, test: _ridge(embeddings, scores, train, test)
    with warnings.catch_warnings():
        # A model that was never run in a fold has no mean there; it is never chosen either.
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        lines = [_cross_validated(name, fit, data, splits) for name, fit in methods.items()]
        lines += _constants(data, splits, seed)
        single = best_single(scores)
    return Report(
        data_set=data.name,
        prompts=len(data.prompts),
        models=len(data.models),
        protocol=f"leave one {by} out ({len(splits)} folds)" if by else f"{len(splits)} folds",
        encoder=encoder.name,
        best_single=data.models[single],
        best_single_quality=float(np.nanmean(scores[:, single])),
        oracle_quality=float(np.nanmax(scores, axis=1).mean()),
        methods=tuple(lines),
        skipped=tuple(skipped),
    )


def _with_outcomes(data: RoutingSet) -> RoutingSet:
    """Without the prompts on which no model was run: no method can be right or wrong there."""
    rows = np.flatnonzero(np.isfinite(data.scores).any(axis=1))
    if not len(rows):
        raise CallerError(f"{data.name} has no outcomes; every cell of the score table is empty")
    return data.rows(rows)


def question_of(turns: Sequence[str]) -> str:
    """What a prompt asks, in lower case and without marks, so that its copies in other clothes are known.

    The same question stands in several sets with other options, or after other examples: of a text with options only
    what stands before the last list of them counts, and of one with several lists only its last paragraph.
    """
    lists = list(_FIRST_OPTION.finditer(turns[-1]))
    asked = turns[-1][: lists[-1].start()] if lists else turns[-1]
    if len(lists) > 1:
        asked = asked[asked.rfind("\n\n") + 1 :]
    words = _WORDS.findall(" ".join((*turns[:-1], asked)).lower())
    return " ".join(words) if words else "\n".join(turns)


def _splits(data: RoutingSet, folds: int, by: str | None, seed: int) -> Iterator[tuple[Indices, Indices]]:
    questions = [question_of(prompt.turns) for prompt in data.prompts]
    first_of = {question: row for row, question in reversed(list(enumerate(questions)))}
    copies = np.array([first_of[question] for question in questions])
    rows = np.zeros(len(data.prompts))
    if by == "domain":
        domains = sorted(set(data.domains))
        if len(domains) < 2:
            raise CallerError(f"--by domain needs at least two domains; {data.name} has {len(domains)}")
        for others, test in LeaveOneGroupOut().split(rows, groups=data.domains):
            # A prompt may stand in two domains; what is forecast must not have been learned from.
            train = others[~np.isin(copies[others], copies[test])]
            if not len(train):
                raise CallerError(f"{data.name}: every prompt outside {data.domains[test[0]]} is also in it")
            yield train, test
        return
    if by is not None:
        raise CallerError(f'--by takes "domain", got "{by}"')
    different = len(first_of)
    if not 2 <= folds <= different:
        raise CallerError(f"--folds must be between 2 and the number of different prompts ({different}), got {folds}")
    yield from GroupKFold(folds, shuffle=True, random_state=seed).split(rows, groups=copies)


def _cross_validated(name: str, fit: Fit, data: RoutingSet, splits: Sequence[tuple[Indices, Indices]]) -> Quality:
    scores = np.asarray(data.scores, dtype=np.float64)
    expected = np.full(scores.shape, np.nan)
    for train, test in tracked(splits, name, long=2):
        expected[test] = fit(train, test)
    return assess(name, scores, expected, data.cost_usd)


def _ours(data: RoutingSet, vectors: Any, encoder: Encoder, train: Indices, test: Indices) -> Doubles:
    """Forecasts of the served predictor itself, not of the estimator behind it."""
    predictor = fit_predictor(vectors[train], data.rows(train), encoder)
    return predictor.expect_all(vectors[test]).quality[:, :-1]


def _ridge(embeddings: Any, scores: Doubles, train: Indices, test: Indices) -> Doubles:
    """Plain ridge on standardised embeddings, a penalty a model by leave-one-out; holes take the model's
    mean.
    """
    scaler = StandardScaler().fit(embeddings[train])
    means = np.nan_to_num(np.nanmean(scores[train], axis=0), nan=0.5)
    targets = np.where(np.isnan(scores[train]), means, scores[train])
    ridge = RidgeCV(alphas=_ALPHAS, alpha_per_target=True).fit(scaler.transform(embeddings[train]), targets)
    return np.asarray(ridge.predict(scaler.transform(embeddings[test]))).reshape(len(test), -1)


def _constants(data: RoutingSet, splits: Sequence[tuple[Indices, Indices]], seed: int) -> list[Quality]:
    """Methods that never read the prompt: random, best single, best per domain (knows the label), oracle."""
    scores = np.asarray(data.scores, dtype=np.float64)
    domains = np.array(data.domains)
    single = np.zeros(scores.shape)
    per_domain = np.zeros(scores.shape)
    for train, test in splits:
        means = np.nan_to_num(np.nanmean(scores[train], axis=0))
        single[test] = means
        for domain in set(domains[test]):
            own = train[domains[train] == domain]
            mean = np.nan_to_num(np.nanmean(scores[own], axis=0)) if len(own) else means
            per_domain[test[domains[test] == domain]] = mean
    tables = {
        "random": np.random.default_rng(seed).random(scores.shape),
        "best single": single,
        "best per domain": per_domain,
        "oracle": np.nan_to_num(scores, nan=-1.0),
    }
    return [
        assess(name, scores, table, None if name == "random" else data.cost_usd, forecasts=False)
        for name, table in tables.items()
    ]
