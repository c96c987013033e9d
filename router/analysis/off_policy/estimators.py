"""Off-policy evaluation: what another policy would have been worth, estimated from requests that this one answered.

A request tells about a policy where the logged action is the one that the policy takes, and then counts by one over the
probability of that (its propensity) and of its answer being judged. Inverse propensity scoring (IPS) is the mean of
these weighted values; self-normalised, their weighted mean. The direct method is the mean of the forecasts, each
corrected by what its card was found to be off on other requests. The doubly robust estimate (Dudík, Langford, Li, 2011,
arXiv:1103.4601) is the direct one plus the self-normalised mean of what the forecasts were off where the actions agree.

Requests where the policy takes the logged choice and those where it does not are estimated separately and then weighed
by how many they are: the weights of the latter are much greater. Intervals are studentised, with the quantile of
Student's t for one degree of freedom less than the effective sample size, (Σ w)² / Σ w²; two added observations, one
standard deviation above and below, keep the variance of a few equal values from being 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from router.types import Doubles, Indices, Mask

_SHRUNK_BY = 10.0
_JUDGED_PRIOR = 20.0
_Z = 1.959963985
_SMALL_T = {1: 12.706, 2: 4.303}


class Estimate(Struct, frozen=True):
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float


class Log(Struct, frozen=True, eq=False):
    """What requests say about one policy; every array is of shape `(requests,)`.

    `agrees`: the logged action is that of the policy, so its value counts; `is_choice`: the policy takes the logged
    choice. `propensity` is the probability of the policy's action, as logged; greater than 0 everywhere. `value` is NaN
    where it is not known, `known_share` the probability that it is. `forecast` is what the policy's action is expected
    to be worth. `spread` is about the standard deviation of a single value. `least` and `most` are bounds of values.
    """

    agrees: Mask
    is_choice: Mask
    propensity: Doubles
    value: Doubles
    known_share: Doubles
    forecast: Doubles
    spread: float = 0.5
    least: float = 0.0
    most: float = 1.0

    def __len__(self) -> int:
        return len(self.agrees)

    def rows(self, rows: Mask) -> Log:
        """The requests that are marked in `rows` `(requests,)`."""
        return Log(
            self.agrees[rows],
            self.is_choice[rows],
            self.propensity[rows],
            self.value[rows],
            self.known_share[rows],
            self.forecast[rows],
            self.spread,
            self.least,
            self.most,
        )

    @property
    def weights(self) -> Doubles:
        """One over the probability of what was logged, where it tells about the policy; else 0."""
        counts = self.agrees & np.isfinite(self.value)
        return np.where(counts, 1.0 / (self.propensity * self.known_share), 0.0)


class Estimates(Struct, frozen=True):
    """What a policy is worth by each method; the direct one has no interval, since no sample size says how wrong
    forecasts are. `effective` is the effective sample size; `compared` how many requests have a value and the policy's
    action, `deviating` how many of these are not the logged choice.
    """

    doubly_robust: Estimate
    self_normalised: Estimate
    ips: Estimate
    direct: float
    effective: float
    compared: int
    deviating: int


def estimate(log: Log) -> Estimates:
    """What the policy is worth on the requests of `log`, of which there must be one."""
    weights = log.weights
    used = weights > 0
    return Estimates(
        doubly_robust=doubly_robust(log),
        self_normalised=_self_normalised(log, weights),
        ips=_ips(log, weights),
        direct=float(log.forecast.mean()),
        effective=effective_size(weights),
        compared=int(used.sum()),
        deviating=int((used & ~log.is_choice).sum()),
    )


def doubly_robust(log: Log) -> Estimate:
    """The doubly robust estimate; without any value that tells about a part of the requests, its interval there is all
    that is possible.
    """
    parts = [(log.rows(rows), float(rows.mean())) for rows in (log.is_choice, ~log.is_choice) if rows.any()]
    found = [(*_doubly_robust_part(part), share) for part, share in parts]
    value = sum(share * mean for mean, _, share in found)
    between = sum(share * (mean - value) ** 2 for mean, _, share in found) / len(log)
    half = math.sqrt(sum((share * width) ** 2 for _, width, share in found) + _Z**2 * between)
    return _clipped(log, value, half)


def difference(new: Log, old: Log, differs: Mask) -> Estimate:
    """How much more the policy of `new` is worth than that of `old`, on the same requests, by the doubly robust
    estimates of both where they differ; elsewhere they are worth the same.
    """
    share = float(differs.mean())
    if not differs.any():
        return Estimate(0.0, 0.0, 0.0)
    one, two = doubly_robust(new.rows(differs)), doubly_robust(old.rows(differs))
    gain = one.value - two.value
    low = math.hypot(one.value - one.low, two.high - two.value)
    high = math.hypot(one.high - one.value, two.value - two.low)
    by_share = _Z * math.sqrt(share * (1.0 - share) / len(differs)) * abs(gain)
    return Estimate(
        share * gain,
        share * gain - math.hypot(share * low, by_share),
        share * gain + math.hypot(share * high, by_share),
    )


def effective_size(weights: Doubles) -> float:
    """(Σ w)² / Σ w²: how many requests of equal weight tell as much."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def known_shares(actions: Sequence[str] | Indices, values: Doubles) -> Doubles:
    """How probably the answer of each request's action has a value, `(requests,)`: the share of those of the same
    action, shrunk to that of all.
    """
    names, groups = np.unique(np.asarray(actions), return_inverse=True)
    known = np.isfinite(values).astype(np.float64)
    counts = np.bincount(groups, minlength=len(names))
    found = np.bincount(groups, known, minlength=len(names))
    overall = known.mean()
    shares: Doubles = ((found + _JUDGED_PRIOR * overall) / (counts + _JUDGED_PRIOR))[groups]
    return shares


