"""The vote of several answers: exact sums over the patterns of right and wrong ones."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from router.perceive.exact import in_order, total
from router.types import Doubles

_RIGHT, _COMMON, _OTHER = 0, 1, 2
_GREATEST_LATENT = 0.9


# Both are made at the first forecast of a vote, which needs more of numpy, and of Python, than other decisions.
@functools.cache
def normal_grid() -> tuple[Doubles, Doubles]:
    """Φ on a grid: interpolated, it is exact to six digits and many times faster than one call a number."""
    from statistics import NormalDist

    cdf = NormalDist().cdf
    points = np.linspace(-8.0, 8.0, 4097)
    return points, np.array([cdf(float(x)) for x in points])


@functools.cache
def quadrature() -> tuple[Doubles, Doubles]:
    """Nodes and weights, both `(11,)`, for the expectation over a standard normal variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(11)
    return nodes, weights / weights.sum()


class Outcomes(NamedTuple):
    """By pattern of right and wrong members, where bit 0 of the first member varies slowest and 0 is right.

    `right` is the probability that the vote is right, `(patterns,)`; `made` that each call is made,
    `(patterns, members)`.
    """

    right: Doubles
    made: Doubles


def is_decided(counts: Sequence[int], left: int, confidence: float) -> bool:
    """Whether the leading answer stays the most frequent one with this probability, whatever the `left` samples say.

    `counts` are how often each answer was given. The share of the leader among the two most frequent answers has a
    Beta distribution with a uniform prior.
    """
    leader, second = [*sorted(counts, reverse=True), 0, 0][:2]
    if leader - second > left:
        return True
    draws = leader + second + 1
    return sum(math.comb(draws, wins) for wins in range(leader + 1)) / 2.0**draws >= confidence


@functools.lru_cache(maxsize=64)
def asked_at_once(n: int, confidence: float) -> int:
    """How many of `n` samples are needed in any case: fewer do not decide, even where all are equal."""
    return next((count for count in range(2, n) if is_decided([count], n - count, confidence)), n)


@functools.lru_cache(maxsize=256)
def outcomes(
    members: int, agree: int, strongest: int, wrong_agreement: float, confidence: float | None = None
) -> Outcomes:
    """What a vote comes to, which stops where `agree` answers are equal; with a `confidence` where after as many the
    leading answer is decided.

    A wrong answer is the common wrong one with the probability √wrong_agreement, so that two wrong answers agree as
    often as measured. Where no answer leads, that of the `strongest` member of those in front is taken.
    """
    common = math.sqrt(wrong_agreement)
    chances = {_RIGHT: 1.0, _COMMON: common, _OTHER: 1.0 - common}
    right = np.zeros(2**members)
    made = np.zeros((2**members, members))
    for states in itertools.product((_RIGHT, _COMMON, _OTHER), repeat=members):
        pattern = functools.reduce(lambda number, state: 2 * number + (state != _RIGHT), states, 0)
        chance = math.prod(chances[state] for state in states)
        calls = _calls_until(states, agree) if confidence is None else _calls_decided(states, agree, confidence)
        right[pattern] += chance * (_taken(states[:calls], strongest) == _RIGHT)
        made[pattern, :calls] += chance
    return Outcomes(right, made)


def _taken(seen: Sequence[int], strongest: int) -> int:
    counts = {state: seen.count(state) for state in (_RIGHT, _COMMON)}
    ahead = max(counts.values())
    if ahead < 2:
        # All answers differ.
        return seen[strongest if strongest < len(seen) else 0]
    order = sorted(range(len(seen)), key=lambda member: (member != strongest, member))
    return next(seen[member] for member in order if counts.get(seen[member]) == ahead)


def _calls_until(states: Sequence[int], agree: int) -> int:
    for calls in range(agree, len(states) + 1):
        if any(states[:calls].count(state) >= agree for state in (_RIGHT, _COMMON)):
            return calls
    return len(states)


def _calls_decided(states: Sequence[int], least: int, confidence: float) -> int:
    for calls in range(least, len(states)):
        seen = states[:calls]
        # Each other wrong answer is given once.
        counts = [seen.count(_RIGHT), seen.count(_COMMON), int(_OTHER in seen)]
        if is_decided(counts, len(states) - calls, confidence):
            return calls
    return len(states)


