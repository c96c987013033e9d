"""Savings: what routed requests cost, and what one model for all of them would have cost.

Both sides are counted over the same requests. A single model is taken to have read and written as many tokens as were
counted; its quality is forecast from the recorded features, as that of the cards that answered is.
"""

from __future__ import annotations

import datetime
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from router.analysis.replay import features_of
from router.cards.catalog import Catalog
from router.dispatch.costs import price_of
from router.errors import CallerError
from router.perceive.predictor import Predictor, quality_of
from router.store.records.record import Record
from router.store.records.snapshots import CatalogSnapshot
from router.types import Doubles, Features, Floats, Mask

_BATCH = 1024
_ALL = ""

Grouping = Callable[[Record], str]
GROUPINGS: Mapping[str, Grouping] = {
    "day": lambda record: datetime.datetime.fromtimestamp(record.at, datetime.UTC).date().isoformat(),
    "card": lambda record: record.outcome.card or "none",
    "policy": lambda record: record.decision.policy if record.decision else "none",
    "key": lambda record: record.key or "none",
}
"""What requests can be grouped by."""

Unavailable = Callable[[str], Mapping[str, str]]
"""From the fingerprint in a record to the cards that could not be called, and why."""


class Side(Struct, frozen=True):
    """What requests cost in all, and the mean forecast quality of their answers."""

    cost_usd: float
    quality: float


class Line(Struct, frozen=True):
    """Requests compared with one card for all of them. `group` is empty for all."""

    group: str
    requests: int
    routed: Side
    single: Side

    @property
    def saved(self) -> float | None:
        """The share of the single card's cost that was not spent; negative where more was. None where it is free."""
        return 1 - self.routed.cost_usd / self.single.cost_usd if self.single.cost_usd else None


class Savings(Struct, frozen=True):
    """The comparison. `card` is the single model, `best` whether it is the one of the best mean forecast quality of
    all that have a price and could be called at half of the requests or more. `unfit` of the requests it could not have
    served: too long, or with what it does not take.

    `thrifty` is the best such model that would not have cost more than was spent, None where there is none.
    `requests` and `spent_usd` are those of all records; `left_out` says how many are not in the comparison, and why.
    `total` is None where none is, or no card has a price.
    `unpriced` are the cards that could be called but have no price, and `uncallable` how many could not.
    """

    requests: int
    spent_usd: float
    left_out: Mapping[str, int]
    unpriced: tuple[str, ...] = ()
    uncallable: int = 0
    card: str = ""
    best: bool = False
    total: Line | None = None
    groups: tuple[Line, ...] = ()
    unfit: int = 0
    thrifty: tuple[str, Side] | None = None


class _Sums:
    """Sums over requests: tokens, money, and of each card the forecast quality `(cards,)`."""

    def __init__(self, cards: int) -> None:
        self.requests = 0
        self.cost_usd = self.quality = 0.0
        self.tokens = np.zeros(3)
        self.qualities = np.zeros(cards)

    def add(self, cost_usd: float, tokens: Sequence[int], card: int, qualities: Doubles) -> None:
        self.requests += 1
        self.cost_usd += cost_usd
        self.quality += float(qualities[card])
        self.tokens += tokens
        self.qualities += qualities


class _Comparable(Struct, frozen=True):
    group: str
    card: int
    cost_usd: float
    tokens: tuple[int, int, int]
    vector: Floats


def savings(
    records: Iterable[Record],
    setting: CatalogSnapshot,
    predictor: Predictor,
    unavailable: Unavailable,
    *,
    by: str | None = None,
    against: str | None = None,
) -> Savings:
    """What was spent on `records`, and what one card for all would have cost.

    `against` names that card, else it is the best of all. Raises CallerError for one without a price or a grouping
    that does not exist, ConfigurationError where the records' features are those of another encoder.
    """
    if by is not None and by not in GROUPINGS:
        raise CallerError(f'--by takes {", ".join(GROUPINGS)}; got "{by}"')
    comparison = _Comparison(setting, predictor, unavailable, GROUPINGS[by] if by else None)
    for record in records:
        comparison.add(record)
    return comparison.result(against)


