"""Ways to place a model that the training never saw, for the protocol that leaves one model out.

Each is a `Learn`: from the other models' outcomes to a `Place`. The first is ours; the others are what it is
measured against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize

from router.cards.facts import ModelFacts
from router.learn.data import RoutingSet
from router.learn.evaluation.splits import HiddenOutcomes, Learn, Place
from router.learn.training.train import fit
from router.perceive.ability import Ability, facts_row, most_informative
from router.perceive.encoder import Encoder
from router.perceive.predictor import Predictor, quality_of
from router.types import Doubles, Floats, Indices

_SHRINK_OFFSET = 4.0
_SHRINK_CLUSTER = 4.0
_CLUSTERS = 8


def random_probes(probes: HiddenOutcomes, random_state: int) -> tuple[Indices, Doubles]:
    """As many rows as the budget allows, drawn at random, and the outcomes on them."""
    rng = np.random.default_rng(random_state)
    rows = rng.permutation(probes.rows)[: probes.budget]
    return rows, np.array([probes(int(row)) for row in rows], dtype=np.float64)


def population(encoder: Encoder, random_state: int = 0) -> Learn:
    """The forecast for an average model, moved by the mean surprise of random probes, shrunk to none."""

    def learn(data: RoutingSet, vectors: Floats) -> Place:
        predictor = fit(vectors, data, encoder)

        def place(probes: HiddenOutcomes, asked: Floats) -> Doubles:
            rows, outcomes = random_probes(probes, random_state)
            offset = 0.0
            if len(rows):
                surprise = outcomes - predictor.expect_all(vectors[rows]).quality[:, -1]
                offset = float(surprise.sum() / (len(rows) + _SHRINK_OFFSET))
            return np.clip(predictor.expect_all(asked).quality[:, -1] + offset, 0, 1)

        return place

    return learn


def error_vector(dimensions: int, random_state: int = 0) -> Learn:
    """UniRoute: a model is its vector of mean outcomes in clusters of prompts, estimated from random probes and shrunk
    to the average model's vector moved by the model's mean surprise.
    """

    def learn(data: RoutingSet, vectors: Floats) -> Place:
        unit = np.asarray(normalize(vectors[:, :dimensions]), dtype=np.float32)
        count = min(_CLUSTERS, len(unit))
        kmeans = KMeans(count, n_init=1, max_iter=30, random_state=random_state).fit(unit)
        known = ~np.isnan(data.scores)
        usual = np.where(known, data.scores, 0).sum() / max(known.sum(), 1)
        base = np.full(count, usual, dtype=np.float64)
        for cluster in range(count):
            own = known & (kmeans.labels_ == cluster)[:, None]
            total = np.where(own, data.scores, 0).sum() + _SHRINK_CLUSTER * usual
            base[cluster] = total / (own.sum() + _SHRINK_CLUSTER)

        def place(probes: HiddenOutcomes, asked: Floats) -> Doubles:
            rows, outcomes = random_probes(probes, random_state)
            table: Doubles = base
            if len(rows):
                cells = kmeans.labels_[rows]
                surprise = outcomes - base[cells]
                moved = base + surprise.sum() / (len(rows) + _SHRINK_OFFSET)
                table = np.array(
                    [
                        (outcomes[cells == cluster].sum() + _SHRINK_CLUSTER * moved[cluster])
                        / ((cells == cluster).sum() + _SHRINK_CLUSTER)
                        for cluster in range(count)
                    ]
                )
            near = kmeans.predict(np.asarray(normalize(asked[:, :dimensions]), dtype=np.float32))
            forecast: Doubles = np.clip(table[near], 0, 1)
            return forecast

        return place

    return learn


class OneFit:
    """Fits a predictor once for all the strategies that ask for it on the same outcomes."""

    def __init__(self, encoder: Encoder, facts: Mapping[str, ModelFacts]) -> None:
        self._encoder, self.facts = encoder, facts
        self._data: RoutingSet | None = None

    def __call__(self, data: RoutingSet, vectors: Floats) -> Predictor:
        """The predictor of these outcomes."""
        if self._data is not data:
            self._data, self._predictor = data, fit(vectors, data, self._encoder, self.facts)
        return self._predictor


def by_ability(fitted: OneFit, *, facts: bool, choose: Callable[..., Indices]) -> Learn:
    """Ours: an ability from the model's published facts or the population, narrowed by probes that `choose` picks."""

    def learn(data: RoutingSet, vectors: Floats) -> Place:
        predictor = fitted(data, vectors)
        profiles = predictor.look(vectors).profiles

        def place(probes: HiddenOutcomes, asked: Floats) -> Doubles:
            stated = fitted.facts.get(probes.model) if facts else None
            ability = predictor.head.facts.ability(facts_row(stated, predictor.manifest.families))
            rows = choose(predictor, ability, profiles, probes)
            ability = ability.observe(profiles[rows], np.array([probes(int(row)) for row in rows]))
            return quality_of(predictor.look(asked).profiles @ ability.mean)

        return place

    return learn


def adaptively(predictor: Predictor, ability: Ability, profiles: Doubles, probes: HiddenOutcomes) -> Indices:
    """The rows that narrow the forecast most, one after the other."""
    allowed = np.zeros(len(profiles), np.bool_)
    allowed[probes.rows] = True
    chosen: list[int] = []
    for _ in range(min(probes.budget, len(probes.rows))):
        row = most_informative(ability.covariance, profiles, predictor.head.usual, allowed)
        allowed[row] = False
        chosen.append(row)
        ability = ability.expected_posterior(profiles[[row]])
    return np.array(chosen, dtype=np.intp)


def strategies(encoder: Encoder, facts: Mapping[str, ModelFacts], random_state: int = 0) -> dict[str, Learn]:
    """The ways by name; the first without probes is the prior."""
    fitted = OneFit(encoder, facts)

    def at_random(_: Predictor, __: Ability, ___: Doubles, probes: HiddenOutcomes) -> Indices:
        return random_probes(probes, random_state)[0]

    return {
        "population": population(encoder, random_state),
        "k-means error vectors": error_vector(encoder.dimensions, random_state),
        "pulvinar, random probes": by_ability(fitted, facts=False, choose=at_random),
        "pulvinar, adaptive probes": by_ability(fitted, facts=False, choose=adaptively),
        "pulvinar, facts and adaptive probes": by_ability(fitted, facts=True, choose=adaptively),
    }


def full_outcomes(encoder: Encoder) -> Callable[[RoutingSet, Floats, Floats], Doubles]:
    """What ours forecasts with all training outcomes of every model: the top of the ladder."""

    def forecasts(data: RoutingSet, vectors: Floats, asked: Floats) -> Doubles:
        return fit(vectors, data, encoder).expect_all(asked).quality[:, :-1]

    return forecasts
