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
    known = ~np.isnan(outcomes)
    filled = np.where(known, outcomes, 0.0).astype(np.float64, copy=False)
    per_model, per_prompt = known.sum(axis=0), known.sum(axis=1)
    mean = filled.sum() / max(known.sum(), 1)
    ease = np.zeros(outcomes.shape[0])
    ability = np.full(outcomes.shape[1], mean)
    of_model, of_prompt = filled.sum(axis=0), filled.sum(axis=1)
    # With a million prompts and a hundred models, a table of this size takes a tenth of the memory.
    del filled
    flags = known.astype(np.float64)
    for _ in range(_EFFECT_ROUNDS):
        ability = (of_model - ease @ flags + _SHRINK_MODEL * mean) / (per_model + _SHRINK_MODEL)
        ease = (of_prompt - flags @ ability) / (per_prompt + _SHRINK_PROMPT)
    return ability, ease


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
