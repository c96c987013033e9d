"""Cold start: leave one model out of the training, and forecast it from facts and a few of its outcomes.

A `Strategy` learns from the other models' outcomes, and gives a `NewModelForecaster`. The strategies are ours and
those that it is compared with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize

from router.cards.facts import ModelFacts
from router.errors import CallerError
from router.learn.data import RoutingSet
from router.learn.engine import LOCAL, Arrays, Engine
from router.learn.evaluation.metrics import brier, mean_auc
from router.learn.evaluation.splits import k_folds
from router.learn.training.train import fit
from router.perceive.ability.ability import facts_row
from router.perceive.ability.belief import Belief, LinearResponse
from router.perceive.linear import quality_of
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats, Indices

PROBES = (0, 8, 16, 32, 64)
"""Numbers of outcomes of a left-out model that a strategy may ask for."""

_FULL_OUTCOMES = "full outcomes"
_FOLDS = 5
_MIN_GAIN = 1e-6
_SHRINK_OFFSET = 4.0
_SHRINK_CLUSTER = 4.0
_CLUSTERS = 8


class HiddenOutcomes:
    """The outcomes of a left-out model on the training rows, of which at most `budget` may be revealed.

    `model` is its name, by which its facts can be looked up; `rows` are those on which it was run. A call with a row
    reveals the outcome there; asking for the same row again costs nothing.
    """

    def __init__(self, model: str, outcomes: Doubles, budget: int) -> None:
        self._outcomes = outcomes
        self.model, self.budget = model, budget
        self.rows: Indices = np.flatnonzero(~np.isnan(outcomes))
        self.revealed: dict[int, float] = {}

    def __call__(self, row: int) -> float:
        """The outcome on `row`. Raises ValueError where the budget is exhausted or there is no outcome."""
        if row not in self.revealed:
            if len(self.revealed) >= self.budget:
                raise ValueError(f"more than {self.budget} probes were requested")
            if np.isnan(self._outcomes[row]):
                raise ValueError(f"the model was not run on row {row}")
            self.revealed[row] = float(self._outcomes[row])
        return self.revealed[row]


class NewModelForecaster(Protocol):
    """Forecasts a new model from a few probes."""

    def __call__(self, probes: HiddenOutcomes, test_vectors: Floats, /) -> Doubles:
        """Expected scores `(prompts,)` for feature vectors `(prompts, width)`, after revealing some of `probes`."""


Strategy = Callable[[RoutingSet, Floats], NewModelForecaster]
"""Learns from the other models' outcomes and the feature vectors of the prompts how to forecast a new model."""


class LeftOut(Struct, frozen=True):
    """How well left-out models are forecast from `probes` outcomes; means over these models.

    `gain`: (AUC - AUC of the prior) / (AUC of full outcomes - AUC of the prior), where the prior is the first
    strategy without probes; None where full outcomes gain nothing.
    """

    method: str
    probes: int | None
    auc: float | None
    brier: float
    gain: float | None


Results = dict[tuple[str, int | None], list[tuple[float | None, float]]]
"""AUC and Brier score of each left-out model, by strategy and number of probes."""


def leave_models_out(
    data: RoutingSet,
    vectors: Floats,
    strategies: Mapping[str, Strategy],
    full: Callable[[RoutingSet, Floats, Floats], Doubles],
    *,
    probes: Sequence[int] = PROBES,
    models: int = 12,
    random_state: int = 0,
    engine: Engine = LOCAL,
) -> tuple[LeftOut, ...]:
    """Forecast models that were left out of the training, on prompts that were left out too.

    One prompt in five is tested; probes are drawn from the others. At most `models` are left out, one at a time,
    evenly spaced in the order of their mean scores. `full` learns from all training outcomes, including those of the
    left-out model, and gives forecasts `(prompts, models)`. The forecast of the first strategy without probes is the
    prior.
    """
    if len(data.models) < 3:
        raise CallerError(f"--by model needs at least three models; {data.name} has {len(data.models)}")
    split = next(k_folds(data, _FOLDS, random_state))
    train = data.rows(split.train)
    train_vectors, test_vectors = vectors[split.train], vectors[split.test]
    scores = np.asarray(data.scores, dtype=np.float64)
    train_scores, names = scores[split.train], data.models
    reference = full(train, train_vectors, test_vectors)

    def forecasts_without(model: int) -> Arrays:
        """The forecast `(test prompts,)` of each strategy with each number of probes."""
        others = train.columns([name for position, name in enumerate(names) if position != model])
        forecasts = []
        for learn in strategies.values():
            forecast_new = learn(others, train_vectors)
            for count in probes:
                hidden = HiddenOutcomes(names[model], train_scores[:, model], count)
                forecasts.append(forecast_new(hidden, test_vectors))
        return tuple(forecasts)

    left_out = _evenly_spaced(scores, models)
    keys: list[tuple[str, int | None]] = [*itertools.product(strategies, probes), (_FULL_OUTCOMES, None)]
    results: Results = {}
    each = engine.map(forecasts_without, left_out, "leaving models out", min_items=2, noun="model")
    for model, forecasts in zip(left_out, each, strict=True):
        truth = scores[split.test, model][:, None]
        known = ~np.isnan(truth[:, 0])
        if not known.any():
            continue
        for key, forecast in zip(keys, (*forecasts, reference[:, model]), strict=True):
            clipped = np.clip(forecast, 0, 1)[:, None]
            results.setdefault(key, []).append((mean_auc(truth[known], clipped[known]), brier(truth, clipped)))
    return _summarized(results, prior=next(iter(strategies)))


