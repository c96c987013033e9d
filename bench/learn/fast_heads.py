"""A fast head for each tenant and card (S19, ViDA), beside the error memory: `python -m bench.learn.tastes`.

A head is a Bayesian linear regression of residuals on a few projections of the prompt's topic: constant memory and time
(`PROJECTIONS + 1` squared numbers), forgetting by half-lives. What it says is blended by its uncertainty: the posterior
mean is shrunk by a prior, and it is applied in the place of the memory's correction only where its own prequential gain
exceeds that of the memory beyond doubt.
"""

from __future__ import annotations

import numpy as np

from bench.learn.methods import ErrorMemory
from bench.learn.streams import PROJECTIONS
from router.types import Doubles, Indices

PRIOR, HALF_LIFE, SCORE_HALF_LIFE, DOUBT, MOST = 8.0, 200.0, 50.0, 1.0, 0.6
"""In votes of weight 1; as those of the memory where it has the same, the prior chosen on the part `tune`."""
_WEIGHT = 0.5


class _Head:
    """One tenant and card: precision `(n, n)`, moments `(n,)`, and the gains over the memory's correction."""

    def __init__(self, prior: float) -> None:
        self._prior = np.eye(PROJECTIONS + 1) * prior
        self.information, self.moments = np.zeros((PROJECTIONS + 1, PROJECTIONS + 1)), np.zeros(PROJECTIONS + 1)
        self.gain = self.square = self.scored = 0.0

    def mean(self, x: Doubles) -> float:
        """What is added to a forecast."""
        weights = np.linalg.solve(self.information + self._prior, self.moments)
        return float(np.clip(weights @ x, -MOST, MOST))

    @property
    def is_better(self) -> bool:
        """Whether it has reduced the squared error by more than the memory did, beyond doubt."""
        mean = self.gain / (self.scored + 1.0)
        spread = max(self.square / (self.scored + 1.0) - mean**2, 0.0) ** 0.5
        return bool(mean - DOUBT * spread / (self.scored + 1.0) ** 0.5 > 0)

    def learn(self, x: Doubles, residual: float, of_memory: float) -> None:
        """One vote; `of_memory` is the correction that the memory would have applied."""
        gain = (residual - of_memory) ** 2 - (residual - self.mean(x)) ** 2
        keeps, kept = 0.5 ** (_WEIGHT / HALF_LIFE), 0.5 ** (_WEIGHT / SCORE_HALF_LIFE)
        self.information = keeps * self.information + _WEIGHT * np.outer(x, x)
        self.moments = keeps * self.moments + _WEIGHT * residual * x
        self.gain = kept * self.gain + _WEIGHT * gain
        self.square = kept * self.square + _WEIGHT * gain**2
        self.scored = kept * self.scored + _WEIGHT


class FastHeads(ErrorMemory):
    """The error memory, with a fast head of each tenant where that is better."""

    def __init__(self, cards: int, prior: float = PRIOR) -> None:
        super().__init__(cards)
        self._prior = prior
        self._heads: dict[tuple[str, int], _Head] = {}

    def corrections_at(self, tenant: str, cells: Indices, projected: Doubles, now_s: float) -> Doubles | None:
        """See `Method`."""
        added = self.corrections(tenant, cells, now_s)
        if added is None:
            return None
        added, x = added.copy(), np.append(projected, 1.0)
        for card in range(len(added)):
            head = self._heads.get((tenant, card))
            if head is not None and head.is_better:
                added[card] = head.mean(x)
        return added

    def learn_at(
        self, tenant: str, card: int, residual: float, cells: Indices, projected: Doubles, now_s: float
    ) -> None:
        """See `Method`."""
        before = self.corrections(tenant, cells, now_s)
        head = self._heads.setdefault((tenant, card), _Head(self._prior))
        head.learn(np.append(projected, 1.0), residual, 0.0 if before is None else float(before[card]))
        self.learn(tenant, card, residual, cells, now_s)
