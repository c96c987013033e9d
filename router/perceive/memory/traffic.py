"""What judged traffic has shown about forecasts: a correction on the logit scale, frozen in the artifact.

    logit q' = logit q + φ · (δ + δ_card),    φ = (1, ℓ, t_1, … t_k),    ℓ = logit q / 2 within ±2

`t` are the directions in which the topics of the traffic differ most. `δ` is what all cards share, such as a taste that
is stricter than that of the training data; `δ_card` is particular to a card. Fitting is in `router.learn.traffic`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from router.perceive.ability.acceptance import probability
from router.types import Doubles

if TYPE_CHECKING:
    from router.cards.catalog import Catalog
    from router.perceive.linear import Quality

MOST_LOGITS = 2.5
"""The largest correction, in either direction."""
LEVEL_COLUMNS = 2
"""The regressors before those of topics: the constant, and the forecast itself."""
_LEAST = 1e-6
_MOST_LEVEL = 2.0


class TrafficParameters(Struct, frozen=True, eq=False):
    """`center` `(numbers,)` and `directions` `(k, numbers)` give the regressors of a topic; `common` `(2 + k,)` are the
    weights of all cards, `cards` `(cards, 2 + k)` those of each card beyond them.
    """

    center: Doubles
    directions: Doubles
    common: Doubles
    cards: Doubles


class TrafficCard(Struct, frozen=True, forbid_unknown_fields=True):
    """A card whose answers were judged: its id and the name of its model upstream, since the weights are void for
    another one; the number of its `judged` answers, and what is left of their weight after caps and trust.
    """

    id: str
    model: str
    judged: int
    weight: float


class TrafficSource(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the correction comes from: judged answers between two times, in seconds since 1970, UTC.

    `parent` is the id of the artifact that was the prior. Answers from `until_s` on took no part. `level_std` and
    `topic_std` are the standard deviations of the prior, in logits.
    """

    parent: str
    since_s: float
    until_s: float
    judged: int
    keys: int
    level_std: float
    topic_std: float
    cards: tuple[TrafficCard, ...]


class TrafficCorrection:
    """The correction for the cards of one catalogue; `weights` are `(cards, 2 + k)`, each the sum of both kinds."""

    def __init__(self, parameters: TrafficParameters, weights: Doubles) -> None:
        self._parameters, self._weights = parameters, weights

    def __call__(self, quality: Quality, topic: Doubles) -> Quality:
        """The corrected qualities on a prompt with this topic `(numbers,)`."""
        logits = logit(quality.quality)
        regressors = self._parameters.directions @ (topic - self._parameters.center)
        # Summed row by row, so that a card's sum does not depend on the other cards.
        added = self._weights[:, 0] + self._weights[:, 1] * level_of(logits)
        added = bounded(added + (self._weights[:, LEVEL_COLUMNS:] * regressors).sum(axis=1))
        same = quality.compared is quality.quality
        new = probability(logits + added).round(6)
        compared = new if same else probability(logit(quality.compared) + added).round(6)
        return quality._replace(quality=new, compared=compared)

    def mean_quality(self, quality: Doubles) -> Doubles:
        """The corrected qualities `(cards,)` on an average prompt."""
        logits = logit(quality)
        added = bounded(self._weights[:, 0] + self._weights[:, 1] * level_of(logits))
        corrected: Doubles = probability(logits + added).round(6)
        return corrected


def logit(quality: Doubles) -> Doubles:
    """The log-odds of qualities in [0, 1]."""
    within = np.minimum(np.maximum(quality, _LEAST), 1.0 - _LEAST)
    odds: Doubles = np.log(within / (1.0 - within))
    return odds


def level_of(logits: Doubles) -> Doubles:
    """The regressor ℓ."""
    level: Doubles = np.minimum(np.maximum(logits / 2.0, -_MOST_LEVEL), _MOST_LEVEL)
    return level


def bounded(logits: Doubles) -> Doubles:
    """A correction within `MOST_LOGITS`."""
    within: Doubles = np.minimum(np.maximum(logits, -MOST_LOGITS), MOST_LOGITS)
    return within


def correction_for(catalog: Catalog, parameters: TrafficParameters, source: TrafficSource) -> TrafficCorrection:
    """The correction of every card in the catalogue; an adapter of which nothing was judged stays beside its base."""
    rows = {(card.id, card.model): row for row, card in enumerate(source.cards)}
    weights = np.tile(parameters.common, (len(catalog), 1))
    for position in range(len(catalog)):
        nearest: int | None = position
        while nearest is not None and (catalog[nearest].id, catalog[nearest].model) not in rows:
            origin = catalog[nearest].origin
            nearest = None if origin is None else catalog.position(origin)
        if nearest is not None:
            weights[position] += parameters.cards[rows[catalog[nearest].id, catalog[nearest].model]]
    return TrafficCorrection(parameters, weights)
