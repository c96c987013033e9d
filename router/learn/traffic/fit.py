"""Fit what judged traffic shows about forecasts, with the present artifact as the prior.

The weights maximise the posterior of a logistic regression whose prior is a Gaussian around what the artifact has:

    Σ_i w_i log p(y_i | logit q_i + φ_i · (δ + δ_card(i))) - ½ Σ_j ((δ_j - δ⁰_j) / σ_j)²

which is the maximum-a-posteriori adaptation of a trained model to little data (Chelba and Acero 2006, "Adaptation of
maximum entropy capitalizer: little data can help a lot"). `δ⁰` are the weights of the artifact, 0 where it was not
retrained before; so where nothing was judged the forecasts stay as they are. `y` may be any value in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from router.errors import CallerError
from router.learn.traffic.judged import JudgedTraffic, trusted_weights
from router.perceive.ability.acceptance import probability
from router.perceive.memory.traffic import LEVEL_COLUMNS, TrafficParameters, bounded, level_of
from router.types import Doubles

LEAST_JUDGED = 200
"""Judged answers below which nothing is fitted."""
MOST_DIRECTIONS, JUDGED_A_DIRECTION = 16, 30
"""The most directions of topics, and how many judged answers each of them needs."""
LEVEL_STDS, TOPIC_STDS = (0.25, 0.5, 1.0), (0.0, 0.1, 0.2, 0.4)
"""The standard deviations of the prior that are tried, in logits."""
_PARTS = 4
_STEPS = 25
_TOLERANCE = 1e-8


class Spread(Struct, frozen=True):
    """The standard deviations of the prior in logits: of a level, and of a direction whose regressor has variance 1."""

    level: float
    topic: float


class Fitted(Struct, frozen=True, eq=False):
    """The weights, and how they were chosen: `spread` is that of the least loss out of fold by time; None where no
    spread forecasts later judgements better than the artifact does, and then the weights are those of the artifact.
    """

    parameters: TrafficParameters
    spread: Spread | None


def fit_traffic(traffic: JudgedTraffic, prior: TrafficParameters | None) -> Fitted:
    """The weights of all cards in `traffic.names`. `prior` are those of the artifact, of the same cards.

    Raises CallerError where there are fewer than `LEAST_JUDGED` judged answers.
    """
    if len(traffic) < LEAST_JUDGED:
        raise CallerError(
            f"{len(traffic)} judged answers are too few to train on: at least {LEAST_JUDGED} are needed before the "
            "newest part, which judges"
        )
    if prior is None:
        center, directions = principal_directions(traffic.topics)
        size = LEVEL_COLUMNS + len(directions)
        prior = TrafficParameters(center, directions, np.zeros(size), np.zeros((len(traffic.names), size)))
    spread = _chosen(traffic, prior)
    if spread is None:
        return Fitted(prior, None)
    return Fitted(_posterior(traffic, prior, spread), spread)


def expected(traffic: JudgedTraffic, parameters: TrafficParameters | None) -> Doubles:
    """The forecasts `(requests,)` for the cards that answered."""
    if parameters is None:
        return probability(traffic.logits)
    weights = parameters.common + parameters.cards[traffic.cards]
    added = (_regressors(traffic, parameters) * weights).sum(axis=1)
    return probability(traffic.logits + bounded(added))


def loss(values: Doubles, forecasts: Doubles) -> Doubles:
    """The logarithmic loss `(requests,)` of forecasts."""
    losses: Doubles = -(values * np.log(forecasts) + (1.0 - values) * np.log(1.0 - forecasts))
    return losses


def principal_directions(topics: Doubles) -> tuple[Doubles, Doubles]:
    """The mean of topics `(requests, numbers)`, and the directions `(k, numbers)` in which they differ most, scaled so
    that what they give has the variance 1.
    """
    center = topics.mean(axis=0)
    count = min(MOST_DIRECTIONS, len(topics) // JUDGED_A_DIRECTION, topics.shape[1])
    moments = (topics - center).T @ (topics - center) / len(topics)
    values, vectors = np.linalg.eigh(moments)
    order = np.argsort(-values)[:count]
    chosen = vectors[:, order].T
    # Of the two signs of a direction, the one in which its largest number is positive: the same on every machine.
    signs = np.sign(chosen[np.arange(len(chosen)), np.abs(chosen).argmax(axis=1)])
    return center, chosen * (signs / np.sqrt(np.maximum(values[order], 1e-12)))[:, None]


# Gains below this are what is left of rounding where nothing can be learned.
_ROUNDING = 1e-9


def _chosen(traffic: JudgedTraffic, prior: TrafficParameters) -> Spread | None:
    """The spread whose fits on the past forecast what came next best; of those that are not worse than the best by a
    standard error of the difference, the narrowest. None where none is better than the artifact by a standard error.
    """
    spreads = [Spread(level, topic) for level in LEVEL_STDS for topic in TOPIC_STDS]
    now = expected(traffic, prior)
    gains: list[Doubles] = []
    for spread in spreads:
        parts = []
        for past, later in _folds(len(traffic)):
            tested = traffic.rows(later)
            fitted = _posterior(traffic.rows(past), prior, spread)
            gain = loss(tested.values, now[later]) - loss(tested.values, expected(tested, fitted))
            parts.append(gain * trusted_weights(tested, now[later]))
        gains.append(np.concatenate(parts))
    means = np.array([gain.mean() for gain in gains])
    best = gains[int(means.argmax())]
    if best.mean() <= max(_standard_error(best), _ROUNDING):
        return None
    for spread, gain in zip(spreads, gains, strict=True):
        if (best - gain).mean() <= _standard_error(best - gain):
            return spread
    raise AssertionError("the best one is never worse than itself")


def _standard_error(values: Doubles) -> float:
    return float(values.std() / np.sqrt(len(values)))


def _folds(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The past and what came next, for each part but the first."""
    parts = np.array_split(np.arange(count), _PARTS)
    for number in range(1, _PARTS):
        yield np.concatenate(parts[:number]), parts[number]