def _evenly_spaced(scores: Doubles, models: int) -> list[int]:
    """At most `models` columns, evenly spaced from the lowest to the highest mean score."""
    means = np.array([np.nanmean(column) if np.isfinite(column).any() else np.nan for column in scores.T])
    order = np.argsort(means)[: int(np.isfinite(means).sum())]
    return [int(order[index]) for index in np.unique(np.linspace(0, len(order) - 1, models).round().astype(int))]


def _summarized(results: Results, prior: str) -> tuple[LeftOut, ...]:
    def mean_auc_of(key: tuple[str, int | None]) -> float | None:
        areas = [area for area, _ in results.get(key, []) if area is not None]
        return float(np.mean(areas)) if areas else None

    least, most = mean_auc_of((prior, 0)), mean_auc_of((_FULL_OUTCOMES, None))
    lines = []
    for (name, count), accuracies in results.items():
        area = mean_auc_of((name, count))
        gain = None
        if area is not None and least is not None and most is not None and most - least > _MIN_GAIN:
            gain = (area - least) / (most - least)
        lines.append(LeftOut(name, count, area, float(np.mean([error for _, error in accuracies])), gain))
    return tuple(lines)


def strategies(encoder: Encoder, facts: Mapping[str, ModelFacts], random_state: int = 0) -> dict[str, Strategy]:
    """The strategies by name; the first without probes is the prior."""
    fitted = FitOnce(encoder, facts)

    def at_random(_: Belief, probes: HiddenOutcomes) -> Indices:
        return random_probes(probes, random_state)[0]

    return {
        "population": population(encoder, random_state),
        "k-means error vectors": error_vector(encoder.dimensions, random_state),
        "pulvinar, random probes": by_ability(fitted, facts=False, choose=at_random),
        "pulvinar, adaptive probes": by_ability(fitted, facts=False, choose=adaptive_probes),
        "pulvinar, facts and adaptive probes": by_ability(fitted, facts=True, choose=adaptive_probes),
    }


def full_outcomes(encoder: Encoder) -> Callable[[RoutingSet, Floats, Floats], Doubles]:
    """Our forecasts from all training outcomes of every model: the upper reference."""

    def forecasts(data: RoutingSet, vectors: Floats, test_vectors: Floats) -> Doubles:
        return fit(vectors, data, encoder).expect_all(test_vectors).quality[:, :-1]

    return forecasts


def random_probes(probes: HiddenOutcomes, random_state: int) -> tuple[Indices, Doubles]:
    """As many random rows as the budget allows, and the outcomes on them."""
    rng = np.random.default_rng(random_state)
    rows = rng.permutation(probes.rows)[: probes.budget]
    return rows, np.array([probes(int(row)) for row in rows], dtype=np.float64)


def population(encoder: Encoder, random_state: int = 0) -> Strategy:
    """The forecast for an average model, plus the mean residual of random probes, shrunk towards 0."""

    def learn(data: RoutingSet, vectors: Floats) -> NewModelForecaster:
        predictor = fit(vectors, data, encoder)

        def forecast_new(probes: HiddenOutcomes, test_vectors: Floats) -> Doubles:
            rows, outcomes = random_probes(probes, random_state)
            offset = 0.0
            if len(rows):
                residuals = outcomes - predictor.expect_all(vectors[rows]).quality[:, -1]
                offset = float(residuals.sum() / (len(rows) + _SHRINK_OFFSET))
            return np.clip(predictor.expect_all(test_vectors).quality[:, -1] + offset, 0, 1)

        return forecast_new

    return learn


