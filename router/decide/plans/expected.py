"""What a plan is expected to achieve, in closed form, from the forecasts of its members.

Every function takes the probabilities that the members' answers are right as rows of several columns, float64 of shape
`(columns, members)`, and gives the quality of the plan for each column and, for the first one, the probability that
each call is made, `(members,)`. `prices` are the costs of the calls in units of quality: λ times dollars.

An answer that is right shows a signal distributed as N(d, 1), one that is wrong N(0, 1), with d = √2 · Φ⁻¹(AUC). Asking
on is worth its price where the probability that the answer is right, given the signal, is below a threshold.
"""

from __future__ import annotations

import functools
import itertools
import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from router.types import Doubles

_NORMAL = NormalDist()
_LEAST, _GREATEST = 1e-4, 1.0 - 1e-4
# Φ on a grid: interpolated, it is exact to six digits and many times faster than one call a number.
_GRID = np.linspace(-8.0, 8.0, 4097)
_GRID_CDF = np.array([_NORMAL.cdf(float(x)) for x in _GRID])
# Nodes and weights for the expectation over a standard normal variable.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_RIGHT, _COMMON, _OTHER = 0, 1, 2


class Constants(Struct, frozen=True):
    """What was measured of answers; the defaults are those of mmlu_pro.

    `auc`: of the signals in an answer's text, given the prior. `correlation`: of right and wrong between two cards.
    `wrong_agreement`: how often two wrong cards give the same answer. `sample_correlation` and
    `sample_wrong_agreement`: the same for two answers of one card. `caught`: the share of wrong answers that stated
    validators find, `caught_by_text` that which is found without them (refusals, answers that break off).
    """

    auc: float = 0.62
    correlation: float = 0.40
    wrong_agreement: float = 0.42
    sample_correlation: float = 0.75
    sample_wrong_agreement: float = 0.60
    caught: float = 0.30
    caught_by_text: float = 0.05

    @property
    def separation(self) -> float:
        """How far apart the signals of right and wrong answers are: d."""
        return math.sqrt(2.0) * _NORMAL.inv_cdf(min(max(self.auc, 0.5), 0.9999))


CONSTANTS = Constants()


class Acceptance(NamedTuple):
    """The probabilities that a first answer is accepted where it is right, and where it is wrong."""

    right: float
    wrong: float


ALWAYS_ASKS_ON = Acceptance(0.0, 0.0)


class Expected(NamedTuple):
    """The quality for every column, `(columns,)`, and for the first one the probability of each call, `(calls,)`."""

    quality: Doubles
    reach: Doubles


def acceptance(
    first: float, right: float, wrong: float, price: float, separation: float, threshold: float | None = None
) -> Acceptance:
    """When a first answer is accepted, that is right with the probability `first`.

    After asking on, the plan is right with the probability `right` where the first answer is, and `wrong` where it is
    not. `price` is that of asking on; `threshold` replaces the comparison of gain and price.
    """
    if threshold is None:
        # Asking on gains P·right + (1 - P)·wrong - P, which falls with P.
        threshold = (wrong - price) / max(1.0 - right + wrong, 1e-9)
    if threshold <= 0.0:
        return Acceptance(1.0, 1.0)
    if threshold >= 1.0:
        return ALWAYS_ASKS_ON
    if separation <= 0.0:
        return ALWAYS_ASKS_ON if first < threshold else Acceptance(1.0, 1.0)
    tau = (_logit(threshold) - _logit(first) + separation * separation / 2.0) / separation
    return Acceptance(_upper(tau - separation), _upper(tau))


