"""How far forecasts agree with judgements: bins of a reliability diagram that forget, and the calibration error.

The expected calibration error is the mean over the bins of `|mean judgement - mean forecast|`, weighted by their counts
(Naeini et al. 2015). It is above 0 even for right forecasts, by chance: its interval is that of a bootstrap that draws
judgements of each bin, and `by_chance` is what right forecasts would give.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from router.types import Doubles

BINS = 10
HALF_LIFE = 400.0
"""After so many judgements, one counts half."""
_DRAWS = 500
_LEAST_COUNT = 0.5


class Bin(Struct, frozen=True):
    """The answers with a forecast from `low` to `high`: how many, the mean forecast, and the mean judgement."""

    low: float
    high: float
    answers: float
    forecast: float
    judged: float


class Calibration(Struct, frozen=True):
    """The bins that have answers, and the expected calibration error with its 95 % interval.

    `bias` is the mean judgement less the mean forecast. `by_chance` is the mean error that right forecasts would have.
    """

    answers: float
    bias: float
    error: float
    interval: tuple[float, float]
    by_chance: float
    bins: tuple[Bin, ...]


def counted(bins: Doubles, forecast: float, value: float) -> Doubles:
    """The bins `(BINS, 4)` with one more answer: the count, the sums of forecasts and values, and of their squared
    differences.
    """
    after: Doubles = bins * 0.5 ** (1.0 / HALF_LIFE)
    after[min(int(forecast * BINS), BINS - 1)] += (1.0, forecast, value, (value - forecast) ** 2)
    return after


def calibration_of(bins: Doubles) -> Calibration | None:
    """What the bins say; None where there are no answers. The draws are always the same."""
    counts = bins[:, 0]
    if counts.sum() < 1.0:
        return None
    used = counts > _LEAST_COUNT
    count, forecast, value, squares = bins[used].T
    share, gap = count / count.sum(), (value - forecast) / count
    spread = np.sqrt(np.maximum(squares / count - gap**2, 0.0) / count)
    noise = np.random.default_rng(0).standard_normal((_DRAWS, len(count))) * spread
    drawn = np.abs(gap + noise) @ share
    by_chance = float((np.abs(noise) @ share).mean())
    # The noise of a draw comes on top of that of the judgements, so the draws lie too high.
    low, high = np.quantile(drawn, (0.025, 0.975)) - (drawn.mean() - np.abs(gap) @ share)
    places = np.flatnonzero(used)
    return Calibration(
        float(count.sum()),
        float((value - forecast).sum() / count.sum()),
        float(np.abs(gap) @ share),
        (float(max(low, 0.0)), float(high)),
        by_chance,
        tuple(
            Bin(float(place / BINS), float((place + 1) / BINS), float(n), float(f / n), float(v / n))
            for place, n, f, v in zip(places, count, forecast, value, strict=True)
        ),
    )
