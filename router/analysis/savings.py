"""Savings: the cost of routed requests, compared with one model for all of them or with what each client asked for.

Both sides cover the same requests. The baseline is assumed to read and write as many tokens as were recorded. For both
sides quality is a forecast from the recorded features.
"""

from __future__ import annotations

import datetime
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from router.analysis.replay import features_of
from router.cards.catalog import Catalog
from router.decide.model_name import is_auto, is_plan
from router.decide.requirements import word_requirements
from router.dispatch.costs import TokenRates, Tokens, cache_factors, price_of, token_rates, tokens_by_rate
from router.errors import CallerError, ConfigurationError
from router.perceive.predictor import Predictor
from router.store.records.record import DecisionRecord, Record
from router.store.records.snapshots import CatalogSnapshot
from router.types import Doubles, Features, Floats, Mask

_BATCH = 1024
_ALL = ""

CLIENT = "client"
"""The baseline in which each request goes to the model that its client named."""

Grouping = Callable[[Record], str]
GROUPINGS: Mapping[str, Grouping] = {
    "day": lambda record: datetime.datetime.fromtimestamp(record.at, datetime.UTC).date().isoformat(),
    "card": lambda record: record.outcome.card or "none",
    "policy": lambda record: record.decision.policy if record.decision else "none",
    "key": lambda record: record.key or "none",
}
"""The keys of `--by`, and the group of a record under each."""

Unavailable = Callable[[str], Mapping[str, str]]
"""From the fingerprint in a record to the cards that could not be called, with the reasons."""


class Side(Struct, frozen=True):
    """The total cost of requests, and the mean forecast quality of their answers."""

    cost_usd: float
    quality: float


class Comparison(Struct, frozen=True):
    """A group of requests, as routed and with the baseline's cards. `group` is empty for the total."""

    group: str
    requests: int
    routed: Side
    single: Side

    @property
    def saved(self) -> float | None:
        """The saved share of the baseline's cost; negative if routing cost more, None if the baseline is free."""
        return 1 - self.routed.cost_usd / self.single.cost_usd if self.single.cost_usd else None


class Savings(Struct, frozen=True, rename={"incapable": "unfit", "best_within_budget": "thrifty"}):
    """Routed requests compared with a baseline: a single model, or the model that each client named.

    `requests` and `spent_usd` cover all records but those of shadows. `left_out` counts the records that are not
    compared, by reason.
    Two kinds of cards are not compared: `uncallable` counts those that could not be called at more than half of the
    requests, `unpriced` lists the others without a price.

    `baseline` names the baseline in words; `card` is the single model, empty for the models that clients named. `best`
    is whether it has the highest mean forecast quality of all compared cards. `incapable` is how many requests the
    baseline could not have served: context too long or unsupported input.
    `best_within_budget` is the card with the highest quality among those that would not have cost more than was spent,
    None if there is none. `singles` are all compared cards, each for all requests. `total` is None if no record can be
    compared or no card has a price.
    """

    requests: int
    spent_usd: float
    left_out: Mapping[str, int]
    unpriced: tuple[str, ...] = ()
    uncallable: int = 0
    baseline: str = ""
    card: str = ""
    best: bool = False
    total: Comparison | None = None
    groups: tuple[Comparison, ...] = ()
    incapable: int = 0
    best_within_budget: tuple[str, Side] | None = None
    singles: Mapping[str, Side] = {}


class _Sums:
    """Sums over requests: cost, tokens by price, each card's forecast quality `(cards,)`, and the clients' baseline."""

    def __init__(self, cards: int) -> None:
        self.requests = 0
        self.cost_usd = self.quality = 0.0
        self.tokens = np.zeros(len(Tokens._fields))
        self.qualities = np.zeros(cards)
        self.client_cost_usd = self.client_quality = 0.0

    def add(self, cost_usd: float, tokens: Sequence[int], card: int, qualities: Doubles) -> None:
        self.requests += 1
        self.cost_usd += cost_usd
        self.quality += float(qualities[card])
        self.tokens += tokens
        self.qualities += qualities


class _Comparable(Struct, frozen=True):
    """A request to compare. `named` is the card that its client named."""

    group: str
    card: int
    cost_usd: float
    tokens: Tokens
    vector: Floats
    named: int | None = None