def cascade(
    p: Doubles, prices: Doubles, constants: Constants, *, separation: float, threshold: float | None = None
) -> Expected:
    """Members in turn: the next one's answer takes the place of the former where that is not accepted.

    Each step weighs only the next member, so a dearer call is never more probable at a greater price of money.
    """
    qualities, reach = [], np.ones(p.shape[1])
    for column, members in enumerate(p.tolist()):
        quality, asked = _clipped(members[-1]), []
        for step in range(len(members) - 2, -1, -1):
            first, following = _clipped(members[step]), _clipped(members[step + 1])
            right, wrong = conditional(first, following, constants.correlation)
            accepted = acceptance(first, right, wrong, float(prices[step + 1]), separation, threshold)
            if step + 1 < len(members) - 1:
                right, wrong = conditional(first, _clipped(quality), constants.correlation)
            quality = _mixed(first, right, wrong, accepted)
            asked.append(1.0 - first * accepted.right - (1.0 - first) * accepted.wrong)
        qualities.append(quality)
        if column == 0:
            reach[1:] = np.cumprod(asked[::-1])
    return Expected(np.array(qualities), reach)


def committee(
    p: Doubles,
    prices: Doubles,
    constants: Constants,
    *,
    agree: int,
    separation: float | None,
    threshold: float | None = None,
) -> Expected:
    """Members in turn, until `agree` of them give the same answer; the first answer may be accepted by itself.

    Without `separation` it never is.
    """
    return _vote(p, prices, constants.correlation, constants.wrong_agreement, agree, separation, threshold)


def samples(p: Doubles, n: int, constants: Constants, *, agree: int) -> Expected:
    """One card, asked up to `n` times until `agree` answers are the same. `p` is of shape `(columns, 1)`."""
    rho, wrong = constants.sample_correlation, constants.sample_wrong_agreement
    return _vote(np.repeat(p, n, axis=1), np.zeros(n), rho, wrong, agree, None, None)


def best_of(p: Doubles, constants: Constants, *, caught: float, parallel: bool) -> Expected:
    """The first answer that the validators pass: all right ones, and of the wrong ones those that are not `caught`."""
    qualities, reach = [], np.ones(p.shape[1])
    accepted = Acceptance(1.0, 1.0 - caught)
    for column, members in enumerate(p.tolist()):
        quality, asked = _clipped(members[-1]), []
        for member in members[-2::-1]:
            first = _clipped(member)
            quality = _mixed(first, *conditional(first, _clipped(quality), constants.correlation), accepted)
            asked.append((1.0 - first) * caught)
        qualities.append(quality)
        if column == 0 and not parallel:
            reach[1:] = np.cumprod(asked[::-1])
    return Expected(np.array(qualities), reach)


def panel(p: Doubles, calls: int) -> Expected:
    """As good as the best member, and never more until that was measured."""
    return Expected(p.max(axis=1), np.ones(calls))


def chain(p: Doubles) -> Expected:
    """Right where every stage is."""
    return Expected(p.prod(axis=1), np.ones(p.shape[1]))


def segments(p: Doubles) -> Expected:
    """As good as the parts on average."""
    return Expected(p.mean(axis=1), np.ones(p.shape[1]))


def conditional(first: float, second: float, correlation: float) -> tuple[float, float]:
    """The probabilities that a second answer is right where the first is right, and where it is wrong."""
    both = first * second + correlation * math.sqrt(first * (1 - first) * second * (1 - second))
    both = min(both, first, second)
    return both / first, (second - both) / (1.0 - first)


