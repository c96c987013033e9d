"""The table of outcomes of models on prompts, and an additive fit of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from router.learn.training.ridge import BLOCK
from router.types import Doubles, Floats, Indices, Mask

MIN_ROWS = 20
"""With fewer prompts than this, only means are fitted."""

_EFFECT_ROUNDS = 30
_SHRINK_PROMPT = 1.0
_SHRINK_MODEL = 5.0
_MAX_GROUPS = 8
_OVERLAPS = (0.95, 0.7, 0.4, 0.0)


class OutcomeTable:
    """Scores `(prompts, models)`, NaN where a model was not run, with an additive fit: `ability` `(models,)`, `ease`
    `(prompts,)`.

    `groups` are models that were run on nearly the same prompts.
    """

    def __init__(self, scores: Floats, ability: Doubles | None = None, ease: Doubles | None = None) -> None:
        self.scores = scores
        self.known: Mask = np.asarray(~np.isnan(scores))
        self.any_known: Mask = np.asarray(self.known.any(axis=1))
        self.ability, self.ease = additive_effects(scores) if ability is None or ease is None else (ability, ease)
        self.groups = groups_with_same_rows(self.known)

    def rows(self, rows: Indices) -> OutcomeTable:
        """The table of some prompts, with the same fit."""
        return OutcomeTable(self.scores[rows], self.ability, self.ease[rows])

    def targets(self, rows: Indices | slice, models: Sequence[int]) -> Floats:
        """Regression targets `(rows, models + 1)`: the models' scores less their abilities, or the ease where they were
        not run; in the last column the ease.
        """
        above = self.scores[rows][:, models] - self.ability[models]
        ease = self.ease[rows, None]
        targets: Floats = np.concatenate([np.where(np.isnan(above), ease, above), ease], axis=1).astype(np.float32)
        return targets


def additive_effects(outcomes: Any) -> tuple[Doubles, Doubles]:
    """`(ability (models,), ease (prompts,))` of the additive model `y ≈ ability + ease`, shrunk; the ease has the prior
    mean zero.
    """
    prompts, models = outcomes.shape
    of_model, per_model, of_ease, together = (np.zeros(size) for size in (models, models, models, (models, models)))
    ease, weight = np.zeros(prompts), np.zeros(prompts)
    blocks = [slice(start, start + BLOCK) for start in range(0, prompts, BLOCK)]
    # A round needs the sums of the prompts' ease for each model. They are linear in the abilities, so that one pass
    # over the prompts serves every round.
    for block in blocks:
        known, filled = _known_and_filled(outcomes[block])
        weight[block] = 1.0 / (known.sum(axis=1) + _SHRINK_PROMPT)
        ease[block] = filled.sum(axis=1) * weight[block]
        per_model += known.sum(axis=0)
        of_model += filled.sum(axis=0)
        of_ease += ease[block] @ known
        together += known.T @ (known * weight[block, None])
    prior = _SHRINK_MODEL * of_model.sum() / max(per_model.sum(), 1)
    ability = (of_model + prior) / (per_model + _SHRINK_MODEL)
    for _ in range(_EFFECT_ROUNDS - 1):
        ability = (of_model - of_ease + together @ ability + prior) / (per_model + _SHRINK_MODEL)
    for block in blocks:
        ease[block] -= _known_and_filled(outcomes[block])[0] @ ability * weight[block]
    return ability, ease


def _known_and_filled(outcomes: Any) -> tuple[Doubles, Doubles]:
    """One where an outcome is known and else zero; and the outcomes, zero where unknown."""
    known = ~np.isnan(outcomes)
    return known.astype(np.float64), np.where(known, outcomes, 0.0).astype(np.float64, copy=False)


def groups_with_same_rows(known: Mask) -> list[list[int]]:
    """Groups of models that were run on nearly the same prompts, so that one decomposition serves a whole group.

    The required overlap is lowered until there are at most eight groups.
    """
    # Summed in blocks, because counts in single precision are exact only up to 2 ** 24.
    blocks = (known[start : start + BLOCK].astype(np.float32) for start in range(0, len(known), BLOCK))
    together = sum((np.asarray(block.T @ block, np.float64) for block in blocks), np.zeros((known.shape[1],) * 2))
    runs = np.diag(together)
    for overlap in _OVERLAPS:
        groups: list[list[int]] = []
        for model in range(known.shape[1]):
            for group in groups:
                both = together[model, group[0]]
                either = runs[model] + runs[group[0]] - both
                if both >= overlap * either:
                    group.append(model)
                    break
            else:
                groups.append([model])
        if len(groups) <= _MAX_GROUPS:
            break
    return groups
