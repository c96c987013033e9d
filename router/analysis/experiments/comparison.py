"""What an experiment shows: the arms beside each other, and whether the difference is beyond doubt.

What counts is a *unit*: a key, or a conversation, which was sent to one arm by chance and stays there. Its value is the
mean of its first outcomes, so a key with many requests counts once.

The evidence is an e-value by betting on the arm. If the arm makes no difference, then the value `x` of a unit says
nothing about its arm: the arm was drawn with a known probability `p`, whatever the unit is like and whatever came
before. So for any numbers `a`, which may depend on `x` and on all units before it, the product over the units of

    exp(a / p) / ψ(a) in the second arm,   exp(-a / (1 - p)) / ψ(a) in the first,
    ψ(a) = p · exp(a / p) + (1 - p) · exp(-a / (1 - p))

is a martingale that starts at 1, and so is a mixture of such products over several sizes of the bet (method of
mixtures: Robbins 1970; for A/B experiments: Johari, Koomen, Pekelis & Walsh, "Peeking at A/B tests", KDD 2017). The
probability that it ever reaches 1/α is at most α (Ville 1939), however often and whenever one looks, for any number of
units and any shape of their values. The bet on a unit is proportional to `x - m`, where `m` is the mean of the units
before it. A difference `d` is tested in the same way, on values from which `d` is subtracted in the second arm; the
interval are the differences that are not refuted (design-based inference, as in Ham, Bojinov, Lindon & Tingley,
"Design-based confidence sequences for anytime-valid causal inference", 2022).

The test of canaries (`router.analysis.canary_trial`) asks another question: whether single answers fail more often,
after as few as three of them, and with a share that may change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from router.analysis.experiments.sequence import radius
from router.types import Doubles

_BETS = np.geomspace(0.02, 1.0, 12)
"""Sizes of bets, as standardised differences that they are best for."""
_FREE_UNITS = 20
"""How many units of a key count, however few there are of others."""
_STEPS = 40

Verdict = Literal["open", "higher", "lower", "alike"]
"""What is known of an arm's mean beside that of the first one; `alike`: the difference is less than what matters."""


class Unit(Struct, frozen=True):
    """A key or a conversation with its outcomes: the position of its arm, their mean, and the id of the key."""

    arm: int
    value: float
    key: str = ""


class Difference(Struct, frozen=True):
    """How much greater the mean of an arm is than that of the first one: the estimate, None without any, and the
    interval that holds at every time. `units` of both are compared. `concluded_after` is after how many of them the
    verdict was certain, if it is.
    """

    difference: float | None
    low: float | None
    high: float | None
    units: int
    verdict: Verdict = "open"
    concluded_after: int | None = None


class Arm(Struct, frozen=True):
    """The units of one arm: their mean, None without any, and an interval of it that holds at every time; about, for
    few units.
    """

    units: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None


class _Bets:
    """The logarithms of the products for one hypothetical difference, by key: for a greater and for a lower mean."""

    def __init__(self, share: float, difference: float) -> None:
        self._p, self._difference = share, difference
        self._count, self._total, self._squares = 0, 0.0, 0.0
        self._of_all: Doubles = np.zeros((2, len(_BETS)))
        self._of_key: Doubles = np.zeros((8, 2, len(_BETS)))

    def add(self, value: float, place: int, *, is_second: bool) -> None:
        """Take the next unit, of the key at this place."""
        p = self._p
        x = value - self._difference if is_second else value
        surprise = x - self._total / self._count if self._count else 0.0
        self._count, self._total = self._count + 1, self._total + x
        self._squares += surprise * surprise
        scale = math.sqrt(self._squares / self._count)
        if not scale:
            return
        stake = _BETS * (math.sqrt(p * (1 - p)) * surprise / scale)
        stakes = np.array([stake, -stake])
        expected = np.logaddexp(math.log(p) + stakes / p, math.log(1 - p) - stakes / (1 - p))
        while place >= len(self._of_key):
            self._of_key = np.concatenate([self._of_key, np.zeros_like(self._of_key)])
        won = (stakes / p if is_second else -stakes / (1 - p)) - expected
        self._of_key[place] += won
        self._of_all += won

    def evidence(self) -> tuple[float, float]:
        """The logarithms of the e-values that the mean is greater, and that it is lower."""
        higher, lower = _mixed(self._of_all)
        return float(higher), float(lower)

    def evidence_of_any_but_one(self, keys: int) -> tuple[float, float]:
        """The same, as far as it is left whichever of the first `keys` keys is left out; 0 and less with one key."""
        left = self._of_all - self._of_key[:keys]
        higher, lower = _mixed(left).min(axis=0)
        return float(higher), float(lower)


def _mixed(products: Doubles) -> Doubles:
    """The logarithm of the mean over the sizes of bets, the last axis."""
    most = products.max(axis=-1)
    mixed: Doubles = most + np.log(np.exp(products - most[..., None]).mean(axis=-1))
    return mixed


