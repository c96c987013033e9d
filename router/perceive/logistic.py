"""Qualities in the item-response form (`router.perceive.ability.acceptance`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from router.perceive import kernel
from router.perceive.ability.acceptance import (
    AcceptanceParameters,
    Strength,
    family_weights,
    probability,
)
from router.perceive.linear import Quality, deviation_of
from router.perceive.profile import PromptProfile
from router.types import Doubles, Floats


class LogisticQuality:
    """The qualities of cards with these strengths; `interactions` `(cards, skills)` are what outcomes show about each
    card beyond its strength, zero where there are none.
    """

    def __init__(self, parameters: AcceptanceParameters, strengths: Sequence[Strength], interactions: Doubles) -> None:
        families = 1 + len(parameters.families)
        self.strengths = np.array([strength.mean for strength in strengths]).reshape(-1, families)
        self.variances = np.array([strength.variance for strength in strengths]).reshape(-1, families)
        self.interactions = interactions * parameters.interaction_scale
        self.difficulty_variance = float(parameters.difficulty_variance)
        usual = np.concatenate([[1.0 - parameters.families.sum()], parameters.families])
        logits = (self.strengths * usual).sum(axis=1)[:, None] - parameters.difficulties
        self.mean_quality = probability(logits).mean(axis=1).round(6)

    def __call__(self, prompt: PromptProfile) -> Quality:
        """The qualities on the first of the prompts."""
        reading = prompt.readings[:1].astype(np.float64)
        weights = family_weights(reading)[0]
        # Summed row by row, so that a card's sum does not depend on the other cards.
        logits = (self.strengths * weights).sum(axis=1) - reading[0, 0]
        known = 1.0 - prompt.ood_probability[0]
        logits = logits + known * (self.interactions * prompt.profiles[0, 1:]).sum(axis=1)
        quality = probability(logits)
        squared = np.square(weights)
        squared[0] = 1.0
        independent = (self.variances * squared).sum(axis=1)
        slope = np.square(quality * (1.0 - quality))
        quality = quality.round(6)
        return Quality(
            quality,
            std=deviation_of(slope * (independent + self.difficulty_variance)),
            independent_std=deviation_of(slope * independent),
            compared=quality,
        )


class MeasuredQuality:
    """The qualities of all measured models of a predictor and of the population, on many prompts at once."""

    def __init__(self, parameters: AcceptanceParameters, interactions: Doubles, projection: Any) -> None:
        """`interactions` `(models + 1, skills)`; the `projection` is bound to the compiled kernel, None with numpy."""
        means = parameters.strengths(parameters.rated)
        # How well ratings are known does not count: what these models did is known.
        strengths = [Strength(mean, np.zeros(len(mean))) for mean in means]
        self._quality = LogisticQuality(parameters, strengths, interactions)
        self._models = len(means)
        self._compiled = None if projection is None else self._bound(projection)

    def _bound(self, projection: Any) -> Any | None:
        quality, extension = self._quality, kernel.extension()
        if extension is None or max(quality.strengths.shape[1], quality.interactions.shape[1]) > kernel.MOST_TERMS:
            return None
        # Prices, lengths and speeds are not asked for.
        columns = np.ones((kernel.CARD_COLUMNS, self._models))
        tables = (quality.strengths.T, quality.variances.T, quality.interactions.T, columns)
        return extension.Cards(projection, quality.difficulty_variance, *map(kernel.in_fours, tables))

    def __call__(self, vectors: Floats, profile: Callable[[Floats], PromptProfile]) -> tuple[Doubles, Doubles]:
        """The quality and its standard deviation `(prompts, models + 1)` for feature vectors that end with a reading;
        `profile` gives their profiles.
        """
        if self._compiled is not None:
            found = np.empty((len(vectors), 2, self._models + -self._models % 4))
            self._compiled.qualities(kernel.contiguous(vectors, np.float32), len(vectors), found)
            return found[:, 0, : self._models], found[:, 1, : self._models]
        profiles = profile(vectors)
        singles = (PromptProfile._make(field[row : row + 1] for field in profiles) for row in range(len(vectors)))
        rows = [(found.quality, found.std) for found in map(self._quality, singles)]
        quality, deviation = np.array(rows).reshape(-1, 2, self._models).swapaxes(0, 1)
        return quality, deviation
