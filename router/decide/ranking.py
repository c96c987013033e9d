"""The candidates and the rejected cards of a decision.

The engine computes with arrays of one entry per card. `Ranking` and `Rejections` present these arrays as a sequence and
a mapping, and build an entry only when it is read: ten thousand cards do not cost ten thousand objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from router.decide.fields import DecisionInputs
from router.decide.limits import Limit, LimitResult, gap, reason
from router.errors import did_you_mean
from router.perceive import kernel
from router.types import Candidate, Doubles, Forecast, Indices, Mask, Rejection, known

if TYPE_CHECKING:
    from router.decide.plans.rows import PlanRows

AVAILABLE = Limit("available", "=", "yes", "available")
"""The limit that a card fails while it cannot be called."""

DISPATCHABLE = Limit("dispatchable", "=", "true", "dispatchable=true")
"""The limit that a card fails which is never called."""

HIDDEN = Limit("hidden", "=", "no", "hidden=no")
"""The limit that a card fails which does not exist for the client. Nothing that a client reads names it."""

TRIED = Limit("lineage", "=", "probed", "lineage.state=probed")
"""The limit that a card fails which was ported to another base and not probed there."""

MEASURED = Limit("unmeasured", "=", "exclude", "unmeasured=exclude")
"""The limit that a card without outcomes fails where the artifact has outcomes of others."""

_NO_OUTCOMES = "no outcomes in the artifact, and no probes; onboard the card, or set unmeasured: include"


AHEAD = 32
"""How many of the best candidates are found without sorting all of them."""


def first_of(values: Doubles, rejected: Mask, count: int) -> list[int]:
    """The positions of the `count` least values that are not rejected, in order, or as many as there are.

    Equal ones are in the order of their positions: cards are sorted by id, so the id breaks ties.
    """
    extension = kernel.extension()
    if extension is not None:
        found: list[int] | None = extension.first_of(values, rejected, count)
        if found is not None:
            return found
    least: list[int] = _sorted(values, rejected)[:count].tolist()
    return least


def best_of(values: Doubles, rejected: Mask) -> int:
    """The position of the least value that is not rejected."""
    return first_of(values, rejected, 1)[0]


def count_of(mask: Mask) -> int:
    """How many are true, which numpy counts by way of two functions in Python."""
    return mask.tobytes().count(1)


def _sorted(values: Doubles, rejected: Mask) -> Indices:
    candidates = np.flatnonzero(~rejected)
    return candidates[values[candidates].argsort(kind="stable")]


class Order:
    """The positions of the candidates, best first, of which all are sorted only where all are read."""

    def __init__(
        self,
        score: Doubles,
        rejected: Mask,
        first: int | None = None,
        best: Sequence[int] | None = None,
        size: int | None = None,
    ) -> None:
        """`first` is the position of the candidate that goes before all others, None where the best one does. `best`
        are the first ones by their score, and `size` how many there are, where that is known.
        """
        self._score, self._rejected, self._first = score, rejected, first
        self._size = len(rejected) - count_of(rejected) if size is None else size
        best = first_of(score, rejected, AHEAD) if best is None else best
        # The first ones.
        self.ahead = best if first is None or best[0] == first else [first, *[card for card in best if card != first]]
        self._whole: Indices | None = None

    @classmethod
    def stated(cls, order: Indices, score: Doubles) -> Order:
        """This order of all candidates."""
        found = cls(score, np.ones(len(score), dtype=np.bool_), best=order[:AHEAD].tolist(), size=len(order))
        found._whole = order
        return found

    def __len__(self) -> int:
        return self._size

    @property
    def whole(self) -> Indices:
        """All of them."""
        if self._whole is None:
            if self._size <= len(self.ahead):
                self._whole = np.array(self.ahead, dtype=np.intp)
            else:
                order, first = _sorted(self._score, self._rejected), self._first
                is_begun = first is None or order[0] == first
                self._whole = order if is_begun else np.concatenate([[first], order[order != first]])
        return self._whole


class Ranking(Sequence[Candidate]):
    """The candidates, best first."""

    def __init__(
        self,
        ids: Sequence[str],
        order: Order,
        score: Doubles,
        parts: Mapping[str, Doubles],
        forecast: Forecast,
        assumed: Callable[[int], tuple[str, ...]],
    ) -> None:
        """`assumed` gives what a card's score assumes about facts that are unknown."""
        self._assumed = assumed
        self._ids, self._order, self._score, self._parts, self._forecast = ids, order, score, parts, forecast

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return tuple(self._candidate(int(card)) for card in self._order.whole[index])
        ahead = self._order.ahead
        return self._candidate(ahead[index] if 0 <= index < len(ahead) else self._order.whole.item(index))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self.cards)

    def __repr__(self) -> str:
        return f"Ranking({list(self[:3])!r}{'…' if len(self) > 3 else ''})"

    @property
    def cards(self) -> tuple[str, ...]:
        """The ids, best first."""
        return tuple(self._ids[int(card)] for card in self._order.whole)

    def _candidate(self, card: int) -> Candidate:
        forecast = self._forecast
        return Candidate(
            card=self._ids[card],
            score=self._score.item(card),
            quality=forecast.quality.item(card),
            quality_std=forecast.quality_std.item(card),
            cost_usd=known(forecast.cost_usd.item(card)),
            latency_ms=known(forecast.latency_ms.item(card)),
            parts={name: part.item(card) for name, part in self._parts.items()},
            assumed=self._assumed(card),
        )


