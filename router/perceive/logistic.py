"""Qualities in the item-response form (`router.perceive.ability.acceptance`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router.perceive.ability.acceptance import (
    AcceptanceParameters,
    Strength,
    family_weights,
    probability,
)
from router.perceive.linear import Quality, deviation_of
from router.perceive.profile import PromptProfile
from router.types import Doubles


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
