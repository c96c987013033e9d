"""Where the cards of a catalogue stand on the scale of ratings, from everything that is known of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from router.cards.catalog import Catalog
from router.cards.facts import facts_of
from router.perceive.ability import Ability
from router.perceive.acceptance import STRONGER_BY, STRONGER_NOISE, TIER_NOISE, TIERS, AcceptanceParameters
from router.perceive.belief import LogisticBelief
from router.perceive.ratings import measurements
from router.types import Doubles, Floats

_ADAPTER_VARIANCE = 0.3**2


class RatingPlacer:
    """The latent variables of each card: outcomes and facts, then the operator's `tier` and `stronger_than`, then
    probes.

    `column` maps a position to the model whose outcomes are the card's. `readings` are the readings and scores of
    probes by card id. A card's place depends on that card alone, on its base, and on the cards that it is said to be
    stronger than.
    """

    def __init__(
        self,
        parameters: AcceptanceParameters,
        catalog: Catalog,
        column: Callable[[int], int | None],
        families: Sequence[str],
        readings: Mapping[str, tuple[Floats, Doubles]],
    ) -> None:
        self._parameters, self._catalog, self._column, self._readings = parameters, catalog, column, readings
        self._offsets = dict(zip(families, parameters.ratings.family_offset, strict=True))
        self._placed: dict[int, Ability] = {}

    def latent(self, position: int) -> Ability:
        """The latent variables of the card at `position`."""
        if position not in self._placed:
            self._placed[position] = self._place(position)
        return self._placed[position]

    def belief(self, position: int, readings: Floats) -> LogisticBelief:
        """What is known of the card at `position` about prompts with these readings."""
        return LogisticBelief(self._parameters, self.latent(position), readings.astype(np.float64))

    def _place(self, position: int) -> Ability:
        card, parameters = self._catalog[position], self._parameters
        base = None if card.base is None else self._catalog.position(card.base)
        column = self._column(position)
        if column is None and base is not None:
            of_base = self.latent(base)
            latent = Ability(of_base.mean, of_base.covariance + _ADAPTER_VARIANCE * np.eye(len(of_base.mean)))
        else:
            missing = np.full(parameters.outcomes.shape[1], np.nan)
            outcomes = missing if column is None else parameters.outcomes[column]
            offset = self._offsets.get(card.family or "", 0.0)
            latent = parameters.place(measurements(facts_of(card)), outcomes, offset)
        if card.tier is not None:
            latent = _measured(latent, float(parameters.tier_ratings[TIERS.index(card.tier)]), TIER_NOISE)
        for other in card.stronger_than:
            if (weaker := self._catalog.position(other)) is not None:
                least = float(self.latent(weaker).mean[0]) + STRONGER_BY
                if latent.mean[0] < least:
                    latent = _measured(latent, least, STRONGER_NOISE)
        if card.id in self._readings:
            readings, scores = self._readings[card.id]
            belief = LogisticBelief(parameters, latent, readings.astype(np.float64))
            latent = belief.observe(range(len(scores)), scores).latent
        return latent


def _measured(latent: Ability, rating: float, noise: float) -> Ability:
    """The latent variables after a measurement of the general rating with this standard deviation."""
    gain = latent.covariance[:, 0] / (latent.covariance[0, 0] + noise**2)
    return Ability(
        latent.mean + gain * (rating - latent.mean[0]), latent.covariance - np.outer(gain, latent.covariance[0])
    )
