"""What a plan is expected to achieve, in closed form, from the forecasts of its members.

Every function takes columns: for each, the probabilities that the members' answers are right. It gives the quality of
the plan for each column, and for the first one the probability that each call is made. `prices` are the costs of the
calls in units of quality: λ times dollars.

An answer that is right shows a signal distributed as N(d, 1), one that is wrong N(0, 1), with d = √2 · Φ⁻¹(AUC). Asking
on is worth its price where the probability that the answer is right, given the signal, is below a threshold.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.decide.plans.forecast.vote import (
    asked_at_once,
    chances_of_samples,
    joint_of_cards,
    sampled,
    weights_by_first,
)
from router.perceive import kernel
from router.perceive.exact import in_order, total

_LEAST, _GREATEST = 1e-4, 1.0 - 1e-4
_ROOT = math.sqrt(2.0)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)

Column = Sequence[float]


class Constants(Struct, frozen=True):
    """What was measured of answers; the defaults are those of mmlu_pro, or marked as assumed.

    `auc`: of the signals in an answer's text, given the prior. `hardness`: how the signal of one answer and whether the
    next is right go together, given whether the first is. `correlation`: of right and wrong between two cards.
    `wrong_agreement`: how often two wrong cards give the same answer. `readable`: how many answers have a final answer
    that can be compared with others (assumed: prompts for free text have none). `sample_correlation` and
    `sample_wrong_agreement`: the same for two answers of one card (assumed). `caught`: the share of wrong answers that
    stated validators find, `caught_by_text` that which is found without them (assumed). `moved`: the standard deviation
    of what an answer beside the prompt changes in the difference of two forecasts. `form_error`: the standard
    deviation of the closed forms from real answers.
    """

    auc: float = 0.63
    hardness: float = 0.15
    correlation: float = 0.34
    wrong_agreement: float = 0.32
    readable: float = 0.7
    sample_correlation: float = 0.75
    sample_wrong_agreement: float = 0.60
    caught: float = 0.15
    caught_by_text: float = 0.05
    moved: float = 0.012
    form_error: float = 0.014

    @property
    def separation(self) -> float:
        """How far apart the signals of right and wrong answers are: d."""
        return _separation(self.auc)


CONSTANTS = Constants()


Acceptance = tuple[float, float, float, float]
"""The probabilities that a first answer is accepted where it is right, and where it is wrong; then for both the density
of the signal at the threshold.
"""

ALWAYS_ASKS_ON: Acceptance = (0.0, 0.0, 0.0, 0.0)
_NEVER_ASKS_ON: Acceptance = (1.0, 1.0, 0.0, 0.0)


class Expected(NamedTuple):
    """The quality for every column, and for the first one the probability of each call."""

    quality: list[float]
    reach: list[float]


def acceptance(
    first: float, right: float, wrong: float, price: float, separation: float, threshold: float | None = None
) -> Acceptance:
    """When a first answer is accepted, that is right with the probability `first`.

    After asking on, the plan is right with the probability `right` where the first answer is, and `wrong` where it is
    not. `price` is that of asking on; `threshold` replaces the comparison of gain and price.
    """
    if threshold is None:
        # Asking on gains P·right + (1 - P)·wrong - P, which falls with P.
        slope = 1.0 - right + wrong
        threshold = (wrong - price) / (slope if slope > 1e-9 else 1e-9)
    if threshold <= 0.0:
        return _NEVER_ASKS_ON
    if threshold >= 1.0:
        return ALWAYS_ASKS_ON
    if separation <= 0.0:
        return ALWAYS_ASKS_ON if first < threshold else _NEVER_ASKS_ON
    odds = threshold * (1.0 - first) / (first * (1.0 - threshold))
    tau = math.log(odds) / separation + separation / 2.0
    # 1 - Φ(τ - d) and 1 - Φ(τ), φ(τ - d) and φ(τ).
    above, below = (tau - separation) / _ROOT, tau / _ROOT
    return (
        0.5 * math.erfc(above),
        0.5 * math.erfc(below),
        _DENSITY * math.exp(-above * above),
        _DENSITY * math.exp(-below * below),
    )


def cascade(
    columns: Sequence[Column],
    prices: Column,
    constants: Constants,
    *,
    separation: float,
    threshold: float | None = None,
) -> Expected:
    """Members in turn: the next one's answer takes the place of the former where that is not accepted.

    Each step weighs only the next member, so a dearer call is never more probable at a greater price of money.
    """
    if (extension := kernel.extension()) is not None:
        numbers = (constants.correlation, constants.hardness, separation, -1.0 if threshold is None else threshold)
        found = extension.cascade(columns, prices, *numbers)
        if found is not None:
            return Expected(found[: len(columns)], found[len(columns) :])
    correlation, qualities, asked = constants.correlation, [], []
    last = len(columns[0]) - 1
    for number, column in enumerate(columns):
        quality = following = _clipped(column[last])
        for step in range(last - 1, -1, -1):
            first = _clipped(column[step])
            right, wrong = conditional(first, following, correlation)
            accepted = acceptance(first, right, wrong, prices[step + 1], separation, threshold)
            if step < last - 1:
                right, wrong = conditional(first, _clipped(quality), correlation)
            quality = _mixed(first, right, wrong, accepted) - _harder(first, right, wrong, accepted, constants.hardness)
            if not number:
                asked.append(1.0 - first * accepted[0] - (1.0 - first) * accepted[1])
            following = first
        qualities.append(quality)
    return Expected(qualities, _reach(asked))


class Votes(NamedTuple):
    """What a committee's vote comes to, whatever its calls cost: a list for each column.

    `first` has the probability that the first answer is right, `later` that each call after it is made. `right` and
    `wrong` are of first answers that are right, and wrong: that it is so and the vote right, then that it is so and
    each call made.
    """

    first: list[float]
    later: list[list[float]]
    right: list[list[float]]
    wrong: list[list[float]]

    def expected(
        self, prices: Column, constants: Constants, *, separation: float, threshold: float | None = None
    ) -> Expected:
        """The quality and the calls at these prices; see `committee`."""
        readable, dear = constants.readable, prices[1:]
        qualities: list[float] = []
        base = ALWAYS_ASKS_ON
        for first, later, right, wrong in zip(self.first, self.later, self.right, self.wrong, strict=True):
            given_right, given_wrong = right[0] / first, wrong[0] / (1.0 - first)
            rest = total(map(operator.mul, later, dear))
            accepted = acceptance(first, given_right, given_wrong, rest, separation, threshold)
            base = base if qualities else accepted
            voted = _mixed(first, given_right, given_wrong, accepted)
            qualities.append(readable * voted + (1.0 - readable) * first)
        after_right, after_wrong = readable * (1.0 - base[0]), readable * (1.0 - base[1])
        calls = [
            after_right * one + after_wrong * other for one, other in zip(self.right[0], self.wrong[0], strict=True)
        ]
        # A sum of probabilities may exceed 1 in its last bit.
        return Expected(qualities, [1.0, *[min(each, 1.0) for each in calls[2:]]])


def votes(columns: Sequence[Column], constants: Constants, agree: int) -> Votes:
    """The votes of the members of a committee."""
    p = np.minimum(np.maximum(np.array(columns), _LEAST), _GREATEST)
    members = p.shape[1]
    strongest = max(range(members), key=columns[0].__getitem__)
    weights = weights_by_first(members, agree, strongest, constants.wrong_agreement)
    found = in_order(joint_of_cards(p, constants.correlation), weights).tolist()
    right, wrong = members - 1, 2 * members
    return Votes(
        p[:, 0].tolist(),
        [row[:right] for row in found],
        [row[right:wrong] for row in found],
        [row[wrong:] for row in found],
    )


def committee(
    columns: Sequence[Column],
    prices: Column,
    constants: Constants,
    *,
    agree: int,
    separation: float,
    threshold: float | None = None,
) -> Expected:
    """Members in turn, until `agree` of them give the same answer; the first answer may be accepted by itself."""
    return votes(columns, constants, agree).expected(prices, constants, separation=separation, threshold=threshold)


def samples(columns: Sequence[Column], n: int, constants: Constants, *, confidence: float) -> Expected:
    """One card, asked up to `n` times until the leading answer stays ahead with this `confidence`.

    A column has one probability. As many answers as that takes at least are asked for in any case.
    """
    vote, at_once = sampled(n, confidence, constants.sample_wrong_agreement), asked_at_once(n, confidence)
    qualities: list[float] = []
    reach: list[float] = []
    for number, (member,) in enumerate(columns):
        first = _clipped(member)
        chances = chances_of_samples(first, n, constants.sample_correlation)
        voted = total(map(operator.mul, chances, vote.right))
        qualities.append(constants.readable * voted + (1.0 - constants.readable) * first)
        if not number:
            reach = [constants.readable * total(map(operator.mul, chances, made)) for made in vote.made[at_once:]]
    # A sum of probabilities may exceed 1 in its last bit.
    return Expected(qualities, [1.0] * at_once + [min(each, 1.0) for each in reach])


def best_of(columns: Sequence[Column], constants: Constants, *, caught: float, parallel: bool) -> Expected:
    """The first answer that the validators pass: all right ones, and of the wrong ones those that are not `caught`."""
    qualities, asked = [], []
    accepted = (1.0, 1.0 - caught, 0.0, 0.0)
    for number, members in enumerate(columns):
        quality = _clipped(members[-1])
        for step in range(len(members) - 2, -1, -1):
            first = _clipped(members[step])
            quality = _mixed(first, *conditional(first, _clipped(quality), constants.correlation), accepted)
            if not number:
                asked.append((1.0 - first) * caught)
        qualities.append(quality)
    return Expected(qualities, [1.0] * len(columns[0]) if parallel else _reach(asked))


def panel(columns: Sequence[Column]) -> Expected:
    """As good as the best member, and never more until that was measured. The last call is the writer's."""
    return Expected([max(members) for members in columns], [1.0] * (len(columns[0]) + 1))


