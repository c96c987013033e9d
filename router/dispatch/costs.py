"""The one place where usage becomes dollars: what a response is booked with, the rates of its card, and its cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from router.cards.price import Price, Rates
from router.cards.schema import Card
from router.dispatch.providers import base_url
from router.dispatch.response import UpstreamResponse
from router.formats.json import json_bytes, json_or_none
from router.formats.net import is_loopback
from router.formats.quantities import Dollars
from router.types import Api, Usage
from router.wire.usage import (
    answer_tokens,
    answers_asked,
    counted,
    is_absurd,
    output_limit,
    predicted_tokens,
    prompt_tokens,
    remote_media_tokens,
    texts_in,
    tokens_of,
)


class CacheFactors(Struct, frozen=True):
    """The rates of cached input as multiples of the input's, for cards that do not state them."""

    cached: float = 1.0
    write: float = 1.0
    write_1h: float | None = None


_CACHE_FACTORS: Mapping[str, CacheFactors] = {"claude": CacheFactors(cached=0.1, write=1.25, write_1h=2.0)}
"""By a word in the name of the model. Anthropic publishes these for every Claude, wherever it is served."""

_NO_FACTORS = CacheFactors()

ASSUMED_OUTPUT_TOKENS = 500
"""What a call is assumed to use where nothing is forecast."""

_MOST_OUTPUT_TOKENS = 131_072
"""What a model may write at most where its card states neither `max_output` nor `context`."""

_CHARGES_WHAT_IT_REPORTS = frozenset({"openrouter", "perplexity"})
"""Providers that charge exactly what they report with the usage, which depends on the host that they chose."""

_SERVICE_TIERS = frozenset({"batch", "flex", "priority"})
"""Words for how a request was served that have a price of their own on cards. All others mean the usual price."""


_STORED_INPUT = ("previous_response_id", "conversation")
"""Fields that name a part of the prompt which a server has stored."""


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


class Bounds(NamedTuple):
    """What a request may cost in US dollars: on average, as it is reserved, and at most."""

    likely_usd: float
    reserved_usd: float
    worst_usd: float


class Expected(NamedTuple):
    """The tokens that are expected of one answer: those of the prompt, and of the answer on average and in the 95th
    percentile.
    """

    input: int
    output: float
    tail: float


class AnswerLength(NamedTuple):
    """The tokens of one answer: on average, as they are reserved, and at most."""

    likely: int
    tail: int
    most: int


def length_of_answer(card: Card, api: Api, body: Mapping[str, Any], expected: Expected) -> AnswerLength:
    """How long an answer of `card` may be. With a limit from the client, as long as that is reserved."""
    most, limit = card.max_output_tokens or card.context_tokens or _MOST_OUTPUT_TOKENS, output_limit(api, body)
    if limit is not None:
        # Of a card that does not state its limit the client's is believed.
        most = limit if card.max_output_tokens is None else min(limit, most)
    tail = most if limit is not None else min(math.ceil(expected.tail), most)
    return AnswerLength(min(math.ceil(expected.output), most), tail, most)


def bounds_of(card: Card, api: Api, body: Mapping[str, Any], expected: Expected | None) -> Bounds:
    """What an answer of `card` to a request of the protocol `api` may cost; all 0 where no price is known.

    With a limit from the client, the reserved amount is the worst case: each answer as long as the limit, or as the
    card allows. Without one it is the 95th percentile. Nothing is `expected` of answers that are no text.
    """
    price = price_of(card)
    if price is None:
        return Bounds(0.0, 0.0, 0.0)
    prompt = prompt_tokens(body)
    answers = answers_asked(body)
    if expected is None:
        usage = Usage(prompt, answers * ASSUMED_OUTPUT_TOKENS, service_tier=_asked_tier(body))
        cost = cost_usd(price, usage, cache_factors(card))
        return Bounds(cost, cost, cost)
    likely, tail, most = length_of_answer(card, api, body, expected)
    predicted = predicted_tokens(body)
    most_input = max(prompt, expected.input) + remote_media_tokens(body)
    if any(body.get(field) for field in _STORED_INPUT):
        # Only the server knows how long the conversation is.
        most_input = max(most_input, card.context_tokens or _MOST_OUTPUT_TOKENS)

    def dearest(output_tokens: int) -> float:
        return max(cost_usd(price, usage, cache_factors(card)) for usage in _ways(body, most_input, output_tokens))

    usual = Usage(max(prompt, expected.input), answers * likely, service_tier=_asked_tier(body))
    return Bounds(
        cost_usd(price, usual, cache_factors(card)),
        dearest(answers * tail + predicted),
        dearest(answers * most + predicted),
    )