def _regressors(traffic: JudgedTraffic, parameters: TrafficParameters) -> Doubles:
    topics = (traffic.topics - parameters.center) @ parameters.directions.T
    return np.column_stack([np.ones(len(traffic)), level_of(traffic.logits), topics])


def _posterior(traffic: JudgedTraffic, prior: TrafficParameters, spread: Spread) -> TrafficParameters:
    """The mode of the posterior, by Newton's method: the objective is concave."""
    size, cards = prior.cards.shape[1], np.unique(traffic.cards)
    own = _regressors(traffic, prior)
    # One block of columns for all cards, then one for each card that was judged.
    columns = np.zeros((len(traffic), (1 + len(cards)) * size))
    columns[:, :size] = own
    for block, card in enumerate(cards, 1):
        rows = traffic.cards == card
        columns[rows, block * size : (block + 1) * size] = own[rows]
    stds = np.array([spread.level] * LEVEL_COLUMNS + [spread.topic] * (size - LEVEL_COLUMNS))
    free = np.tile(stds > 0, 1 + len(cards))
    columns = columns[:, free]
    precision = 1.0 / np.square(np.tile(stds, 1 + len(cards))[free])
    offset = traffic.logits + (own * (prior.common + prior.cards[traffic.cards])).sum(axis=1)
    weights = trusted_weights(traffic, probability(offset))
    moved = np.zeros(len(precision))

    def objective(at: Doubles) -> float:
        likelihood = -loss(traffic.values, probability(offset + columns @ at))
        return float(weights @ likelihood - 0.5 * precision @ np.square(at))

    reached = objective(moved)
    for _ in range(_STEPS):
        chance = probability(offset + columns @ moved)
        gradient = columns.T @ (weights * (traffic.values - chance)) - precision * moved
        curvature = (columns * (weights * chance * (1.0 - chance))[:, None]).T @ columns + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        # Where forecasts are sure and wrong, a whole step goes too far.
        while (tried := objective(moved + step)) < reached and np.abs(step).max() > _TOLERANCE:
            step /= 2.0
        moved, reached = moved + step, max(tried, reached)
        if np.abs(step).max() < _TOLERANCE:
            break
    whole = np.zeros((1 + len(cards)) * size)
    whole[free] = moved
    blocks = whole.reshape(-1, size)
    of_cards = prior.cards.copy()
    of_cards[cards] += blocks[1:]
    return TrafficParameters(prior.center, prior.directions, prior.common + blocks[0], of_cards)
