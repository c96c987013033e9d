"""How often the intervals of off-policy estimates cover the truth, over many logs of real outcomes."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from bench.learn.streams import Outcomes
from bench.off_policy.decisions import Logging
from router.analysis.off_policy.estimators import (
    Estimate,
    Log,
    corrected_forecasts,
    difference,
    estimate,
    known_shares,
)
from router.types import Doubles, Indices

METHODS = ("doubly_robust", "self_normalised", "ips")


class Counted(Struct):
    """The intervals of one quantity over replays: how many covered the truth, their widths, and the errors."""

    covered: int = 0
    replays: int = 0
    width: float = 0.0
    square: float = 0.0

    def add(self, found: Estimate, truth: float) -> None:
        """Count one interval."""
        self.replays += 1
        self.covered += found.low <= truth <= found.high
        self.width += found.high - found.low
        self.square += (found.value - truth) ** 2

    def texts(self) -> tuple[str, str, str]:
        """The share that covers, the mean half width and the root mean square error."""
        rmse = (self.square / self.replays) ** 0.5
        return f"{self.covered / self.replays:.1%}", f"{self.width / self.replays / 2:.4f}", f"{rmse:.4f}"


class Result(Struct, frozen=True):
    """What the replays of one target say: by method, and about its gain over the logging policy's choice; and the root
    mean square error of the direct method, which has no interval.
    """

    supported: float
    truth: float
    gain: float
    by_method: dict[str, Counted]
    of_gain: Counted
    direct_error: float
    deviating: float


def replay(
    outcomes: Outcomes, logging: Logging, target: Indices, *, requests: int, judged: float, replays: int, seed: int
) -> Result:
    """Draw `replays` logs of `requests` prompts each, with replacement, and estimate the target on each of them.

    The truth is the mean over all prompts that the logs can tell about: where the target's card has a propensity.
    """
    rng = np.random.default_rng(seed)
    of_target = logging.propensities[np.arange(len(target)), target]
    supported = np.flatnonzero(of_target > 0)
    scores = outcomes.scores
    truth = float(scores[supported, target[supported]].mean())
    of_choice = float(scores[supported, logging.choice[supported]].mean())
    counted = {method: Counted() for method in METHODS}
    gain, deviating, square = Counted(), 0, 0.0
    for _ in range(replays):
        rows = supported[rng.integers(0, len(supported), requests)]
        log, base = _logs(outcomes, logging, target, rows, rng, judged)
        found = estimate(log)
        for method in METHODS:
            counted[method].add(getattr(found, method), truth)
        gain.add(difference(log, base, target[rows] != logging.choice[rows]), truth - of_choice)
        deviating += found.deviating
        square += (found.direct - truth) ** 2
    return Result(
        len(supported) / len(target),
        truth,
        truth - of_choice,
        counted,
        gain,
        (square / replays) ** 0.5,
        deviating / replays,
    )


def _logs(
    outcomes: Outcomes, logging: Logging, target: Indices, rows: Indices, rng: np.random.Generator, judged: float
) -> tuple[Log, Log]:
    """What one log says about the target, and about the logging policy's choice."""
    shares = logging.propensities[rows]
    drawn = (rng.random(len(rows))[:, None] > shares.cumsum(axis=1)).sum(axis=1)
    actions = np.minimum(drawn, shares.shape[1] - 1)
    values: Doubles = np.where(rng.random(len(rows)) < judged, outcomes.scores[rows, actions], np.nan)
    residual = values - outcomes.expected[rows, actions]
    known = known_shares(actions, values)

    def log_of(taken: Indices) -> Log:
        forecast = outcomes.expected[rows, taken]
        return Log(
            agrees=actions == taken,
            is_choice=logging.choice[rows] == taken,
            propensity=shares[np.arange(len(rows)), taken],
            value=values,
            known_share=known,
            forecast=corrected_forecasts(forecast, taken, actions, residual),
        )

    return log_of(target[rows]), log_of(logging.choice[rows])
