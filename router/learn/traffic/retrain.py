"""Retrain a predictor from judged traffic: train on the past, judge on the newest part."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
from msgspec import Struct

import router
from router.errors import CallerError
from router.learn.traffic.comparison import ForecastComparison, compare_forecasts
from router.learn.traffic.fit import LEAST_JUDGED, Fitted, Spread, expected, fit_traffic
from router.learn.traffic.judged import JudgedTraffic, Judgement, judged_traffic, trusted_weights
from router.perceive.memory.traffic import TrafficCard, TrafficParameters, TrafficSource
from router.perceive.predictor import Predictor
from router.pipeline import Router

LEAST_HELD_OUT = 60
"""Judged answers that the newest part needs."""


class CardLine(Struct, frozen=True):
    """A card in the newest part: its judged answers there and before, their mean judgement, both mean forecasts."""

    card: str
    trained_on: int
    judged: int
    mean_value: float | None
    old: float | None
    new: float | None


class TrafficReport(Struct, frozen=True):
    """What was trained on, and how the result forecasts the newest part, which took no part in the training.

    `largest_key_share` is the share of all weight that one key has after the cap, and `before_cap` what it would have
    been. `left_out` counts judged answers that were not used, by reason.
    """

    parent: str
    artifact: str
    since_s: float
    until_s: float
    trained_on: int
    keys: int
    largest_key_share: float
    before_cap: float
    spread: Spread | None
    held_out: ForecastComparison
    cards: tuple[CardLine, ...]
    left_out: Mapping[str, int]


class Retrained(Struct, frozen=True, eq=False):
    """The new predictor, None where the past shows nothing that the artifact does not know, and the report."""

    predictor: Predictor | None
    report: TrafficReport


def retrain(
    found: Sequence[Judgement], router_: Router, held_out: float = 0.3, trusted: Collection[str] = ()
) -> Retrained:
    """A predictor from the judged answers `found`, oldest first, with that of `router_` as the prior.

    The newest share `held_out` judges. `trusted` are keys whose votes count fully. Raises CallerError where there is
    too little to learn from.
    """
    traffic = judged_traffic(found, router_, trusted)
    first = round(len(traffic) * (1.0 - held_out))
    if first < LEAST_JUDGED or len(traffic) - first < LEAST_HELD_OUT:
        left = ", ".join(f"{count} {reason}" for reason, count in sorted(traffic.left_out.items()))
        raise CallerError(
            f"too little to train on: {len(traffic)} judged answers{f' (left out: {left})' if left else ''}, of which "
            f"{first} would train and {len(traffic) - first} judge; at least {LEAST_JUDGED} and {LEAST_HELD_OUT} are "
            "needed"
        )
    rows = np.arange(len(traffic))
    past, newest = traffic.rows(rows[:first]), traffic.rows(rows[first:])
    prior = prior_of(router_)
    fitted = fit_traffic(past, prior)
    predictor = _with_traffic(router_, fitted, past) if fitted.spread is not None else None
    return Retrained(predictor, _report(router_.predictor, predictor, past, newest, prior, fitted))


def prior_of(router_: Router) -> TrafficParameters | None:
    """What the artifact has learned from traffic, with a row for each card of the catalogue; None for nothing yet."""
    parameters, source = router_.predictor.head.traffic, router_.predictor.manifest.traffic
    if parameters is None or source is None:
        return None
    rows = {(card.id, card.model): row for row, card in enumerate(source.cards)}
    cards = np.zeros((len(router_.catalog), len(parameters.common)))
    for position, card in enumerate(router_.catalog):
        if (row := rows.get((card.id, card.model))) is not None:
            cards[position] = parameters.cards[row]
    return msgspec.structs.replace(parameters, cards=cards)


def _with_traffic(router_: Router, fitted: Fitted, past: JudgedTraffic) -> Predictor:
    assert fitted.spread is not None
    old, catalog = router_.predictor, router_.catalog
    weights = trusted_weights(past, expected(past, None))
    counts = np.bincount(past.cards, minlength=len(catalog))
    of_cards = np.bincount(past.cards, weights, minlength=len(catalog))
    kept = [row for row in range(len(catalog)) if counts[row] or fitted.parameters.cards[row].any()]
    source = TrafficSource(
        parent=old.id,
        since_s=float(past.at_s[0]),
        # Requests that judge the artifact later are newer than those that it was trained on.
        until_s=float(np.nextafter(past.at_s[-1], np.inf)),
        judged=len(past),
        keys=len(np.unique(past.keys)),
        level_std=fitted.spread.level,
        topic_std=fitted.spread.topic,
        cards=tuple(
            TrafficCard(catalog[row].id, catalog[row].model, int(counts[row]), round(float(of_cards[row]), 3))
            for row in kept
        ),
    )
    parameters = msgspec.structs.replace(fitted.parameters, cards=fitted.parameters.cards[kept])
    manifest = msgspec.structs.replace(old.manifest, release=router.__version__, traffic=source)
    return Predictor(msgspec.structs.replace(old.head, traffic=parameters), old.encoder, manifest)


def _report(
    old: Predictor,
    new: Predictor | None,
    past: JudgedTraffic,
    newest: JudgedTraffic,
    prior: TrafficParameters | None,
    fitted: Fitted,
) -> TrafficReport:
    before, after = expected(newest, prior), expected(newest, fitted.parameters)
    weights = trusted_weights(past, expected(past, prior))
    held_out = compare_forecasts(newest.values, before, after, trusted_weights(newest, before), newest.keys)
    lines = []
    for card in np.unique(np.concatenate([past.cards, newest.cards])).tolist():
        rows = newest.cards == card
        means = [float(each[rows].mean()) for each in (newest.values, before, after)] if rows.any() else [None] * 3
        trained = int((past.cards == card).sum())
        lines.append(CardLine(past.names[card], trained, int(rows.sum()), *means))
    return TrafficReport(
        parent=old.id,
        artifact=old.id if new is None else new.id,
        since_s=float(past.at_s[0]),
        until_s=float(past.at_s[-1]),
        trained_on=len(past),
        keys=len(np.unique(past.keys)),
        largest_key_share=_largest(past, weights),
        before_cap=_largest(past, past.weights),
        spread=fitted.spread,
        held_out=held_out,
        cards=tuple(sorted(lines, key=lambda line: (-line.judged, line.card))),
        left_out=past.left_out,
    )


def _largest(traffic: JudgedTraffic, weights: np.ndarray) -> float:
    of_keys = np.bincount(traffic.keys, weights)
    return float(of_keys.max() / max(of_keys.sum(), 1e-9))
