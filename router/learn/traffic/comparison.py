"""Two predictors beside each other on judged answers that neither was trained on."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from router.learn.evaluation.metrics import mean_auc
from router.types import Doubles, Indices

DRAWS = 2_000
LEAST_KEYS = 8
"""From how many keys on intervals draw keys, whose judgements are alike; below it they draw requests."""

Interval = tuple[float, float]


class ForecastQuality(Struct, frozen=True):
    """How near forecasts were to judgements: mean squared error, mean logarithmic loss, mean forecast, and the area
    under the ROC curve, None where all judgements are alike.
    """

    brier: float
    log_loss: float
    mean: float
    auc: float | None


class ForecastComparison(Struct, frozen=True):
    """`gain` is by how much the new forecasts reduce the mean squared error, with its 95 % interval; `drawn` is what
    the bootstrap draws: `keys` or `requests`. Weighted means throughout.
    """

    judged: int
    keys: int
    mean_value: float
    old: ForecastQuality
    new: ForecastQuality
    gain: float
    gain_ci95: Interval
    drawn: str


def compare_forecasts(
    values: Doubles, old: Doubles, new: Doubles, weights: Doubles, keys: Indices, random_state: int = 0
) -> ForecastComparison:
    """Compare two forecasts of the judgements `values`, all `(requests,)`; `keys` say who judged."""
    total = max(float(weights.sum()), 1e-9)
    gains = np.square(old - values) - np.square(new - values)
    names, places = np.unique(keys, return_inverse=True)
    by_key = len(names) >= LEAST_KEYS
    groups = places if by_key else np.arange(len(values))
    count = int(groups.max()) + 1
    sums, totals = np.bincount(groups, weights * gains, count), np.bincount(groups, weights, count)
    # Drawing groups with replacement is to draw how often each is there.
    drawn = np.random.default_rng(random_state).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    means = (drawn @ sums) / np.maximum(drawn @ totals, 1e-9)
    low, high = np.percentile(means, (2.5, 97.5))
    return ForecastComparison(
        judged=len(values),
        keys=len(names),
        mean_value=float(weights @ values / total),
        old=_quality(values, old, weights / total),
        new=_quality(values, new, weights / total),
        gain=float(weights @ gains / total),
        gain_ci95=(float(low), float(high)),
        drawn="keys" if by_key else "requests",
    )


def _quality(values: Doubles, forecasts: Doubles, shares: Doubles) -> ForecastQuality:
    losses = -(values * np.log(forecasts) + (1.0 - values) * np.log(1.0 - forecasts))
    return ForecastQuality(
        brier=float(shares @ np.square(forecasts - values)),
        log_loss=float(shares @ losses),
        mean=float(shares @ forecasts),
        auc=mean_auc(values[:, None], forecasts[:, None]),
    )
