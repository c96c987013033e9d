"""What is believed of one card before and after its answers, and which probe to ask next."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from router.learn.onboarding.probes import Probe
from router.perceive.ability import Ability, most_informative
from router.perceive.predictor import quality_of
from router.types import Doubles, Indices

_MIDDLE = 3


class Expected(NamedTuple):
    """Expected quality, averaged over some probes, and the standard deviation of that average."""

    quality: float
    doubt: float


class Placement(Protocol):
    """A belief about one card over the rows of a probe set. It never changes; `observe` gives another."""

    def observe(self, outcomes: Mapping[int, float]) -> Placement:
        """The belief after these further outcomes: scores in [0, 1] by row."""

    def choose_next(self, asked: Collection[int]) -> int:
        """The row to ask next, none of `asked`. Raises ValueError where every row is."""

    def average(self, rows: Indices) -> Expected:
        """What to expect on `rows`."""


class AbilityPlacement:
    """Asks what narrows the card's ability most, and forecasts by that ability (`router.perceive.ability`)."""

    def __init__(
        self,
        probes: Sequence[Probe],
        ability: Ability,
        profiles: Doubles,
        usual: Doubles,
        observed: frozenset[int] = frozenset(),
    ) -> None:
        """`profiles`, float64 `(probes, 1 + skills)`, are the probes' own; `usual` says what prompts are like that the
        card will get, as in `most_informative`; `observed` are the rows that `ability` has learnt from.
        """
        self._probes, self._profiles, self._usual = tuple(probes), profiles, usual
        self._ability, self._observed = ability, observed

    def observe(self, outcomes: Mapping[int, float]) -> AbilityPlacement:
        """The belief after these further outcomes."""
        rows = sorted(outcomes)
        scores = np.array([outcomes[row] for row in rows], dtype=np.float64)
        ability = self._ability.observe(self._profiles[rows], scores) if rows else self._ability
        return AbilityPlacement(self._probes, ability, self._profiles, self._usual, self._observed | set(rows))

    def choose_next(self, asked: Collection[int]) -> int:
        """The row whose answer narrows the forecast most; in turn, where the ability is not in doubt at all.

        Rows that were asked and not yet observed count as answered: how much an answer narrows the doubt does not
        depend on what it is.
        """
        in_turn = _next_in_turn(self._probes, asked)
        pending = sorted(set(asked) - self._observed)
        covariance = self._ability.expected_posterior(self._profiles[pending]).covariance
        if not np.trace(covariance) > 0:
            return in_turn
        allowed = np.ones(len(self._probes), dtype=np.bool_)
        allowed[list(asked)] = False
        return most_informative(covariance, self._profiles, self._usual, allowed)

    def average(self, rows: Indices) -> Expected:
        """What to expect on `rows`."""
        profiles = self._profiles[rows]
        middle = profiles.mean(axis=0)
        variance = float(middle @ self._ability.covariance @ middle)
        return Expected(float(quality_of(profiles @ self._ability.mean).mean()), max(variance, 0.0) ** 0.5)


def _next_in_turn(probes: Sequence[Probe], asked: Collection[int]) -> int:
    """The row of the domain asked least, in it of the difficulty asked least, the middle ones first.

    Raises ValueError where every row is asked.
    """
    left = [row for row in range(len(probes)) if row not in asked]
    if not left:
        raise ValueError("every probe is asked")
    domains = [probes[row].domain for row in asked]
    cells = [(probes[row].domain, probes[row].difficulty) for row in asked]

    def turn(row: int) -> tuple[int, int, int, bytes]:
        domain, difficulty = probes[row].domain, probes[row].difficulty
        # By content, not by chance: the same set is asked in the same order everywhere.
        order = hashlib.sha256(probes[row].id.encode()).digest()
        return domains.count(domain), cells.count((domain, difficulty)), abs(difficulty - _MIDDLE), order

    return min(left, key=turn)
