"""Computerised adaptive testing: the expected quality of a card given its answers, and the next probe to ask."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from router.learn.onboarding.probes import Probe
from router.perceive.ability.belief import Belief
from router.perceive.linear import quality_of
from router.types import Indices

_MIDDLE_DIFFICULTY = 3


class QualityEstimate(NamedTuple):
    """Expected quality, averaged over some probes, and the standard deviation of that average."""

    quality: float
    std: float


class AdaptiveTest:
    """The ability posterior of one card over the rows of a probe set. It is immutable: `observe` returns a new one."""

    def __init__(self, probes: Sequence[Probe], belief: Belief, observed: frozenset[int] = frozenset()) -> None:
        """The rows of `belief` are the probes; `observed` are those that it was updated with."""
        self._probes, self._belief, self._observed = tuple(probes), belief, observed

    def observe(self, outcomes: Mapping[int, float]) -> AdaptiveTest:
        """The posterior after further outcomes: scores in [0, 1] by row."""
        rows = sorted(outcomes)
        scores = np.array([outcomes[row] for row in rows], dtype=np.float64)
        return AdaptiveTest(self._probes, self._belief.observe(rows, scores), self._observed | set(rows))

    def choose_next(self, asked: Collection[int]) -> int:
        """The row, not in `asked`, whose answer narrows the forecast most; in turn, where the ability is certain.

        It is of the domain asked least often: what an answer says about its own kind of prompts acts only there. Rows
        that were asked but not yet observed count as answered as expected. Raises ValueError where every row is asked.
        """
        in_turn = _next_in_turn(self._probes, asked)
        pending = sorted(set(asked) - self._observed)
        times = Counter(self._probes[row].domain for row in asked)
        remaining = [row for row in range(len(self._probes)) if row not in asked]
        least = min(times[self._probes[row].domain] for row in remaining)
        allowed = np.zeros(len(self._probes), dtype=np.bool_)
        allowed[[row for row in remaining if times[self._probes[row].domain] == least]] = True
        best = self._belief.most_informative(pending, allowed)
        return in_turn if best is None else best

    def std_after(self, asked: Collection[int], rows: Indices) -> float:
        """The standard deviation of the expected quality, averaged over `rows`, once `asked` are answered too."""
        variance = self._belief.expecting(sorted(set(asked) - self._observed)).mean_variance(rows)
        return math.sqrt(variance)

    def average(self, rows: Indices) -> QualityEstimate:
        """The expected quality on `rows`."""
        return QualityEstimate(
            float(quality_of(self._belief.expected(rows)).mean()), self._belief.mean_variance(rows) ** 0.5
        )


def _next_in_turn(probes: Sequence[Probe], asked: Collection[int]) -> int:
    """A row of the domain asked least often, within it of the difficulty asked least often, medium difficulties first.

    Raises ValueError where every row is asked.
    """
    remaining = [row for row in range(len(probes)) if row not in asked]
    if not remaining:
        raise ValueError("every probe is asked")
    domains = [probes[row].domain for row in asked]
    cells = [(probes[row].domain, probes[row].difficulty) for row in asked]

    def turn(row: int) -> tuple[int, int, int, bytes]:
        domain, difficulty = probes[row].domain, probes[row].difficulty
        # The hash of the id breaks ties, so that the same set is asked in the same order on every machine.
        order = hashlib.sha256(probes[row].id.encode()).digest()
        return domains.count(domain), cells.count((domain, difficulty)), abs(difficulty - _MIDDLE_DIFFICULTY), order

    return min(remaining, key=turn)