def chain(columns: Sequence[Column]) -> Expected:
    """Right where every stage is."""
    return Expected([math.prod(members) for members in columns], [1.0] * len(columns[0]))


def reroute(
    columns: Sequence[Column], prices: Column, constants: Constants, *, margin: float, handovers: int
) -> Expected:
    """As good as the first member, the best by forecast, and never more until that was measured.

    It hands over where its answer moves the difference of the forecasts, which is distributed as
    N(difference, moved²), beyond the margin and the price of the other call.
    """
    first, *others = columns[0]
    over = [
        0.5 * math.erfc((first - other + max(margin, price)) / (constants.moved * _ROOT))
        for other, price in zip(others, prices[1:], strict=True)
    ]
    all_over = total(over)
    once = 1.0 - math.prod(1.0 - each for each in over)
    calls = once + once * once if handovers > 1 else once
    reach = [min(calls * each / all_over, 1.0) if all_over else 0.0 for each in over]
    return Expected([members[0] for members in columns], [1.0, *reach])


def segments(columns: Sequence[Column]) -> Expected:
    """As good as the parts on average."""
    return Expected([total(members) / len(members) for members in columns], [1.0] * len(columns[0]))


def conditional(first: float, second: float, correlation: float) -> tuple[float, float]:
    """The probabilities that a second answer is right where the first is right, and where it is wrong."""
    both = first * second + correlation * math.sqrt(first * (1 - first) * second * (1 - second))
    both = min(both, first)
    both = min(both, second)
    return both / first, (second - both) / (1.0 - first)


