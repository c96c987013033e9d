"""What each card adds to the others on recorded requests, by its forecasts.

Of the cards that could be called, each request goes to the one with the least expected cost, `(1 - quality) ·
mistake_usd + price`, as by a policy with `mistake_usd`. A card's value is how much that cost rises without it. Nobody
graded the answers: with outcomes on a data set, `router.analysis.card_value` measures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from router.analysis.replay import features_of
from router.analysis.savings import Unavailable, incapable_cards, prices_of
from router.dispatch.costs import tokens_by_rate
from router.errors import ConfigurationError
from router.perceive.predictor import Predictor
from router.store.records.record import Record
from router.store.records.snapshots import CatalogSnapshot
from router.types import Doubles, Mask

MISTAKE_USD = 1.0
"""What a wrong answer costs, in dollars, as in the policy `default`."""


class ForecastValue(Struct, frozen=True):
    """One card, on the requests for which it could be called, a share `callable` of all: its mean forecast quality and
    mean cost in dollars. `best` is the share of all requests on which no other has a lower expected cost, `value_usd`
    how much the mean expected cost of a request rises without it.
    """

    card: str
    callable: float
    quality: float
    cost_usd: float
    best: float
    value_usd: float


class ValueOfCards(Struct, frozen=True):
    """The values of all cards that could be called for any of `requests`, the greatest first. `unpriced` have no price,
    so they are not compared.
    """

    requests: int
    mistake_usd: float
    cards: tuple[ForecastValue, ...]
    unpriced: tuple[str, ...] = ()


def values_of(
    records: Sequence[Record], cards: CatalogSnapshot, predictor: Predictor, unavailable: Unavailable
) -> ValueOfCards:
    """The values of `cards` on the records that were routed and answered; an answer of any card is as long as the one
    that was recorded. The only card that could be called for a request counts as if a wrong answer would remain.
    """
    catalog, ids = cards.catalog, np.array(cards.catalog.ids)
    prices = prices_of(catalog)
    vectors, costs, allowed = [], [], []
    callable_by: dict[str, Mask] = {"": np.ones(len(ids), dtype=np.bool_)}
    for record in records:
        usage = record.outcome.single_usage or record.outcome.usage
        if record.decision is None or usage is None:
            continue
        try:
            features = features_of(record.decision, predictor)
        except ConfigurationError:
            # Of another artifact.
            continue
        fingerprint = record.decision.unavailable
        if fingerprint not in callable_by:
            callable_by[fingerprint] = ~np.isin(ids, list(unavailable(fingerprint)))
        vectors.append(features.vector)
        costs.append(prices.T @ tokens_by_rate(usage))
        allowed.append(callable_by[fingerprint] & ~incapable_cards(catalog, features))
    if not vectors:
        return ValueOfCards(0, MISTAKE_USD, ())
    able, price = np.stack(allowed), np.stack(costs)
    unpriced = np.isnan(price).all(axis=0) & able.any(axis=0)
    able &= ~np.isnan(price)
    qualities = predictor.bind(catalog, cards.evidence).qualities(np.stack(vectors))
    return ValueOfCards(
        len(vectors),
        MISTAKE_USD,
        values_of_matrix(cards.catalog.ids, qualities, price, able),
        tuple(ids[unpriced].tolist()),
    )


def values_of_matrix(ids: Sequence[str], qualities: Doubles, price: Doubles, able: Mask) -> tuple[ForecastValue, ...]:
    """The values of the cards `ids` from their forecast qualities and their prices in dollars, where they are `able` to
    answer, each `(requests, cards)`.
    """
    expected_usd = np.where(able, (1.0 - qualities) * MISTAKE_USD + price, np.inf)
    best = expected_usd.argmin(axis=1)
    answered = able.any(axis=1)
    # The last column stands for no other card.
    ordered = np.sort(np.column_stack([expected_usd, np.full(len(able), np.inf)]), axis=1)
    first = np.where(answered, ordered[:, 0], 0.0)
    # Without the only card that could be called there is no answer, which is as wrong as one can be.
    second = np.minimum(ordered[:, 1], np.maximum(first, MISTAKE_USD))
    lost_usd = np.where(answered, second - first, 0.0)
    found = []
    for column in np.flatnonzero(able.any(axis=0)).tolist():
        own, wins = able[:, column], (best == column) & able[:, column]
        found.append(
            ForecastValue(
                ids[column],
                float(own.mean()),
                float(qualities[own, column].mean()),
                float(price[own, column].mean()),
                float(wins.mean()),
                float(np.where(wins, lost_usd, 0.0).mean()),
            )
        )
    return tuple(sorted(found, key=lambda each: (-each.value_usd, -each.best, each.card)))
