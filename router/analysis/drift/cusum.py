"""Since when the judged answers of a card are worse, or better, than before: CUSUM on calibrated residuals.

A judgement `y` in [0, 1] of an answer that was forecast to be right with the probability `p` is compared with the
recalibrated forecast `q = σ(logit p + level)`. The level is learned from the judgements themselves, by one step of
Newton's method each, so forecasts that are too high all the time are no change. A change shifts the logit of `q` by
`∓ shift`; the evidence for it is the sum of

    y log(q₁ / q) + (1 - y) log((1 - q₁) / (1 - q)),    q₁ = σ(logit q ∓ shift),

which begins anew where it falls below 0 (Page 1954), and where it reaches a threshold there is an alarm. The change is
estimated to have begun where the sum was 0 last. Such a term never exceeds `shift` in magnitude, so one failure of an
answer that seemed certain proves little, and its exponential has a mean of at most 1 as long as `q` is right, whatever
values in [0, 1] are given (it is concave in `y`): without a change, the mean number of judgements until an alarm is
at least `exp(threshold)` (Shin, Ramdas & Rinaldo 2023, "E-detectors"); in fact it is far more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from router.types import Doubles

Direction = Literal["worse", "better"]
DIRECTIONS: tuple[Direction, Direction] = ("worse", "better")
_SIGNS = np.array([[-1.0], [1.0]])
_LEAST, _GREATEST, _MOST_EVIDENCE, _LEAST_INFORMATION = 0.02, 0.98, 30.0, 3.0


class CusumRule(Struct, frozen=True):
    """Constants of the test, chosen on simulated answers and on other cards than `bench.learn.drift` reports.

    `shift`: the change that is looked for, in logits; 1 is from .8 to .6. `worse` and `better` are the thresholds.
    `prior` is how many units of information, the sum of `q (1 - q)`, say that the forecasts need no correction, and
    `memory` how many the level remembers at most. `head_start`: the share of the threshold that the sums begin with, so
    that a change at the very beginning is found sooner (Lucas & Crosier 1982).
    """

    shift: float = 1.0
    worse: float = 6.7
    better: float = 9.7
    prior: float = 15.0
    memory: float = 150.0
    head_start: float = 0.0

    @property
    def thresholds(self) -> Doubles:
        """Of both directions `(2, 1)`."""
        return np.array([[self.worse], [self.better]])


RULE = CusumRule()


class Change(Struct, frozen=True):
    """Since judgement number `since` the answers are worse or better, which was certain enough at number `at`.

    `expected` is the mean of what was forecast for the judgements between, recalibrated by those before, and `value`
    the mean of their values. `evidence` is the logarithm of the likelihood ratio.
    """

    direction: Direction
    since: int
    at: int
    expected: float
    value: float
    evidence: float


class Cusum(Struct, frozen=True, eq=False):
    """The state of several tests side by side: `(columns,)`, or `(2, columns)` for both directions.

    `sums` is the evidence, `counts` the judgements since it was 0, `starts` when the first of them came, and `excess`
    and `values` the sums of `y - q` and of `y` over them. Its size never changes.
    """

    level: Doubles
    information: Doubles
    sums: Doubles
    counts: Doubles
    starts: Doubles
    excess: Doubles
    values: Doubles

    @classmethod
    def start(cls, columns: int, rule: CusumRule = RULE) -> Cusum:
        """Tests that have seen nothing."""
        sums = np.repeat(rule.head_start * rule.thresholds, columns, axis=1)
        counts, starts, excess, values = np.zeros((4, 2, columns))
        return cls(np.zeros(columns), np.full(columns, rule.prior), sums, counts, starts, excess, values)

    def add(self, expected: float | Doubles, value: float | Doubles, at: float, rule: CusumRule = RULE) -> Cusum:
        """The state after a judgement of an answer with the forecast `expected`; `at` is a time, or a number."""
        p = np.clip(expected, _LEAST, _GREATEST)
        logit = np.log(p / (1.0 - p)) + self.level
        q = 1.0 / (1.0 + np.exp(-logit))
        change = _SIGNS * rule.shift
        sums = self.sums + value * change + np.logaddexp(0.0, logit) - np.logaddexp(0.0, logit + change)
        goes_on, begins = sums > 0, self.counts == 0
        residual = value - q
        information = np.minimum(self.information + q * (1.0 - q), rule.memory)
        return Cusum(
            self.level + residual / information,
            information,
            np.where(goes_on, np.minimum(sums, _MOST_EVIDENCE), 0.0),
            np.where(goes_on, self.counts + 1.0, 0.0),
            np.where(goes_on, np.where(begins, at, self.starts), 0.0),
            np.where(goes_on, self.excess + residual, 0.0),
            np.where(goes_on, self.values + value, 0.0),
        )

    def restarted(self, direction: int, rule: CusumRule = RULE) -> Cusum:
        """The state after an alarm in a direction, by its index: the level is that of the judgements since the change.

        The alarm is over when there is one in the other direction.
        """
        count = np.maximum(self.counts[direction], 1.0)
        # Half a success and half a failure more, since few judgements may all be alike.
        value = (self.values[direction] + 0.5) / (count + 1.0)
        usual = np.clip((self.values[direction] - self.excess[direction]) / count, _LEAST, _GREATEST)
        level = self.level + np.log(value / (1.0 - value)) - np.log(usual / (1.0 - usual))
        information = np.clip(count * value * (1.0 - value), _LEAST_INFORMATION, rule.memory)
        fresh = Cusum.start(len(self.level), msgspec.structs.replace(rule, head_start=0.0))
        return msgspec.structs.replace(fresh, level=level, information=information)


def change_of(
    expected: Sequence[float] | Doubles, values: Sequence[float] | Doubles, rule: CusumRule = RULE
) -> Change | None:
    """The first change in the judgements `values` of answers that were forecast to be right with the probabilities
    `expected`, oldest first; None where there is none beyond doubt.
    """
    return next(iter(_changes(expected, values, rule)), None)


def changes_of(
    expected: Sequence[float] | Doubles, values: Sequence[float] | Doubles, rule: CusumRule = RULE
) -> tuple[Change, ...]:
    """All changes, oldest first: after each, the test begins anew with the judgements since as what is usual."""
    return tuple(_changes(expected, values, rule))


def _changes(
    expected: Sequence[float] | Doubles, values: Sequence[float] | Doubles, rule: CusumRule
) -> Iterator[Change]:
    state = Cusum.start(1, rule)
    for number, (forecast, value) in enumerate(zip(expected, values, strict=True)):
        state = state.add(float(forecast), float(value), number, rule)
        for index, direction in enumerate(DIRECTIONS):
            if state.sums[index, 0] >= rule.thresholds[index, 0]:
                count, mean = state.counts[index, 0], state.values[index, 0] / state.counts[index, 0]
                usual = mean - state.excess[index, 0] / count
                yield Change(
                    direction,
                    int(state.starts[index, 0]),
                    number,
                    float(usual),
                    float(mean),
                    float(state.sums[index, 0]),
                )
                state = state.restarted(index, rule)
                break