class Comparison:
    """Compares one arm with the first one, unit by unit. `share` is the probability `p` of the arm among both.

    The verdict, once it is certain, stays. Where there are several keys, it also has to hold whichever key is left out,
    so that no key alone decides.
    """

    def __init__(self, share: float, alpha: float, min_effect: float = 0.0, *, several_keys: bool = False) -> None:
        self._share, self._several_keys = share, several_keys
        # Half of `alpha` for each direction.
        self._needed = math.log(2 / alpha)
        differences = (0.0, min_effect, -min_effect) if min_effect else (0.0,)
        self._bets = [_Bets(share, difference) for difference in differences]
        self._places: dict[str, int] = {}
        self._units: list[tuple[float, bool]] = []
        self.verdict: Verdict = "open"
        self._concluded_after: int | None = None

    def add(self, value: float, key: str, *, is_second: bool) -> None:
        """Take the next unit of either arm."""
        place = self._places.setdefault(key, len(self._places))
        self._units.append((value, is_second))
        if self.verdict != "open":
            return
        for bets in self._bets:
            bets.add(value, place, is_second=is_second)
        self.verdict = self._concluded()
        if self.verdict != "open":
            self._concluded_after = len(self._units)

    def _concluded(self) -> Verdict:
        higher, lower = self._refuted(self._bets[0])
        if higher or lower:
            return "higher" if higher else "lower"
        if len(self._bets) > 1 and self._refuted(self._bets[1])[1] and self._refuted(self._bets[2])[0]:
            return "alike"
        return "open"

    def _refuted(self, bets: _Bets) -> tuple[bool, bool]:
        """Whether the difference is certainly greater than that of the bets, and whether it is lower."""
        higher, lower = (evidence >= self._needed for evidence in bets.evidence())
        if self._several_keys and (higher or lower):
            left = bets.evidence_of_any_but_one(len(self._places))
            higher, lower = higher and left[0] >= self._needed, lower and left[1] >= self._needed
        return higher, lower

    def difference(self) -> Difference:
        """What is known now. Takes time in proportion to the number of units."""
        means = [[value for value, is_second in self._units if is_second == which] for which in (False, True)]
        if not all(means):
            return Difference(None, None, None, len(self._units), self.verdict, self._concluded_after)
        estimate = sum(means[1]) / len(means[1]) - sum(means[0]) / len(means[0])
        values = np.array([value for value, _ in self._units])
        arms = np.array([is_second for _, is_second in self._units])
        low, high = (self._bound(values, arms, estimate, direction) for direction in (-1.0, 1.0))
        return Difference(estimate, low, high, len(values), self.verdict, self._concluded_after)

    def _bound(self, values: Doubles, arms: np.ndarray, estimate: float, direction: float) -> float | None:
        """The greatest difference (for `direction` 1) or the least that is not refuted; None where none is."""

        def is_refuted(difference: float) -> bool:
            higher, lower = _evidence_of_all(values - difference * arms, arms, self._share)
            return (lower if direction > 0 else higher) >= self._needed

        step = 4 * float(values.std()) / math.sqrt(len(values)) or abs(estimate)
        outer = estimate + direction * step
        for _ in range(_STEPS):
            if is_refuted(outer):
                break
            step *= 2
            outer = estimate + direction * step
            if step > 1e3 * (float(np.ptp(values)) or 1.0):
                return None
        inner = estimate
        for _ in range(_STEPS):
            middle = (inner + outer) / 2
            if is_refuted(middle):
                outer = middle
            else:
                inner = middle
            if abs(outer - inner) < 1e-3 * step:
                break
        return outer


def _evidence_of_all(values: Doubles, arms: np.ndarray, p: float) -> tuple[float, float]:
    """What `_Bets` computes, for all units at once."""
    counts = np.arange(1, len(values) + 1)
    before = np.concatenate([values[:1], np.cumsum(values)[:-1] / counts[:-1]])
    surprise = values - before
    scale = np.sqrt(np.cumsum(surprise * surprise) / counts)
    stake = math.sqrt(p * (1 - p)) * surprise / np.where(scale > 0, scale, 1.0)
    found = []
    for sign in (1.0, -1.0):
        products = []
        for bet in _BETS:
            stakes = sign * bet * stake
            expected = np.logaddexp(math.log(p) + stakes / p, math.log(1 - p) - stakes / (1 - p))
            products.append(float((np.where(arms, stakes / p, -stakes / (1 - p)) - expected).sum()))
        found.append(float(_mixed(np.array(products))))
    return found[0], found[1]


class Experiment:
    """The units of an experiment, in the order in which they were complete. `weights` are those of the arms.

    `alpha` is the probability of ever concluding a difference where there is none, over all arms together.
    `min_effect` is the least difference that matters, 0 where any does. `several_keys`: no key alone decides.
    """

    def __init__(
        self, weights: Sequence[float], alpha: float, min_effect: float = 0.0, *, several_keys: bool = False
    ) -> None:
        self.units = 0
        self._alpha = alpha
        self._sums: Doubles = np.zeros((len(weights), 3))
        self._of_key: dict[str, int] = {}
        self._comparisons = [
            Comparison(
                weight / (weights[0] + weight), alpha / (len(weights) - 1), min_effect, several_keys=several_keys
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
        for count, total, squares in self._sums.tolist():
            if not count:
                found.append(Arm(0))
                continue
            mean = total / count
            half = float(radius(count, max(squares / count - mean * mean, 0.0) ** 0.5, self._alpha))
            found.append(Arm(int(count), mean, mean - half, mean + half))
        return found
