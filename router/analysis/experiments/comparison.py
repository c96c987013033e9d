"""What an experiment shows: the arms beside each other, and whether the difference is beyond doubt.

What counts is a *unit*: a key, or a conversation, which was sent to one arm by chance and stays there. Its value is the
mean of its first outcomes, so a key with many requests counts once.

What is asked is how much greater the mean of an arm is (`router.analysis.experiments.effect`): for outcomes in [0, 1]
by an interval that is exact at every time, whatever the values are like; for others, such as costs, by one that is
about right once there are enough units. The verdict is what this interval says, and one may look as often as one likes.

For values without bounds, a second test has to agree, which is exact for any values but says less: whether the arm
makes a difference at all. If it makes none, then the value `x` of a unit says nothing about its arm: the arm was drawn
with a known probability `p`, whatever the unit is like and whatever came before. So for any numbers `a`, which may
depend on `x` and on all units before it, the product over the units of

    exp(a / p) / ψ(a) in the second arm,   exp(-a / (1 - p)) / ψ(a) in the first,
    ψ(a) = p · exp(a / p) + (1 - p) · exp(-a / (1 - p))

is a martingale that starts at 1, and so is a mixture of such products over several sizes of the bet (method of
mixtures: Robbins 1970; for A/B experiments: Johari, Koomen, Pekelis & Walsh, "Peeking at A/B tests", KDD 2017). The
probability that it ever reaches 1/α is at most α (Ville 1939), however often and whenever one looks, for any number of
units and any shape of their values. The bet on a unit is proportional to `x - m`, where `m` is the mean of the units
before it. It says nothing of the size of a difference: two arms may have one mean and differ in their spread.

The test of canaries (`router.analysis.canary_trial`) asks another question: whether single answers fail more often,
after as few as three of them, and with a share that may change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from router.analysis.experiments.effect import (
    FIRST_KEYS,
    ROUNDING,
    ApproximateEffect,
    BoundedEffect,
    BoundedMean,
    Effect,
    mixed,
    with_room,
)
from router.analysis.experiments.sequence import radius
from router.types import Doubles

_BETS = np.geomspace(0.02, 1.0, 12)
"""Sizes of bets, as standardised differences that they are best for."""
_FREE_UNITS = 20
"""How many units of a key count, however few there are of others."""

Verdict = Literal["open", "higher", "lower", "alike"]
"""What is known of an arm's mean beside that of the first one; `alike`: the difference is less than what matters."""


class Unit(Struct, frozen=True):
    """A key or a conversation with its outcomes: the position of its arm, their mean, and the id of the key."""

    arm: int
    value: float
    key: str = ""


class Difference(Struct, frozen=True):
    """How much greater the mean of an arm is than that of the first one: the estimate, None without any, and the
    interval that holds at every time, None where it is not known. `units` of both are compared. `concluded_after` is
    after how many of them the verdict was certain, if it is.
    """

    difference: float | None
    low: float | None
    high: float | None
    units: int
    verdict: Verdict = "open"
    concluded_after: int | None = None


class Arm(Struct, frozen=True):
    """The units of one arm: their mean, None without any, and an interval of it that holds at every time; only about,
    for few units of values without bounds, and None where these are all equal.
    """

    units: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None


class _Bets:
    """The logarithms of the products, by key: for greater and for lower values in the second arm."""

    def __init__(self, share: float, alpha: float) -> None:
        # Half of `alpha` for each direction.
        self._p, self._needed = share, math.log(2 / alpha)
        self._count, self._total, self._squares = 0, 0.0, 0.0
        self._of_all: Doubles = np.zeros((2, len(_BETS)))
        self._of_key: Doubles = np.zeros((FIRST_KEYS, 2, len(_BETS)))

    def add(self, value: float, place: int, *, is_second: bool) -> None:
        """Take the next unit, of the key at this place."""
        p = self._p
        surprise = value - self._total / self._count if self._count else 0.0
        self._count, self._total = self._count + 1, self._total + value
        self._squares += surprise * surprise
        scale = math.sqrt(self._squares / self._count)
        if not scale:
            return
        stake = _BETS * (math.sqrt(p * (1 - p)) * surprise / scale)
        stakes = np.array([stake, -stake])
        expected = np.logaddexp(math.log(p) + stakes / p, math.log(1 - p) - stakes / (1 - p))
        self._of_key = with_room(self._of_key, place)
        won = (stakes / p if is_second else -stakes / (1 - p)) - expected
        self._of_key[place] += won
        self._of_all += won

    def differs(self, sign: int, *, any_but_one: bool) -> bool:
        """Whether values are certainly greater in the second arm (`sign` 1), or lower (-1); with `any_but_one`, also
        whichever key is left out.
        """
        left = self._of_all[None]
        if any_but_one:
            left = np.concatenate([left, left - self._of_key])
        return bool((mixed(left[:, 0 if sign > 0 else 1]) >= self._needed).all())