def savings(
    records: Iterable[Record],
    cards: CatalogSnapshot,
    predictor: Predictor,
    unavailable: Unavailable,
    *,
    by: str | None = None,
    against: str | None = None,
) -> Savings:
    """Compare the cost of `records` with the cost of one card for all of them.

    `against` is the id of that card, by default the one with the best forecast quality, or `CLIENT`: for each record
    the card that its client named. `by` is a key of `GROUPINGS`. Raises CallerError for a card that does not exist or
    has no price, or an unknown grouping, ConfigurationError if the recorded features come from another encoder.
    """
    check_grouping(by)
    accumulator = _Accumulator(cards, predictor, unavailable, GROUPINGS[by] if by else None, against)
    for record in records:
        # No client asked for the answer of a shadow, so no baseline would have given it.
        if record.shadow is None:
            accumulator.add(record)
    return accumulator.result()


def check_grouping(by: str | None) -> None:
    """Raises CallerError where `by` is neither None nor a key of `GROUPINGS`."""
    if by is not None and by not in GROUPINGS:
        raise CallerError(f'--by takes {", ".join(GROUPINGS)}; got "{by}"')


class _Accumulator:
    """Adds up records one by one, so that they need not fit into memory."""

    def __init__(
        self,
        cards: CatalogSnapshot,
        predictor: Predictor,
        unavailable: Unavailable,
        group: Grouping | None,
        against: str | None,
    ) -> None:
        self._catalog, self._predictor, self._group = cards.catalog, predictor, group
        self._uncallable = functools.lru_cache(maxsize=256)(lambda name: self._mask(unavailable(name)))
        # Per card: requests at which it could not be called, and requests that it could not have served.
        self._missed = np.zeros(len(cards.catalog), dtype=np.intp)
        self._incapable = np.zeros(len(cards.catalog), dtype=np.intp)
        self._forecaster = predictor.bind(cards.catalog, cards.evidence)
        self._prices = prices_of(cards.catalog)
        self._by_client = against == CLIENT
        self._single = self._position(against) if against and not self._by_client else None
        self._incapable_by_client = 0
        self._sums: dict[str, _Sums] = {}
        self._left_out: Counter[str] = Counter()
        self._batch: list[_Comparable] = []
        self._requests, self._spent_usd = 0, 0.0

    def add(self, record: Record) -> None:
        """Add one record."""
        self._requests += 1
        self._spent_usd += record.outcome.cost_usd or 0.0
        comparable = self._comparable(record)
        if isinstance(comparable, str):
            self._left_out[comparable] += 1
            return
        self._batch.append(comparable)
        if len(self._batch) == _BATCH:
            self._forecast()

    def result(self) -> Savings:
        """The comparison of all added records."""
        self._forecast()
        total = self._sums.pop(_ALL, _Sums(len(self._catalog)))
        allowed = 2 * self._missed <= total.requests
        priced = ~np.isnan(self._prices[0])
        summary = Savings(
            requests=self._requests,
            spent_usd=self._spent_usd,
            left_out=dict(self._left_out.most_common()),
            unpriced=tuple(self._catalog.ids[card] for card in np.flatnonzero(~priced & allowed)),
            uncallable=int((~allowed).sum()),
        )
        best = _best(total.qualities, priced & allowed)
        chosen = best if self._single is None else self._single
        if chosen is None or not total.requests:
            return summary
        costs = self._prices.T @ total.tokens
        affordable = _best(total.qualities, priced & allowed & (costs <= total.cost_usd))
        return msgspec.structs.replace(
            summary,
            **self._baseline(chosen, best),
            total=self._compared(_ALL, total, chosen),
            groups=tuple(self._compared(name, sums, chosen) for name, sums in sorted(self._sums.items())),
            best_within_budget=None
            if affordable is None
            else (self._catalog.ids[affordable], self._side(total, affordable)),
            singles={
                self._catalog.ids[card]: self._side(total, int(card)) for card in np.flatnonzero(priced & allowed)
            },
        )

    def _baseline(self, chosen: int, best: int | None) -> dict[str, Any]:
        """The fields of `Savings` that describe the baseline."""
        if self._by_client:
            return {"baseline": "the model that the client asked for", "incapable": self._incapable_by_client}
        card = self._catalog.ids[chosen]
        words = f"always {card}" + (", the best single model" if self._single is None else "")
        return {
            "baseline": words,
            "card": card,
            "best": chosen == best,
            "incapable": int(self._incapable[chosen]),
        }

    def _named(self, asked: str) -> int | str:
        """The position of the card that a client asked for, or the reason why there is no such baseline."""
        if not asked or is_auto(asked) or is_plan(asked):
            return "the client asked for auto, so there is no model to compare with"
        card = self._catalog.position(asked)
        if card is None:
            return f"the client asked for {asked}, which is no card of the catalogue"
        return f"{asked} has no price" if np.isnan(self._prices[0, card]) else card

    def _features(self, decision: DecisionRecord) -> Features | str:
        """The features of a decision, or why this predictor cannot read them."""
        try:
            return features_of(decision, self._predictor)
        except ConfigurationError:
            return f"decided by artifact {decision.artifact}, whose features {self._predictor.id} does not read"

    def _comparable(self, record: Record) -> _Comparable | str:
        """The fields of `record` that the comparison needs, or the reason to leave it out."""
        outcome, decision = record.outcome, record.decision
        if outcome.status >= 400 or outcome.error is not None or outcome.card is None:
            return "no model was asked" if outcome.status < 400 and outcome.error is None else "no complete answer"
        if decision is None:
            return "not routed: the client named the card"
        if outcome.usage is None or outcome.cost_usd is None:
            return "the upstream reported no usage" if outcome.usage is None else f"{outcome.card} has no price"
        card = self._catalog.position(outcome.card)
        if card is None:
            return f"{outcome.card} is no longer in the catalogue"
        named = self._named(record.asked) if self._by_client else None
        features = self._features(decision)
        if isinstance(named, str) or isinstance(features, str):
            return named if isinstance(named, str) else str(features)
        incapable = incapable_cards(self._catalog, features)
        self._incapable += incapable
        self._incapable_by_client += named is not None and bool(incapable[named])
        if decision.unavailable:
            self._missed += self._uncallable(decision.unavailable)
        return _Comparable(
            group=self._group(record) if self._group else _ALL,
            card=card,
            cost_usd=outcome.cost_usd,
            # What several calls cost is compared with what one card would have cost.
            tokens=tokens_by_rate(outcome.single_usage or outcome.usage),
            vector=features.vector,
            named=named,
        )

    def _forecast(self) -> None:
        if not self._batch:
            return
        qualities = self._forecaster.qualities(np.stack([request.vector for request in self._batch]))
        for request, row in zip(self._batch, qualities, strict=True):
            for group in {_ALL, request.group}:
                sums = self._sums.setdefault(group, _Sums(len(self._catalog)))
                sums.add(request.cost_usd, request.tokens, request.card, row)
                if request.named is not None:
                    sums.client_cost_usd += float(self._prices[:, request.named] @ request.tokens)
                    sums.client_quality += float(row[request.named])
        self._batch.clear()

    def _mask(self, card_ids: Iterable[str]) -> Mask:
        ids = set(card_ids)
        return np.array([card in ids for card in self._catalog.ids], dtype=np.bool_)

    def _position(self, against: str) -> int:
        card = self._catalog.named(against)
        if price_of(card) is None:
            raise CallerError(f"{card.id} has no price, so its cost is unknown; add `price` to its card")
        return self._catalog.ids.index(card.id)

    def _compared(self, group: str, sums: _Sums, card: int) -> Comparison:
        routed = Side(sums.cost_usd, sums.quality / sums.requests)
        client = Side(sums.client_cost_usd, sums.client_quality / sums.requests)
        return Comparison(group, sums.requests, routed, client if self._by_client else self._side(sums, card))

    def _side(self, sums: _Sums, card: int) -> Side:
        return Side(float(self._prices[:, card] @ sums.tokens), float(sums.qualities[card]) / sums.requests)


