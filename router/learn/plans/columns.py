"""Fit the column of a plan: carry it out on recorded answers, each prompt by a gate that never saw it.

The gate is the one that the plan gets at run time, of its own members, fitted to the other folds. The results are
regressed on the log-odds of the members' forecasts: the quality for each price of money by itself, each call for all
prices together, so that a greater price never makes a call more probable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from router.compose.learned.members import MembersRule, gains_of_members, rights_of_members
from router.compose.learned.rule import leading, same_answers
from router.decide.plans.forecast.columns import LEAST, Measured, PlanColumn, Weights
from router.learn.plans.held_out import HeldOutCommittees
from router.learn.plans.members_gate import fit_members
from router.learn.plans.out_of_fold import fit_logistic, logit
from router.learn.plans.pooled_gate import Answered
from router.perceive.ability.acceptance import probability
from router.types import Doubles, Indices

PRICES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""The prices of the calls after the first together, in units of quality, at which a gate that compares is run."""

_PENALTY = 2.0
_STEPS = 12
_NO_PRICES = (0.0,)


class Achieved(NamedTuple):
    """What a plan comes to at each price, `(prompts, prices)`: the score of the delivered answer, and the calls."""

    quality: Doubles
    calls: Doubles


class Fitted(NamedTuple):
    """The weights of a column, see `PlanColumn`."""

    quality: tuple[Weights, ...]
    calls: tuple[Weights, ...]
    asked: tuple[Weights, ...]


def column_of(
    measured: Measured, data: Answered, columns: Sequence[int], folds: Indices, shares: Sequence[float], source: str
) -> PlanColumn:
    """The column of a plan whose members are these `columns` of `data`.

    `folds` is the fold of each prompt; `shares` are what the members' calls usually cost, in any unit.
    """
    prices = _NO_PRICES if measured.threshold is not None else PRICES
    achieved = carried_out(measured, data, columns, folds, shares, prices)
    prior = data.observed.prior[:, list(columns)]
    fitted = fit(prior, achieved)
    missed = out_of_fold(prior, achieved, folds).quality - achieved.quality
    # How far the mean of a fold is off by a column that was fitted to the others. The scatter of the fold's own answers
    # is part of it: a column of few answers says less.
    of_folds = [missed[folds == fold].mean() for fold in np.unique(folds)]
    return PlanColumn(
        *measured,
        prices=prices,
        quality=fitted.quality,
        calls=fitted.calls,
        asked=fitted.asked,
        error=round(float(np.sqrt(np.mean(np.square(of_folds)))), 4),
        prompts=len(prior),
        source=source,
    )


def carried_out(
    measured: Measured,
    data: Answered,
    columns: Sequence[int],
    folds: Indices,
    shares: Sequence[float],
    prices: Sequence[float],
) -> Achieved:
    """What the plan comes to on every prompt, by the gate of its members that was fitted to the other folds."""
    shape = len(folds), len(prices)
    quality, calls = np.zeros(shape), np.zeros(shape)
    others = HeldOutCommittees(data, np.zeros(data.scores.shape), folds, np.array(prices))
    members = tuple(columns)
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        general = others.weights(int(fold), ()).general
        rule = fit_members(others.others(int(fold), members, None), measured.members, general)
        some = data.members(rows, np.tile(members, (len(rows), 1)))
        quality[rows], calls[rows] = _asked(measured, rule, some, np.array(shares), np.array(prices))
    return Achieved(quality, calls)


def _asked(
    measured: Measured, rule: MembersRule, data: Answered, shares: Doubles, prices: Doubles
) -> tuple[Doubles, Doubles]:
    """Quality and number of calls at every price, `(prompts, prices)`, as the gateway would run the plan."""
    count, rows = data.scores.shape[1], np.arange(len(data.scores))
    asks = np.ones((len(rows), len(prices)), dtype=np.bool_)
    quality, calls = np.zeros(asks.shape), np.zeros(asks.shape)
    later = shares[1:] / shares[1:].sum()
    for asked in range(1, count + 1):
        seen = data.observed.first(asked)
        right = rights_of_members(rule, seen)
        member, decided = leading(seen, right).member, np.zeros(len(rows), dtype=np.bool_)
        if measured.agree and asked >= measured.agree:
            agreeing = (same_answers(seen).sum(axis=2) >= measured.agree) & seen.votes
            decided = agreeing.any(axis=1)
            member = np.where(decided, np.where(agreeing, right, -1.0).argmax(axis=1), member)
        quality = np.where(asks, data.scores[rows, member][:, None], quality)
        calls += asks
        if asked == count:
            break
        if measured.threshold is not None:
            goes_on = (right.max(axis=1) < measured.threshold)[:, None]
        else:
            gains = gains_of_members(rule, seen, right, data.observed.prior[:, asked:])
            spent = np.cumsum(later[asked - 1 :])
            goes_on = (gains[:, None, :] > prices[:, None] * spent).any(axis=2)
        asks &= goes_on & ~decided[:, None]
    return quality, calls


def fit(prior: Doubles, achieved: Achieved) -> Fitted:
    """The weights from members' forecasts `(prompts, members)` and the plan's measured quality and calls."""
    log_odds = logit(prior, LEAST)
    rows = np.concatenate([np.ones((len(prior), 1)), log_odds], axis=1)
    start = np.zeros(rows.shape[1])
    quality = [fit_logistic(rows, target, _PENALTY, start, _STEPS) for target in achieved.quality.T]
    calls, asked = [], []
    for made in range(1, prior.shape[1]):
        weights, constants = _fit_call(log_odds, (achieved.calls > made).astype(np.float64))
        calls.append(weights)
        asked.append(constants)
    return Fitted(tuple(tuple(map(float, each)) for each in quality), tuple(calls), tuple(asked))


def _fit_call(log_odds: Doubles, made: Doubles) -> tuple[Weights, Weights]:
    """Weights of the members for all prices together, and the constant for each price, which never rises."""
    prompts, prices = made.shape
    at_price = np.repeat(np.eye(prices), prompts, axis=0)
    rows = np.concatenate([np.tile(log_odds, (prices, 1)), at_price], axis=1)
    found = fit_logistic(rows, made.T.ravel(), _PENALTY, np.zeros(rows.shape[1]), _STEPS)
    members = log_odds.shape[1]
    return tuple(map(float, found[:members])), tuple(map(float, np.minimum.accumulate(found[members:])))


def forecast(fitted: Fitted, prior: Doubles) -> Achieved:
    """What is expected at the fitted prices, `(prompts, prices)`, from members' forecasts `(prompts, members)`."""
    log_odds = logit(prior, LEAST)
    weights = np.array(fitted.quality)
    quality = probability(weights[:, 0] + log_odds @ weights[:, 1:].T)
    reach = np.ones_like(quality)
    calls = reach.copy()
    for of_members, constants in zip(fitted.calls, fitted.asked, strict=True):
        reach = np.minimum(reach, probability((log_odds @ np.array(of_members))[:, None] + np.array(constants)))
        calls = calls + reach
    return Achieved(quality, calls)


def out_of_fold(prior: Doubles, achieved: Achieved, folds: Indices) -> Achieved:
    """What is expected of each fold's prompts by a column that was fitted to the others."""
    quality, calls = np.empty(achieved.quality.shape), np.empty(achieved.calls.shape)
    for fold in np.unique(folds):
        test = folds == fold
        fitted = fit(prior[~test], Achieved(achieved.quality[~test], achieved.calls[~test]))
        quality[test], calls[test] = forecast(fitted, prior[test])
    return Achieved(quality, calls)