class Comparison:
    """Compares one arm with the first one, unit by unit. `share` is the probability `p` of the arm among both.
    `bounded`: all values are in [0, 1].

    The verdict, once it is certain, stays. Where there are several keys, it also has to hold whichever key is left out,
    so that no key alone decides.
    """

    def __init__(
        self,
        share: float,
        alpha: float,
        min_effect: float = 0.0,
        *,
        several_keys: bool = False,
        bounded: bool = False,
    ) -> None:
        self._min_effect, self._several_keys = min_effect, several_keys
        self._effect: Effect = BoundedEffect(share, alpha) if bounded else ApproximateEffect(share, alpha)
        self._bets = None if bounded else _Bets(share, alpha)
        self._places: dict[str, int] = {}
        self._units, self._totals = [0, 0], [0.0, 0.0]
        self.verdict: Verdict = "open"
        self._concluded_after: int | None = None

    def add(self, value: float, key: str, *, is_second: bool) -> None:
        """Take the next unit of either arm."""
        place = self._places.setdefault(key, len(self._places))
        self._units[is_second] += 1
        self._totals[is_second] += value
        self._effect.add(value, place, is_second=is_second)
        if self.verdict != "open":
            return
        if self._bets is not None:
            self._bets.add(value, place, is_second=is_second)
        self.verdict = self._concluded()
        if self.verdict != "open":
            self._concluded_after = sum(self._units)

    def _concluded(self) -> Verdict:
        if self._is_certain(1):
            return "higher"
        if self._is_certain(-1):
            return "lower"
        least = self._min_effect
        return "alike" if least and self._is_beyond(-least, 1) and self._is_beyond(least, -1) else "open"

    def _is_certain(self, sign: int) -> bool:
        if not self._is_beyond(0.0, sign):
            return False
        return self._bets is None or self._bets.differs(sign, any_but_one=self._several_keys)

    def _is_beyond(self, difference: float, sign: int) -> bool:
        # To leave out each key takes longer, so it is asked only where it matters.
        if not self._effect.is_beyond(difference, sign, any_but_one=False):
            return False
        return not self._several_keys or self._effect.is_beyond(difference, sign, any_but_one=True)

    def difference(self) -> Difference:
        """What is known now: the difference of the means of both arms, with the interval of the effect."""
        units = sum(self._units)
        if not all(self._units):
            return Difference(None, None, None, units, self.verdict, self._concluded_after)
        first, second = (total / count for total, count in zip(self._totals, self._units, strict=True))
        estimate = second - first
        bounds = self._effect.bounds()
        # The effect is estimated in another way, so for few units the difference may lie beyond its interval.
        low, high = (None, None) if bounds is None else (min(bounds[0], estimate), max(bounds[1], estimate))
        return Difference(estimate, low, high, units, self.verdict, self._concluded_after)


class Experiment:
    """The units of an experiment, in the order in which they were complete. `weights` are those of the arms.

    `alpha` is the probability of ever concluding a difference where there is none, over all arms together.
    `min_effect` is the least difference that matters, 0 where any does. `several_keys`: no key alone decides.
    `bounded`: all values are in [0, 1].
    """

    def __init__(
        self,
        weights: Sequence[float],
        alpha: float,
        min_effect: float = 0.0,
        *,
        several_keys: bool = False,
        bounded: bool = False,
    ) -> None:
        self.units = 0
        self._alpha = alpha
        self._sums: Doubles = np.zeros((len(weights), 3))
        self._means = [BoundedMean(alpha) for _ in weights] if bounded else None
        self._of_key: dict[str, int] = {}
        self._comparisons = [
            Comparison(
                weight / (weights[0] + weight),
                alpha / (len(weights) - 1),
                min_effect,
                several_keys=several_keys,
                bounded=bounded,
            )
            for weight in weights[1:]
        ]

    def admits(self, key: str) -> bool:
        """Whether a further unit of this key counts: of one key no more than of all others together, and a few."""
        own = self._of_key.get(key, 0)
        others = self.units - own
        return not key or not others or own < max(_FREE_UNITS, others)

    def add(self, unit: Unit) -> bool:
        """Take the next unit. False where its key has too many."""
        if not self.admits(unit.key):
            return False
        self.units += 1
        self._of_key[unit.key] = self._of_key.get(unit.key, 0) + 1
        self._sums[unit.arm] += (1.0, unit.value, unit.value * unit.value)
        if self._means is not None:
            self._means[unit.arm].add(unit.value)
        for position, comparison in enumerate(self._comparisons, 1):
            if unit.arm in (0, position):
                comparison.add(unit.value, unit.key, is_second=unit.arm == position)
        return True

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdict about each arm but the first one."""
        return [comparison.verdict for comparison in self._comparisons]

    def differences(self) -> list[Difference]:
        """Each arm but the first one beside the first."""
        return [comparison.difference() for comparison in self._comparisons]

    def arms(self) -> list[Arm]:
        """Every arm by itself."""
        found = []
        for position, (count, total, squares) in enumerate(self._sums.tolist()):
            if not count:
                found.append(Arm(0))
                continue
            mean = total / count
            low, high = self._bounds(position, count, mean, squares)
            found.append(Arm(int(count), mean, low, high))
        return found

    def _bounds(self, arm: int, count: float, mean: float, squares: float) -> tuple[float | None, float | None]:
        """The interval of the mean of an arm."""
        if self._means is not None:
            return self._means[arm].bounds()
        std = max(squares / count - mean * mean, 0.0) ** 0.5
        # Squares lose half of the digits.
        if std <= ROUNDING**0.5 * abs(mean):
            return None, None
        half = float(radius(count, std, self._alpha))
        return mean - half, mean + half
