"""Prices and dates of hosted models from litellm's price map, by `model_key`; empty where litellm is not installed."""

from __future__ import annotations

import datetime

from router.cards.price import Price
from router.cards.sources.litellm_map import card_facts, names, snapshot_day
from router.errors import ConfigurationError
from router.formats.quantities import Dollars
from router.learn.data.leaderboards import model_key

_FIRST_PARTY = (
    "openai",
    "anthropic",
    "gemini",
    "xai",
    "deepseek",
    "mistral",
    "dashscope",
    "moonshot",
    "minimax",
    "zai",
)


def listed_models() -> tuple[str, ...]:
    """The models in litellm's price map."""
    try:
        return names()
    except ConfigurationError:
        return ()


def listed_prices() -> dict[str, Price]:
    """The prices by model, the vendor's own before those of other providers."""
    prices: dict[str, Price] = {}
    ranked: dict[str, int] = {}
    for name in listed_models():
        facts, model = card_facts(name), model_key(name)[0]
        rank = _FIRST_PARTY.index(facts["provider"]) if facts["provider"] in _FIRST_PARTY else len(_FIRST_PARTY)
        if "price" in facts and rank < ranked.get(model, len(_FIRST_PARTY) + 1):
            ranked[model] = rank
            usd = (Dollars(facts["price"][key].rstrip("$")) for key in ("input", "output"))
            prices[model] = Price(next(usd), next(usd))
    return prices


def snapshot_dates() -> dict[str, datetime.date]:
    """The dates in the names of snapshots, by model, the earliest."""
    dates: dict[str, datetime.date] = {}
    for day, name in sorted((day, name) for name in listed_models() if (day := snapshot_day(name))):
        dates.setdefault(model_key(name)[0], datetime.date.fromisoformat(day))
    return dates
