"""The gate of the rule `prior`: the forecasts of the members alone, whatever they answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from router.compose.gate import Asked
from router.types import Doubles

_LEAST, _MOST = 0.01, 0.99


class PriorGate:
    """See `router.compose.gate.Gate`. An answer that failed is wrong; any other is as good as was forecast."""

    id = "prior-1"

    def rights(self, asked: Sequence[Asked], usual_prior: float) -> Doubles:
        """See `Gate.rights`."""
        return np.array([0.0 if each.failed else _within(each.prior) for each in asked], dtype=np.float64)

    def gains(self, asked: Sequence[Asked], priors_of_later: Sequence[float], usual_prior: float) -> list[float]:
        """See `Gate.gains`: the answer of the card with the higher forecast is taken."""
        best = float(max(self.rights(asked, usual_prior), default=0.0))
        return [max(_within(priors_of_later[0]) - best, 0.0)]

    def of(self, members: Sequence[str]) -> PriorGate:
        """See `Gate.of`: the same for all."""
        return self


def _within(probability: float) -> float:
    return min(max(probability, _LEAST), _MOST) if math.isfinite(probability) else 0.5