def equal_answers_needed(n: int, confidence: float) -> int:
    """How many equal answers end the sampling: the leader then stays ahead with this probability, or cannot lose."""
    # With no other answer among m, the leader's share is distributed as Beta(m + 1, 1).
    needed = math.ceil(math.log2(1.0 / (1.0 - confidence)) - 1.0 - 1e-9)
    return max(2, min(needed, n // 2 + 1))


def _mixed(first: float, right: float, wrong: float, accepted: Acceptance) -> float:
    kept = first * accepted.right
    return kept + (first - kept) * right + (1.0 - first) * (1.0 - accepted.wrong) * wrong


def _vote(
    p: Doubles,
    prices: Doubles,
    correlation: float,
    wrong_agreement: float,
    agree: int,
    separation: float | None,
    threshold: float | None,
) -> Expected:
    p = np.minimum(np.maximum(p, _LEAST), _GREATEST)
    members = p.shape[1]
    joint = _joint(p, correlation, wrong_agreement)
    outcomes = _outcomes(members, agree, int(p[0].argmax()))
    half = joint.shape[1] // 3
    was_right = (joint[:, :half] @ outcomes.right[:half]).tolist()
    was_wrong = (joint[:, half:] @ outcomes.right[half:]).tolist()
    rest = (joint @ (outcomes.made[:, 1:] @ prices[1:])).tolist()
    qualities: list[float] = []
    accepted = ALWAYS_ASKS_ON
    for column, first in enumerate(p[:, 0].tolist()):
        right, wrong = was_right[column] / first, was_wrong[column] / (1.0 - first)
        each = ALWAYS_ASKS_ON
        if separation is not None:
            each = acceptance(first, right, wrong, rest[column], separation, threshold)
        qualities.append(_mixed(first, right, wrong, each))
        accepted = each if column == 0 else accepted
    asked_on = joint[0].copy()
    asked_on[:half] *= 1.0 - accepted.right
    asked_on[half:] *= 1.0 - accepted.wrong
    reach = np.asarray(asked_on @ outcomes.made)
    reach[0] = 1.0
    return Expected(np.array(qualities), reach)


def _joint(p: Doubles, correlation: float, wrong_agreement: float) -> Doubles:
    """The probability of every pattern of states, `(columns, 3 ** members)`; the first member varies slowest.

    A one-factor Gaussian copula makes the members' answers right together. A wrong one is the common wrong answer with
    the probability √wrong_agreement, so that two wrong ones agree as often as measured.
    """
    # The correlation of the latent normal variables at which even odds correlate as much.
    latent = math.sin(correlation * math.pi / 2.0)
    thresholds = np.interp(p, _GRID_CDF, _GRID)
    shifted = thresholds[:, None, :] + math.sqrt(latent) * _NODES[None, :, None]
    right = np.interp(shifted / math.sqrt(1.0 - latent), _GRID, _GRID_CDF)
    common = math.sqrt(wrong_agreement)
    states = np.empty((*right.shape, 3))
    states[..., _RIGHT] = right
    states[..., _COMMON] = (1.0 - right) * common
    states[..., _OTHER] = (1.0 - right) * (1.0 - common)
    patterns = states[:, :, 0, :] * _WEIGHTS[None, :, None]
    for member in range(1, p.shape[1]):
        patterns = (patterns[:, :, :, None] * states[:, :, member, None, :]).reshape(*patterns.shape[:2], -1)
    joint: Doubles = patterns.sum(axis=1)
    return joint


class _Outcomes(NamedTuple):
    """For every pattern, whether the vote is right, `(patterns,)`, and which calls are made, `(patterns, members)`."""

    right: Doubles
    made: Doubles


@functools.lru_cache(maxsize=256)
def _outcomes(members: int, agree: int, strongest: int) -> _Outcomes:
    """Where no answer leads, that of the strongest member of those that are in front is taken."""
    right, made = [], []
    for states in itertools.product((_RIGHT, _COMMON, _OTHER), repeat=members):
        calls = _calls_until(states, agree)
        seen = states[:calls]
        counts = {state: seen.count(state) for state in (_RIGHT, _COMMON)}
        ahead = max(counts.values())
        leaders = [state for state, count in counts.items() if count == ahead]
        if ahead < 2:
            # All answers differ: that of the strongest card.
            taken = seen[strongest if strongest < calls else 0]
        else:
            order = sorted(range(calls), key=lambda member: (member != strongest, member))
            taken = next(seen[member] for member in order if seen[member] in leaders)
        right.append(float(taken == _RIGHT))
        made.append([float(member < calls) for member in range(members)])
    return _Outcomes(np.array(right), np.array(made))


def _calls_until(states: tuple[Any, ...], agree: int) -> int:
    for calls in range(agree, len(states) + 1):
        if any(states[:calls].count(state) >= agree for state in (_RIGHT, _COMMON)):
            return calls
    return len(states)


def _clipped(p: float) -> float:
    return min(max(p, _LEAST), _GREATEST)


def _logit(p: float) -> float:
    return math.log(p / (1.0 - p))


def _upper(x: float) -> float:
    """1 - Φ(x)."""
    return 0.5 * math.erfc(x / math.sqrt(2.0))