def corrected_forecasts(
    forecast: Doubles,
    takes: Sequence[str] | Indices,
    actions: Sequence[str] | Indices,
    residual: Doubles,
    most: float = 1.0,
) -> Doubles:
    """`forecast` of what the policy `takes`, with the mean `residual` of the logged `actions` of the same name added,
    shrunk by how few they are. NaN residuals do not count. Each half of the requests is corrected by the other one, so
    no value corrects the forecast that it is compared with.
    """
    names, of_all = np.unique(np.concatenate([np.asarray(takes), np.asarray(actions)]), return_inverse=True)
    taken, logged = of_all[: len(takes)], of_all[len(takes) :]
    half: Indices = np.arange(len(forecast)) % 2
    corrected = forecast.astype(np.float64).copy()
    for fold in (0, 1):
        used = (half != fold) & np.isfinite(residual)
        sums = np.bincount(logged[used], residual[used], minlength=len(names))
        counts = np.bincount(logged[used], minlength=len(names))
        own = half == fold
        corrected[own] += (sums / (counts + _SHRUNK_BY))[taken[own]]
    return np.clip(corrected, 0.0, most)


def t_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t (Cornish-Fisher expansion; from a table below three degrees of freedom)."""
    if freedom < 3:
        return _SMALL_T[2 if freedom >= 2 else 1]
    z, n = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def _doubly_robust_part(log: Log) -> tuple[float, float]:
    """The estimate of a part of the requests, and half of the width of its interval."""
    weights = log.weights
    total = float(weights.sum())
    mean = float(log.forecast.mean())
    if not total:
        return mean, log.most - log.least
    off = np.where(weights > 0, log.value - log.forecast, 0.0)
    correction = float((weights * off).sum()) / total
    # Two more observations of the mean weight, one standard deviation above and below.
    mean_square = _mean_square(weights)
    # One term a request, so that what forecasts and errors have in common counts: forecasts may be too much alike.
    terms = log.forecast - mean + (len(log) / total) * weights * (off - correction)
    variance = float((terms**2).sum()) / len(log) ** 2 + 2.0 * mean_square * (log.spread / total) ** 2
    return mean + correction, t_quantile(effective_size(weights) - 1.0) * math.sqrt(variance)


def _self_normalised(log: Log, weights: Doubles) -> Estimate:
    total = float(weights.sum())
    if not total:
        return Estimate(math.nan, log.least, log.most)
    values = np.where(weights > 0, log.value, 0.0)
    mean = float((weights * values).sum()) / total
    squares = float((weights**2 * (values - mean) ** 2).sum()) + 2.0 * _mean_square(weights) * log.spread**2
    half = t_quantile(effective_size(weights) - 1.0) * math.sqrt(squares) / total
    return _clipped(log, mean, half)


def _mean_square(weights: Doubles) -> float:
    """The mean of the squares of the weights that are not 0."""
    return float((weights[weights > 0] ** 2).mean())


def _ips(log: Log, weights: Doubles) -> Estimate:
    terms = np.where(weights > 0, weights * np.nan_to_num(log.value), 0.0)
    if not weights.any():
        return Estimate(math.nan, log.least, log.most)
    # The two added observations are of the mean weight, as in the other methods.
    squares = float(((terms - terms.mean()) ** 2).sum()) + 2.0 * _mean_square(weights) * log.spread**2
    half = t_quantile(effective_size(weights) - 1.0) * math.sqrt(squares) / len(terms)
    return _clipped(log, float(terms.mean()), half)


def _clipped(log: Log, value: float, half: float) -> Estimate:
    """The estimate and its interval, within what is possible."""
    value = float(min(max(value, log.least), log.most))
    return Estimate(value, max(value - half, log.least), min(value + half, log.most))
