"""The frozen values that travel the path of a prompt: request, features, forecast, decision, outcome.

Forecasts and decisions are columnar: one array entry a card, in the catalogue's order. `Ranking` and `Rejections` show
them as ordinary sequences and mappings, and make an entry only when it is looked at, so that ten thousand cards cost
no ten thousand objects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]


Api = Literal["chat", "completions", "embeddings", "responses", "messages"]
"""The wire protocols that clients and upstreams speak."""


class Features(Struct, frozen=True, eq=False):
    """What was observed about a request. `vector` is float32 of shape `(width,)`: embedding, then surface features."""

    vector: Floats
    input_tokens: int
    modalities: frozenset[str]
    needs: frozenset[str]
    output_limit: int | None = None


GREATEST_STD = 0.5
"""No quantity in [0, 1] has a greater standard deviation (Popoviciu)."""


class Forecast(Struct, frozen=True, eq=False):
    """What is expected of each card, float64 of shape `(cards,)`; NaN where nothing is known.

    `quality_std` is the standard deviation of `quality`; `independent_std` the part of it that is not shared between
    cards, so that the difference of two cards has the variance `independent_std² + independent_std²`.
    `mean_quality` is the quality expected on an average prompt. `novelty` is the share of training prompts
    that are less unlike the training data than this prompt: 0.99 is stranger than 99 in 100.
    """

    quality: Doubles
    quality_std: Doubles
    independent_std: Doubles
    mean_quality: Doubles
    output_tokens: Doubles
    cost_usd: Doubles
    ttft_ms: Doubles
    latency_ms: Doubles
    novelty: float = 0.0


class Candidate(Struct, frozen=True):
    """A card that passed every limit. `score` is the sum of `parts`; lower is better."""

    card: str
    score: float
    quality: float
    quality_std: float
    cost_usd: float | None
    latency_ms: float | None
    parts: dict[str, float]


class Rejection(Struct, frozen=True, omit_defaults=True):
    """Why a card is no candidate: the first limit it fails, the reason with both numbers, further limits it fails."""

    limit: str
    reason: str
    also: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """What to call: one card, then, should it fail, the next best."""

    card: str
    fallbacks: tuple[str, ...] = ()
    kind: Literal["single"] = "single"


class Ranking(Sequence[Candidate]):
    """The candidates, best first, made when looked at."""

    def __init__(
        self,
        ids: Sequence[str],
        order: Indices,
        score: Doubles,
        parts: Mapping[str, Doubles],
        forecast: Forecast,
    ) -> None:
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
        )


class Guard(Struct, frozen=True, omit_defaults=True):
    """Whether the decision could leave the default card for the best one, and why.

    `off`: the policy has no guard, and the best card answers. `same`: the default card is the best. `held`: the default
    card answers. `released`: the best card answers. `advantage` is how much lower, so better, the best card's score is;
    `advantage_std` its standard deviation; `confidence` the probability that it is truly above zero.
    """

    state: Literal["off", "same", "held", "released"]
    reason: str = ""
    default: str | None = None
    best: str | None = None
    advantage: float | None = None
    advantage_std: float | None = None
    confidence: float | None = None
    confidence_needed: float | None = None
    novelty: float | None = None
    novelty_allowed: float | None = None


NO_GUARD = Guard("off")


class Decision(Struct, frozen=True):
    """The choice and everything that explains it. `candidates` begins with the chosen card."""

    plan: Plan
    candidates: Sequence[Candidate]
    rejections: Mapping[str, Rejection]
    policy: str
    artifact: str
    flags: str = ""
    binding: tuple[str, ...] = ()
    relaxed: tuple[str, ...] = ()
    guard: Guard = NO_GUARD

    @property
    def card(self) -> str:
        """The chosen card's id."""
        return self.plan.card

    def document(self) -> dict[str, Any]:
        """The decision as JSON shows it, with every candidate and rejection made."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return {"card": self.card, **fields, "candidates": list(self.candidates), "rejections": dict(self.rejections)}


class Usage(Struct, frozen=True, omit_defaults=True):
    """The tokens that an upstream counted. `cached_input_tokens` is the part of the input read from a prompt cache."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens


class Attempt(Struct, frozen=True, omit_defaults=True):
    """One call to one deployment. `status` is the HTTP status, None where no answer came; `fault` says what was wrong
    with it, None where nothing was.
    """

    card: str
    deployment: str
    status: int | None
    elapsed_ms: float
    fault: str | None = None


class Outcome(Struct, frozen=True, omit_defaults=True):
    """What happened to a request.

    `status` is what the client got, 499 where it left first. `card` served it; `attempts` are in order. `ttft_ms` is
    the time to the first content, `total_ms` to the last byte, `overhead_ms` what the gateway itself took before it
    first called an upstream. `error` is the code of the error that the client got.
    """

    status: int
    total_ms: float
    card: str | None = None
    attempts: tuple[Attempt, ...] = ()
    usage: Usage | None = None
    cost_usd: float | None = None
    ttft_ms: float | None = None
    overhead_ms: float = 0.0
    error: str | None = None

    @property
    def retries(self) -> int:
        """How many calls came before the last."""
        return max(len(self.attempts) - 1, 0)


def known(value: float) -> float | None:
    """`value` as a float, or None where it is NaN."""
    return None if math.isnan(value) else float(value)