def no_answer(body: Mapping[str, Any], card: Card) -> Bounds:
    """What a request costs of which only the prompt is charged, such as one for embeddings."""
    price = price_of(card)
    cost = 0.0 if price is None else cost_usd(price, Usage(prompt_tokens(body), 0), cache_factors(card))
    return Bounds(cost, cost, cost)


def _ways(body: Mapping[str, Any], input_tokens: int, output_tokens: int) -> Iterator[Usage]:
    """The ways in which a server may charge for as many tokens."""
    usage = Usage(input_tokens, output_tokens, service_tier=_asked_tier(body))
    yield usage
    yield msgspec.structs.replace(usage, cache_write_tokens=input_tokens)
    text = json_bytes(body)
    if b'"1h"' in text:
        yield msgspec.structs.replace(usage, cache_write_tokens=input_tokens, cache_write_1h_tokens=input_tokens)
    if b"audio" in text:
        yield msgspec.structs.replace(usage, audio_input_tokens=input_tokens, audio_output_tokens=output_tokens)


def _asked_tier(body: Mapping[str, Any]) -> str | None:
    tier = body.get("service_tier")
    return tier if isinstance(tier, str) else None


def booked_usage(response: UpstreamResponse, api: Api, body: Mapping[str, Any]) -> Usage | None:
    """The usage of a response to the request `body` of the protocol `api`, as far as it has been delivered.

    What the upstream does not report is estimated from the texts of the request and of the answer. An error has only
    the usage that its upstream reports.
    """
    # The prompt is in the texts of the answer.
    has_echo = api == "completions" and bool(body.get("echo"))
    if not isinstance(response.body, bytes):
        events = response.body
        delivered = events.delivered
        return counted(
            events.usage,
            body,
            # The whole answer of a complete stream has been read.
            delivered.tokens if events.complete else events.arrived_tokens,
            sure_tokens=0 if has_echo else delivered.sure_tokens,
            since_report=delivered.since_report,
            is_whole=events.complete,
        )
    usage = response.usage
    if response.status >= 400:
        return usage
    # Embeddings have no texts, and are long.
    if api == "embeddings":
        return counted(usage, body, 0)
    if usage is None or not usage.output_tokens:
        return counted(usage, body, max(answer_tokens(json_or_none(response.body)), texts_in(response.body).tokens))
    # Most bodies are short enough for their usage, whatever is in them.
    if has_echo or not is_absurd(usage.output_tokens, tokens_of(len(response.body))):
        return counted(usage, body, 0)
    sure_tokens = texts_in(response.body).sure_tokens
    if is_absurd(usage.output_tokens, sure_tokens):
        # What a server's tools found has no part in it.
        sure_tokens = min(sure_tokens, answer_tokens(json_or_none(response.body)))
    return counted(usage, body, sure_tokens)


def lost_usage(body: Mapping[str, Any], delivered_tokens: int) -> Usage:
    """The usage of a call that broke off when this much of its whole answer had arrived."""
    return counted(None, body, delivered_tokens)


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
    return None if price is None else cost_usd(price, usage, cache_factors(card) if _has_kinds(usage) else _NO_FACTORS)


def _has_kinds(usage: Usage) -> bool:
    """Whether the tokens are of more kinds than usual input and output."""
    return bool(
        usage.cached_input_tokens
        or usage.cache_write_tokens
        or usage.cache_write_1h_tokens
        or usage.audio_input_tokens
        or usage.audio_output_tokens
    )


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
    if not _has_kinds(usage):
        # Nearly all calls. To add the kinds of which there are no tokens would change nothing.
        usd = max(usage.input_tokens, 0) * rates.input_usd + max(usage.output_tokens, 0) * rates.output_usd
        return multiple * usd / 1e6
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