def error_vector(dimensions: int, random_state: int = 0) -> Strategy:
    """UniRoute: a model is its vector of mean outcomes in clusters of prompts, estimated from random probes and shrunk
    to the vector of the average model plus the mean residual of the model.
    """

    def learn(data: RoutingSet, vectors: Floats) -> NewModelForecaster:
        unit = np.asarray(normalize(vectors[:, :dimensions]), dtype=np.float32)
        count = min(_CLUSTERS, len(unit))
        kmeans = KMeans(count, n_init=1, max_iter=30, random_state=random_state).fit(unit)
        known = ~np.isnan(data.scores)
        mean_score = np.where(known, data.scores, 0).sum() / max(known.sum(), 1)
        average = np.full(count, mean_score, dtype=np.float64)
        for cluster in range(count):
            inside = known & (kmeans.labels_ == cluster)[:, None]
            total = np.where(inside, data.scores, 0).sum() + _SHRINK_CLUSTER * mean_score
            average[cluster] = total / (inside.sum() + _SHRINK_CLUSTER)

        def forecast_new(probes: HiddenOutcomes, test_vectors: Floats) -> Doubles:
            rows, outcomes = random_probes(probes, random_state)
            vector: Doubles = average
            if len(rows):
                clusters = kmeans.labels_[rows]
                residuals = outcomes - average[clusters]
                moved = average + residuals.sum() / (len(rows) + _SHRINK_OFFSET)
                vector = np.array(
                    [
                        (outcomes[clusters == cluster].sum() + _SHRINK_CLUSTER * moved[cluster])
                        / ((clusters == cluster).sum() + _SHRINK_CLUSTER)
                        for cluster in range(count)
                    ]
                )
            nearest = kmeans.predict(np.asarray(normalize(test_vectors[:, :dimensions]), dtype=np.float32))
            forecast: Doubles = np.clip(vector[nearest], 0, 1)
            return forecast

        return forecast_new

    return learn


class FitOnce:
    """Fits one predictor for all the strategies that need it on the same outcomes."""

    def __init__(self, encoder: Encoder, facts: Mapping[str, ModelFacts]) -> None:
        self._encoder, self.facts = encoder, facts
        self._data: RoutingSet | None = None

    def __call__(self, data: RoutingSet, vectors: Floats) -> Predictor:
        """The predictor of these outcomes."""
        if self._data is not data:
            self._data, self._predictor = data, fit(vectors, data, self._encoder, self.facts)
        return self._predictor


def by_ability(fitted: FitOnce, *, facts: bool, choose: Callable[[Belief, HiddenOutcomes], Indices]) -> Strategy:
    """Ours: the prior of the ability from published facts or from the population, updated by probes that `choose`
    picks, and what they say about prompts like them.
    """

    def learn(data: RoutingSet, vectors: Floats) -> NewModelForecaster:
        predictor = fitted(data, vectors)
        model, topics = LinearResponse(predictor.profile(vectors).profiles), predictor.topics(vectors)

        def forecast_new(probes: HiddenOutcomes, test_vectors: Floats) -> Doubles:
            stated = fitted.facts.get(probes.model) if facts else None
            prior = predictor.head.facts.ability(facts_row(stated, predictor.manifest.families))
            belief = Belief.of(model, topics, prior)
            rows = choose(belief, probes)
            belief = belief.observe(rows, np.array([probes(int(row)) for row in rows], dtype=np.float64))
            quality = quality_of(predictor.profile(test_vectors).profiles @ belief.ability.mean)
            return (
                quality if belief.local is None else quality + belief.local.corrections(predictor.topics(test_vectors))
            )

        return forecast_new

    return learn


def adaptive_probes(belief: Belief, probes: HiddenOutcomes) -> Indices:
    """The rows that reduce the uncertainty of the forecast most, chosen one after the other."""
    allowed = np.zeros(len(belief.topics), np.bool_)
    allowed[probes.rows] = True
    chosen: list[int] = []
    while len(chosen) < min(probes.budget, len(probes.rows)):
        row = belief.most_informative(chosen, allowed)
        if row is None:
            break
        allowed[row] = False
        chosen.append(row)
    return np.array(chosen, dtype=np.intp)