def prices_of(catalog: Catalog) -> Doubles:
    """Prices in USD per token `(kinds, cards)`, in the order of `TokenRates`. NaN if unknown."""
    unknown = TokenRates(*(math.nan,) * len(TokenRates._fields))
    prices = ((price_of(card), cache_factors(card)) for card in catalog)
    rows = [unknown if price is None else token_rates(price, factors) for price, factors in prices]
    return np.array(rows, dtype=np.float64).reshape(-1, len(TokenRates._fields)).T / 1e6


def incapable_cards(catalog: Catalog, features: Features) -> Mask:
    """Which cards cannot serve such a request according to the facts on them."""
    columns = catalog.columns
    incapable = columns.context_tokens < features.input_tokens + (features.output_limit or 0)
    if features.output_limit is not None:
        incapable |= columns.max_output_tokens < features.output_limit
    for requirement in word_requirements(features):
        if not requirement.is_wanted:
            facet = catalog.facets[requirement.limit.field]
            lacks = ~facet.cards_with(str(requirement.limit.value))
            incapable |= lacks & ~facet.unknown if requirement.unknown_passes else lacks
    return np.asarray(incapable)


def _best(qualities: Doubles, allowed: Mask) -> int | None:
    """The allowed card with the highest quality; the first of several equal ones."""
    if not allowed.any():
        return None
    return int(np.where(allowed, qualities, -np.inf).argmax())