class _Comparison:
    def __init__(
        self, setting: CatalogSnapshot, predictor: Predictor, unavailable: Unavailable, group: Grouping | None
    ) -> None:
        self._catalog, self._predictor, self._group = setting.catalog, predictor, group
        self._uncallable = functools.lru_cache(maxsize=256)(lambda name: self._held(unavailable(name)))
        self._missed = np.zeros(len(setting.catalog), dtype=np.intp)
        placed = (predictor.place(setting.catalog, card, setting.evidence) for card in range(len(setting.catalog)))
        self._abilities = np.array([ability.mean for ability, _ in placed])
        self._prices = _prices(setting.catalog)
        self._sums: dict[str, _Sums] = {}
        self._unfit = np.zeros(len(setting.catalog), dtype=np.intp)
        self._left_out: Counter[str] = Counter()
        self._waiting: list[_Comparable] = []
        self._requests, self._spent_usd = 0, 0.0

    def add(self, record: Record) -> None:
        """Take in a record."""
        self._requests += 1
        self._spent_usd += record.outcome.cost_usd or 0.0
        comparable = self._comparable(record)
        if isinstance(comparable, str):
            self._left_out[comparable] += 1
            return
        self._waiting.append(comparable)
        if len(self._waiting) == _BATCH:
            self._forecast()

    def result(self, against: str | None) -> Savings:
        """The comparison of all that was taken in."""
        self._forecast()
        total = self._sums.pop(_ALL, _Sums(len(self._catalog)))
        allowed = 2 * self._missed <= total.requests
        priced = ~np.isnan(self._prices[0])
        found = Savings(
            requests=self._requests,
            spent_usd=self._spent_usd,
            left_out=dict(self._left_out.most_common()),
            unpriced=tuple(self._catalog.ids[card] for card in np.flatnonzero(~priced & allowed)),
            uncallable=int((~allowed).sum()),
        )
        best = _best(total.qualities, priced & allowed)
        chosen = self._named(against) if against else best
        if chosen is None or not total.requests:
            return found
        costs = self._prices.T @ total.tokens
        within = _best(total.qualities, priced & allowed & (costs <= total.cost_usd))
        return msgspec.structs.replace(
            found,
            card=self._catalog.ids[chosen],
            best=chosen == best,
            total=self._line(_ALL, total, chosen),
            groups=tuple(self._line(name, sums, chosen) for name, sums in sorted(self._sums.items())),
            unfit=int(self._unfit[chosen]),
            thrifty=None if within is None else (self._catalog.ids[within], self._side(total, within)),
        )

    def _comparable(self, record: Record) -> _Comparable | str:
        """What the comparison needs of `record`, or why it is left out."""
        outcome, decision = record.outcome, record.decision
        if outcome.status >= 400 or outcome.error is not None or outcome.card is None:
            return "no complete answer"
        if decision is None:
            return "not routed: the client named the card"
        if outcome.usage is None:
            return "the upstream counted no tokens"
        if outcome.cost_usd is None:
            return f"{outcome.card} has no price"
        card = self._catalog.position(outcome.card)
        if card is None:
            return f"{outcome.card} is not in the catalogue any more"
        features = features_of(decision, self._predictor)
        usage = outcome.usage
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        self._unfit += _unfit(self._catalog, features)
        if decision.unavailable:
            self._missed += self._uncallable(decision.unavailable)
        return _Comparable(
            group=self._group(record) if self._group else _ALL,
            card=card,
            cost_usd=outcome.cost_usd,
            tokens=(usage.input_tokens - cached, cached, usage.output_tokens),
            vector=features.vector,
        )

    def _forecast(self) -> None:
        if not self._waiting:
            return
        seen = self._predictor.look(np.stack([each.vector for each in self._waiting]))
        qualities = quality_of(seen.profiles @ self._abilities.T)
        for each, row in zip(self._waiting, qualities, strict=True):
            for group in {_ALL, each.group}:
                sums = self._sums.setdefault(group, _Sums(len(self._catalog)))
                sums.add(each.cost_usd, each.tokens, each.card, row)
        self._waiting.clear()

    def _held(self, names: Iterable[str]) -> Mask:
        held = set(names)
        return np.array([card in held for card in self._catalog.ids], dtype=np.bool_)

    def _named(self, against: str) -> int:
        card = self._catalog.named(against)
        if price_of(card) is None:
            raise CallerError(f"{card.id} has no price, so what it would have cost is not known")
        return self._catalog.ids.index(card.id)

    def _line(self, group: str, sums: _Sums, card: int) -> Line:
        routed = Side(sums.cost_usd, sums.quality / sums.requests)
        return Line(group, sums.requests, routed, self._side(sums, card))

    def _side(self, sums: _Sums, card: int) -> Side:
        return Side(float(self._prices[:, card] @ sums.tokens), float(sums.qualities[card]) / sums.requests)


def _prices(catalog: Catalog) -> Doubles:
    """USD a token `(3, cards)`: input, input from a cache, output. NaN where unknown."""
    rows = []
    for card in catalog:
        price = price_of(card)
        if price is None:
            rows.append((math.nan,) * 3)
        else:
            cached = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
            rows.append((price.input_usd, cached, price.output_usd))
    return np.array(rows, dtype=np.float64).reshape(-1, 3).T / 1e6


def _unfit(catalog: Catalog, features: Features) -> Mask:
    """Which cards state that they cannot serve such a request."""
    columns = catalog.columns
    unfit = columns.context_tokens < features.input_tokens + (features.output_limit or 0)
    if features.output_limit is not None:
        unfit |= columns.max_output_tokens < features.output_limit
    words = [("modality", word) for word in features.modalities - {"text"}]
    words += [("capability", word) for word in features.needs]
    for facet, word in words:
        unfit |= ~catalog.facets[facet].holding(word)
    return np.asarray(unfit)


def _best(qualities: Doubles, allowed: Mask) -> int | None:
    """The card of the greatest quality among those allowed; of equal ones the first."""
    if not allowed.any():
        return None
    return int(np.where(allowed, qualities, -np.inf).argmax())
