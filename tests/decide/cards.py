"""Small cards, forecasts and decisions for the tests of deciding."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st

from router.cards import Card, Catalog
from router.decide.engine import RequestContext, decide
from router.decide.flags import Flags, parse_flags
from router.decide.plans.catalog import NO_PLANS, Plans
from router.decide.plans.rows import Outlooks
from router.decide.policy import Policy
from router.decide.ranking import Ranking, Rejections
from router.formats.quantities import read_quantity
from router.types import UNKNOWN_DEPENDENCE, Decision, Features, Forecast

TODAY = datetime.date(2026, 1, 1)
PLAIN = Policy(id="plain", description="no limits, no goals")


def card(name: str, **facts: Any) -> Card:
    """A card as read from YAML."""
    plain = {"id": name, "provider": "openai", "model": name, "context": "128k", **facts}
    return msgspec.convert(
        {key: value for key, value in plain.items() if value is not None}, Card, dec_hook=read_quantity
    )


def forecast(
    quality: Sequence[float],
    *,
    cost_usd: Sequence[float] | None = None,
    latency_ms: Sequence[float] | None = None,
    ttft_ms: Sequence[float] | None = None,
    output_tokens: Sequence[float] | None = None,
    written_tokens: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    mean_quality: Sequence[float] | None = None,
    novelty: float = 0.0,
) -> Forecast:
    """A forecast with these columns; the others are the same for every card, but the mean quality is the quality."""

    def column(values: Sequence[float] | None, default: float) -> Any:
        return np.array([default] * len(quality) if values is None else values, dtype=np.float64)

    return Forecast(
        quality=column(quality, 0.5),
        quality_std=column(std, 0.1),
        independent_std=column(std, 0.1),
        mean_quality=column(quality if mean_quality is None else mean_quality, 0.5),
        output_tokens=column(output_tokens, 100.0),
        written_tokens=column(output_tokens if written_tokens is None else written_tokens, 100.0),
        cost_usd=column(cost_usd, 0.001),
        ttft_ms=column(ttft_ms, 200.0),
        latency_ms=column(latency_ms, 1000.0),
        novelty=novelty,
    )


def features(
    *,
    tokens: int = 10,
    modalities: Sequence[str] = ("text",),
    needs: Sequence[str] = (),
    output: int | None = None,
    dependence: float = UNKNOWN_DEPENDENCE,
) -> Features:
    """The features of a request."""
    vector = np.zeros(1, dtype=np.float32)
    return Features(vector, tokens, frozenset(modalities), frozenset(needs), output, dependence=dependence)


def choose(
    cards: Sequence[Card],
    expected: Forecast | Sequence[float] | None = None,
    flags: str | Flags = "",
    *,
    policy: Policy = PLAIN,
    seen: Features | None = None,
    unavailable: Mapping[str, str] | None = None,
    kept: str | None = None,
    plans: Plans = NO_PLANS,
    plan: str | None = None,
    load: Mapping[str, float] | None = None,
) -> Decision:
    """The decision between `cards` and the policy's plans; the forecast is in the order of the cards' ids."""
    expected = [0.5] * len(cards) if expected is None else expected
    return decide(
        Catalog(cards),
        features() if seen is None else seen,
        expected if isinstance(expected, Forecast) else forecast(expected),
        policy,
        parse_flags(flags) if isinstance(flags, str) else flags,
        "artifact",
        RequestContext(unavailable or {}, TODAY, kept, plan, load or {}),
        plans,
    )


def as_json(decision: Decision) -> bytes:
    """The whole decision as JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, Ranking):
            return tuple(value)
        if isinstance(value, Rejections | Outlooks):
            return dict(value)
        raise NotImplementedError(type(value))

    return msgspec.json.encode(decision, enc_hook=plain)


def _pool() -> tuple[Card, ...]:
    """Thirty cards of many shapes, many facts unknown. Made once: drawing facts one by one is slow."""
    facts: Mapping[str, tuple[Any, ...]] = {
        # Lengths without a common factor, so that facts do not go together.
        "size": ("7B", None, "1B", "70B", "3B", None, "8B", "405B"),
        "context": ("128k", "4k", None, "32k", "1M"),
        "released": ("2023-07", None, "2025-11-30", "2024-05-13", "2025-01", "2025-01", None),
        "price": (None, {"input": "0$", "output": "0$"}, {"input": "1$", "output": "4$"}),
        "privacy": ("public", "local", None, "private", "public"),
        "license": ("mit", None, "apache-2.0", "mit"),
        "tags": ([], ["beta"], ["code", "eu"], ["eu"], [], ["beta", "code"], ["code"], [], ["eu"]),
    }
    return tuple(
        card(f"card-{number:02}", **{name: values[number % len(values)] for name, values in facts.items()})
        for number in range(30)
    )


POOL = _pool()
_AMOUNTS = (0.0, 0.001, 0.002, 0.01, 0.5, 20.0, float("nan"))
_outlooks = st.tuples(
    st.integers(0, 20).map(lambda twentieths: twentieths / 20),
    st.sampled_from(_AMOUNTS),
    st.sampled_from(_AMOUNTS),
    st.sampled_from((1.0, 50.0, 800.0)),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Card], Forecast]:
    """Up to eight cards, and a forecast for them with ties and unknowns."""
    drawn = draw(
        st.lists(
            st.tuples(st.sampled_from(POOL), _outlooks),
            min_size=1,
            max_size=8,
            unique_by=lambda pair: pair[0].id,
        )
    )
    quality, cost, latency, tokens = zip(*(outlook for _, outlook in drawn), strict=True)
    expected = forecast(
        quality,
        cost_usd=cost,
        latency_ms=[value * 1e3 for value in latency],
        ttft_ms=[value * 1e2 for value in latency],
        output_tokens=tokens,
    )
    return [drawn_card for drawn_card, _ in drawn], expected


WORD_FLAGS = (
    "!beta",
    "tag=code",
    "license=mit",
    "license!=mit",
    "privacy!=public",
    "privacy=local",
    "tag!=eu",
)
BOUNDS: Mapping[str, tuple[str, ...]] = {
    # From loose to tight, each with the operator that bounds it from above or below.
    "size<": ("500B", "71B", "8B", "7B", "2B"),
    "size>=": ("1B", "3B", "8B", "70B"),
    "context>=": ("1k", "32k", "128k", "1M"),
    "cost<=": ("100$", "0.5$", "0.002$", "0.0015$", "0$"),
    "latency<": ("60s", "5s", "15ms", "1ms"),
    "ttft<=": ("60s", "1s", "1ms"),
    "price<": ("10$", "4$", "1$"),
    "released>": ("2020", "2024", "2025", "2026"),
    "age<=": ("10y", "2y", "6mo", "1d"),
    "quality>=": ("0.1", "0.5", "0.51", "0.9"),
}
limit_texts = st.one_of(
    st.sampled_from(WORD_FLAGS),
    st.sampled_from([f"{bound}{value}" for bound, values in BOUNDS.items() for value in values]),
)
"""One limit that is valid alone; two of them may contradict each other."""
