"""The gate without training: the forecasts of the members, and whether their answers agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from router.compose.gate import Asked
from router.types import Doubles

# Rounded from the answers of 29 models to 8,811 prompts: agreement is worth more than disagreement takes.
_AGREES, _DISAGREES, _UNREADABLE = 1.2, -0.7, -0.5
_RESIDUAL_CORRELATION = 0.4
_LEAST, _MOST = 0.01, 0.99


class SimpleGate:
    """See `router.compose.gate.Gate`. `reads`: the answers count, and not only the forecasts."""

    def __init__(self, *, reads: bool = True) -> None:
        self.id, self._reads = "simple-1" if reads else "prior-1", reads

    def rights(self, asked: Sequence[Asked], usual_prior: float) -> Doubles:
        """See `Gate.rights`."""
        return np.array([self._right(asked, position) for position in range(len(asked))], dtype=np.float64)

    def gain(self, asked: Sequence[Asked], prior_of_next: float, usual_prior: float) -> float:
        """See `Gate.gain`: the next answer replaces a wrong one where it is right itself."""
        best = float(max(self.rights(asked, usual_prior), default=0.0))
        prior = _within(prior_of_next)
        if not self._reads:
            # The answer of the card with the higher forecast is taken.
            return max(prior - best, 0.0)
        if best <= _LEAST:
            return prior
        spread = _RESIDUAL_CORRELATION * math.sqrt(best * (1 - best) * prior * (1 - prior))
        both = min(best * prior + spread, best, prior)
        # Half of the answers that get worse are recognised by what they say.
        return max((prior - both) - 0.5 * (best - both), 0.0)

    def _right(self, asked: Sequence[Asked], position: int) -> float:
        own = asked[position]
        if own.failed:
            return 0.0
        odds = math.log(_within(own.prior) / (1 - _within(own.prior)))
        if not self._reads:
            return 1 / (1 + math.exp(-odds))
        others = [each for number, each in enumerate(asked) if number != position and not each.failed]
        if own.answer is None:
            odds += _UNREADABLE * any(each.answer is not None for each in others)
        else:
            readable = [each for each in others if each.answer is not None]
            odds += sum(_AGREES if each.answer == own.answer else _DISAGREES for each in readable)
        return 1 / (1 + math.exp(-odds))


def _within(probability: float) -> float:
    return min(max(probability, _LEAST), _MOST) if math.isfinite(probability) else 0.5