@functools.lru_cache(maxsize=64)
def _separation(auc: float) -> float:
    from statistics import NormalDist

    return _ROOT * NormalDist().inv_cdf(min(max(auc, 0.5), 0.9999))


def _mixed(first: float, right: float, wrong: float, accepted: Acceptance) -> float:
    kept = first * accepted[0]
    return kept + (first - kept) * right + (1.0 - first) * (1.0 - accepted[1]) * wrong


def _harder(first: float, right: float, wrong: float, accepted: Acceptance, hardness: float) -> float:
    """How much less the next member achieves, because a text that looks wrong also says that the prompt is hard.

    Given whether the first answer is right, the next one's chance moves with the signal, by `hardness` standard
    deviations for each one of the signal. The mean of the signal below a threshold is -φ/Φ.
    """
    if_right = min(hardness * math.sqrt(right * (1.0 - right)) * accepted[2], (1.0 - accepted[0]) * right)
    if_wrong = min(hardness * math.sqrt(wrong * (1.0 - wrong)) * accepted[3], (1.0 - accepted[1]) * wrong)
    return first * if_right + (1.0 - first) * if_wrong


def _reach(asked: Sequence[float]) -> list[float]:
    """The probability of each call, where `asked` are those of asking on, the last step first."""
    return list(itertools.accumulate(asked[::-1], float.__mul__, initial=1.0))


def _clipped(p: float) -> float:
    return _LEAST if p < _LEAST else _GREATEST if p > _GREATEST else p