@functools.lru_cache(maxsize=256)
def weights_by_first(members: int, agree: int, strongest: int, wrong_agreement: float) -> Doubles:
    """`outcomes` as a matrix by which probabilities of patterns are multiplied, `(patterns, 1 + 3 * members)`.

    The columns are that each call after the first is made; then, where the first answer is right, that the vote is
    right and that each call is made; then the same where the first answer is wrong.
    """
    found = outcomes(members, agree, strongest, wrong_agreement)
    both = np.concatenate((found.right[:, None], found.made), axis=1)
    is_right = (np.arange(len(both)) < len(both) // 2)[:, None]
    weights: Doubles = np.concatenate((found.made[:, 1:], both * is_right, both * ~is_right), axis=1)
    return weights


def joint_of_cards(p: Doubles, correlation: float) -> Doubles:
    """The probability of every pattern, `(columns, 2 ** members)`, for cards with the probabilities `p`.

    A one-factor Gaussian copula joins them. Its latent correlation is such that right and wrong of two cards that are
    both as good as the members on average have the `correlation`.
    """
    latent = _latent(p[0].tolist(), correlation)
    columns, members = p.shape
    (grid, cdf), (nodes, weights) = normal_grid(), quadrature()
    shifted = np.interp(p, cdf, grid) + math.sqrt(latent) * nodes[:, None, None]
    shifted /= -math.sqrt(1.0 - latent)
    wrong = np.interp(shifted, grid, cdf)
    # The quadrature is exact on average.
    wrong *= (1.0 - p) / _expectation(wrong, weights)
    states = np.empty((len(nodes), columns, members, 2))
    np.minimum(wrong, 1.0, out=states[..., 1])
    np.subtract(1.0, states[..., 1], out=states[..., 0])
    patterns = states[:, :, 0]
    for member in range(1, members):
        patterns = (patterns[..., None] * states[:, :, member, None]).reshape(len(nodes), columns, -1)
    return _expectation(patterns, weights)


def _expectation(values: Doubles, weights: Doubles) -> Doubles:
    """The sum over the first axis, in order."""
    return in_order(weights[None], values.reshape(len(weights), -1)).reshape(values.shape[1:])


class Sampled(NamedTuple):
    """`Outcomes` of answers of one card, by the number of right ones; `made` has a list for each call.

    A number's patterns are equally probable, so each entry is the sum over them.
    """

    right: list[float]
    made: list[list[float]]


@functools.lru_cache(maxsize=64)
def sampled(n: int, confidence: float, wrong_agreement: float) -> Sampled:
    """What a vote of `n` answers of one card comes to."""
    found = outcomes(n, asked_at_once(n, confidence), 0, wrong_agreement, confidence)
    right, made = np.zeros(n + 1), np.zeros((n, n + 1))
    for pattern in range(2**n):
        count = n - pattern.bit_count()
        right[count] += found.right[pattern]
        made[:, count] += found.made[pattern]
    return Sampled(right.tolist(), made.tolist())


def chances_of_samples(p: float, n: int, correlation: float) -> list[float]:
    """The probability of one pattern with each number of right answers, of a card that is right with probability `p`.

    How probably it answers this prompt right is drawn from a Beta distribution of this mean, whose spread gives two
    answers the `correlation`.
    """
    size, whole = size_of_samples(n, correlation)
    right, wrong = _rising(p * size, n), _rising((1.0 - p) * size, n)
    return [each * other / whole for each, other in zip(right, reversed(wrong), strict=True)]


@functools.lru_cache(maxsize=64)
def size_of_samples(n: int, correlation: float) -> tuple[float, float]:
    """The sum of the parameters of the Beta distribution, and what makes the chances add up to 1."""
    size = 1.0 / correlation - 1.0
    return size, _rising(size, n)[n]


def _rising(start: float, n: int) -> list[float]:
    """The products of `start`, `start + 1` … of every length up to `n`."""
    products = [1.0]
    for step in range(n):
        products.append(products[-1] * (start + step))
    return products


def _latent(p: Sequence[float], correlation: float) -> float:
    mean = total(p) / len(p)
    return float(np.interp(max(mean, 1.0 - mean), *latents(correlation)))


_LATENT_AT = np.array([0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999])


@functools.lru_cache(maxsize=16)
def latents(correlation: float) -> tuple[Doubles, Doubles]:
    """Qualities, and the latent correlations at which two cards of these qualities have this correlation."""
    from statistics import NormalDist

    inverse, found = NormalDist().inv_cdf, []
    grid, cdf = normal_grid()
    factor, weights = np.polynomial.hermite_e.hermegauss(81)
    weights = weights / weights.sum()
    for p in _LATENT_AT.tolist():
        low, high = 0.0, _GREATEST_LATENT
        for _ in range(30):
            middle = (low + high) / 2.0
            threshold = inverse(p)
            right = np.interp((threshold + math.sqrt(middle) * factor) / math.sqrt(1.0 - middle), grid, cdf)
            both = float(weights @ (right * right))
            low, high = (middle, high) if (both - p * p) / (p * (1.0 - p)) < correlation else (low, middle)
        found.append(low)
    return _LATENT_AT, np.array(found)