class Rejections(Mapping[str, Rejection]):
    """The rejected cards and plans by id, each with the reasons."""

    def __init__(
        self,
        results: Sequence[LimitResult],
        rejected: Mask,
        inputs: DecisionInputs,
        unavailable: Mapping[str, str],
        plans: PlanRows | None = None,
    ) -> None:
        self._rejected = rejected
        for result in results:
            if result.limit is HIDDEN:
                self._rejected = rejected & ~result.fails
        self._results, self._inputs, self._unavailable = results, inputs, unavailable
        self._plans, self._ids = plans, inputs.catalog.ids if plans is None else plans.ids

    def __len__(self) -> int:
        return int(self._rejected.sum())

    def __iter__(self) -> Iterator[str]:
        return (self._ids[card] for card in np.flatnonzero(self._rejected))

    def __getitem__(self, name: str) -> Rejection:
        card = self._inputs.catalog.position(name)
        if card is None and self._plans is not None:
            card = self._plans.position(name)
        is_rejected = card is not None and bool(self._rejected[card])
        failed = [result for result in self._results if result.fails[card]] if is_rejected else []
        # `position` also finds aliases; only ids are keys.
        if card is None or not self._rejected[card] or self._ids[card] != name:
            raise KeyError(name)
        first, *others = failed
        also = tuple(self._reason(other, card) for other in others)
        return Rejection(first.limit.text, self._reason(first, card), also)

    def __repr__(self) -> str:
        return f"Rejections({dict(self)!r})"

    def _reason(self, result: LimitResult, card: int) -> str:
        if self._plans is not None and card >= len(self._inputs.catalog):
            return self._plans.reason(card, result, self._reason)
        if result.limit is AVAILABLE:
            return self._unavailable[self._inputs.catalog.ids[card]]
        if result.limit is DISPATCHABLE:
            return self._inputs.catalog.withheld[self._inputs.catalog.ids[card]]
        if result.limit is TRIED:
            return self._inputs.catalog.untried[self._inputs.catalog.ids[card]]
        if result.limit is MEASURED:
            return _NO_OUTCOMES
        return reason(result, card, self._inputs)


def explain_empty(
    results: Sequence[LimitResult],
    fails: Mask,
    inputs: DecisionInputs,
    rejections: Rejections,
    advice: Sequence[str],
) -> str:
    """Which limits reject how many cards, which card comes nearest, the `advice`, and which words occur on no card."""
    hidden = next((result.fails for result in results if result.limit is HIDDEN), None)
    shown = np.arange(len(inputs.catalog)) if hidden is None else np.flatnonzero(~hidden[: len(inputs.catalog)])
    if not len(shown):
        return "the catalogue has no cards"
    results = [result for result in results if result.limit is not HIDDEN]
    counts = fails.sum(axis=0)
    distance = {
        card: sum(gap(result, card, inputs) for result in results if result.fails[card]) for card in shown.tolist()
    }
    nearest = min(distance, key=lambda card: (int(counts[card]), distance[card], card))
    rejection = rejections[inputs.catalog.ids[nearest]]
    by_effect = sorted(
        ((rejected, result.limit.text) for result in results if (rejected := int(result.fails[shown].sum()))),
        reverse=True,
    )
    effects = ", ".join(f"{text} (rejects {count} of {len(shown)})" for count, text in by_effect)
    reasons = "; ".join((rejection.reason, *rejection.also))
    lines = [f"no card meets every limit: {effects}", f"nearest is {inputs.catalog.ids[nearest]}: {reasons}", *advice]
    for result in results:
        limit = result.limit
        if (
            isinstance(limit.value, str)
            and limit.op == "="
            and limit.field != "plan"
            and limit.field in inputs.catalog.facets
        ):
            words = inputs.catalog.facets[limit.field].cards_of
            stated = words if hidden is None else {word for word, cards in words.items() if cards[shown].any()}
            if limit.value not in stated:
                known = f"; known: {', '.join(sorted(stated)[:12])}" if stated else ""
                hint = did_you_mean(limit.value, stated) or known
                lines.append(f"no card has {limit.field} {limit.value}{hint}")
    return "\n  ".join(lines)
