"""The candidates and the rejected cards of a decision.

The engine computes with arrays of one entry per card. `Ranking` and `Rejections` present these arrays as a sequence and
a mapping, and build an entry only when it is read: ten thousand cards do not cost ten thousand objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from router.decide.fields import DecisionInputs
from router.decide.limits import Limit, LimitResult, reason
from router.decide.plans.rows import PlanRows
from router.types import Candidate, Doubles, Forecast, Indices, Mask, Rejection, known

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


class Ranking(Sequence[Candidate]):
    """The candidates, best first."""

    def __init__(
        self,
        ids: Sequence[str],
        order: Indices,
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
            return tuple(self._candidate(int(card)) for card in self._order[index])
        return self._candidate(int(self._order[index]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self.cards)

    def __repr__(self) -> str:
        return f"Ranking({list(self[:3])!r}{'…' if len(self) > 3 else ''})"

    @property
    def cards(self) -> tuple[str, ...]:
        """The ids, best first."""
        return tuple(self._ids[int(card)] for card in self._order)

    def _candidate(self, card: int) -> Candidate:
        forecast = self._forecast
        return Candidate(
            card=self._ids[card],
            score=float(self._score[card]),
            quality=float(forecast.quality[card]),
            quality_std=float(forecast.quality_std[card]),
            cost_usd=known(forecast.cost_usd[card]),
            latency_ms=known(forecast.latency_ms[card]),
            parts={name: float(part[card]) for name, part in self._parts.items()},
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
        hidden = next((result.fails for result in results if result.limit is HIDDEN), None)
        self._rejected = rejected if hidden is None else rejected & ~hidden
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
        failed = [] if card is None else [result for result in self._results if result.fails[card]]
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
