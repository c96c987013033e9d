"""The one place where usage becomes dollars: what a response is booked with, the rates of its card, and its cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from router.cards.schema import Card, Price, Rates
from router.dispatch.providers import base_url
from router.dispatch.response import UpstreamResponse
from router.formats.json import json_or_none
from router.formats.net import is_loopback
from router.formats.quantities import Dollars
from router.types import Api, Usage
from router.wire.usage import answer_tokens, counted, tokens_of


class CacheFactors(Struct, frozen=True):
    """The rates of cached input as multiples of the input's, for cards that do not state them."""

    cached: float = 1.0
    write: float = 1.0
    write_1h: float | None = None


_CACHE_FACTORS: Mapping[str, CacheFactors] = {"claude": CacheFactors(cached=0.1, write=1.25, write_1h=2.0)}
"""By a word in the name of the model. Anthropic publishes these for every Claude, wherever it is served."""

_NO_FACTORS = CacheFactors()

_CHARGES_WHAT_IT_REPORTS = frozenset({"openrouter"})
"""Providers that charge exactly what they report with the usage, which depends on the host that they chose."""

_SERVICE_TIERS = frozenset({"batch", "flex", "priority"})
"""Words for how a request was served that have a price of their own on cards. All others mean the usual price."""


class Tokens(NamedTuple):
    """The tokens of a call by their rate; no token is in two of them."""

    input: int
    cached_input: int
    cache_write: int
    cache_write_1h: int
    audio_input: int
    output: int
    audio_output: int


class TokenRates(NamedTuple):
    """US dollars per million tokens, for the fields of `Tokens` in their order."""

    input: float
    cached_input: float
    cache_write: float
    cache_write_1h: float
    audio_input: float
    output: float
    audio_output: float


def booked_usage(response: UpstreamResponse, api: Api, body: Mapping[str, Any]) -> Usage | None:
    """The usage of a response to the request `body` of the protocol `api`, as far as it has been delivered.

    What the upstream does not report is estimated from the texts of the request and of the answer. An error has only
    the usage that its upstream reports.
    """
    if not isinstance(response.body, bytes):
        events = response.body
        return counted(events.usage, body, tokens_of(events.delivered_bytes), is_whole=events.complete)
    usage = response.usage
    if response.status >= 400:
        return usage
    is_reported = usage is not None and usage.output_tokens > 0
    # Embeddings have no texts, and are long.
    delivered = 0 if is_reported or api == "embeddings" else answer_tokens(json_or_none(response.body))
    return counted(usage, body, delivered)


def price_of(card: Card) -> Price | None:
    """The price of the card's tokens: zero for a model on this machine, None where the price is unknown."""
    if card.price is None and (card.privacy == "local" or is_loopback(base_url(card))):
        return Price(Dollars(0), Dollars(0))
    return card.price


def cost_of(card: Card, usage: Usage) -> float | None:
    """The cost of a call of `card` in US dollars: at the card's price, else what the upstream reports.

    None where neither is known.
    """
    price = price_of(card)
    if usage.reported_cost_usd is not None and (price is None or card.provider in _CHARGES_WHAT_IT_REPORTS):
        return usage.reported_cost_usd
    return None if price is None else cost_usd(price, usage, cache_factors(card))


def cost_usd(price: Price, usage: Usage, factors: CacheFactors = _NO_FACTORS) -> float:
    """The cost of a call. The service tier and the length of the prompt choose the rates.

    What the price does not state apart is charged as the input or the output that it is a part of, cached input
    multiplied by `factors`.
    """
    stated = getattr(price, usage.service_tier) if usage.service_tier in _SERVICE_TIERS else None
    if isinstance(stated, Rates):
        rates, multiple = stated, 1.0
    else:
        rates, multiple = price.rates_at(usage.input_tokens), 1.0 if stated is None else stated
    charged = zip(tokens_by_rate(usage), token_rates(rates, factors), strict=True)
    return multiple * sum(tokens * rate for tokens, rate in charged) / 1e6


def cache_factors(card: Card) -> CacheFactors:
    """The usual factors of the card's model."""
    model = card.model.lower()
    return next((factors for word, factors in _CACHE_FACTORS.items() if word in model), _NO_FACTORS)


def token_rates(rates: Rates, factors: CacheFactors = _NO_FACTORS) -> TokenRates:
    """The rates of all kinds of tokens."""

    def rate(stated: float | None, otherwise: float) -> float:
        return otherwise if stated is None else stated

    write = rate(rates.cache_write_usd, rates.input_usd * factors.write)
    is_usual = factors.write_1h is not None
    return TokenRates(
        input=rates.input_usd,
        cached_input=rate(rates.cached_input_usd, rates.input_usd * factors.cached),
        cache_write=write,
        cache_write_1h=rate(rates.cache_write_1h_usd, rates.input_usd * (factors.write_1h or 0) if is_usual else write),
        audio_input=rate(rates.audio_input_usd, rates.input_usd),
        output=rates.output_usd,
        audio_output=rate(rates.audio_output_usd, rates.output_usd),
    )


def tokens_by_rate(usage: Usage) -> Tokens:
    """The tokens of a call by their rate. No count is negative, and together they are input and output."""
    long = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
    short = usage.cache_write_tokens - long
    parts: list[int] = []
    left = max(usage.input_tokens, 0)
    for part in (usage.cached_input_tokens, short, long, usage.audio_input_tokens):
        parts.append(min(max(part, 0), left))
        left -= parts[-1]
    cached, written, written_1h, audio = parts
    output = max(usage.output_tokens, 0)
    audio_output = min(max(usage.audio_output_tokens, 0), output)
    return Tokens(left, cached, written, written_1h, audio, output - audio_output, audio_output)
