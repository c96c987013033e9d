"""Facts about hosted models from litellm's bundled price map, read without importing litellm.

The map has no parameter counts, licences or cut-off dates, so a card made from it has none either.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from router.errors import ConfigurationError, FileError, UnknownModelError, did_you_mean
from router.formats import units

_FILE = "model_prices_and_context_window_backup.json"
_NOT_INSTALLED = "litellm is not installed: pip install litellm"
_CHAT_MODES = ("chat", "responses")
_MODALITIES = {
    "supports_vision": "image",
    "supports_audio_input": "audio",
    "supports_video_input": "video",
    "supports_pdf_input": "pdf",
}
_CAPABILITIES = {
    "supports_function_calling": "tools",
    "supports_parallel_function_calling": "parallel_tools",
    "supports_response_schema": "json_schema",
    "supports_reasoning": "reasoning",
    "supports_prompt_caching": "prompt_cache",
    "supports_web_search": "web_search",
    "supports_url_context": "web_fetch",
    "supports_computer_use": "computer_use",
    "supports_tool_search": "tool_search",
}
_OUTPUTS = ("text", "image", "audio", "video")
_PRICES = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "output": "output_cost_per_token",
    "audio_input": "input_cost_per_audio_token",
    "audio_output": "output_cost_per_audio_token",
}
# The map states 0 for these where the provider does not charge them apart from other input.
_APART = frozenset({"cache_write", "cache_write_1h", "audio_input", "audio_output"})
_SERVICE_TIERS = {"batch": "_batches", "flex": "_flex", "priority": "_priority"}
_FACTOR_DECIMALS = 3
# The rates of requests whose prompt is longer; those of service tiers have a further suffix.
_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
# The map names a code path of litellm; calls to litellm need the name of the service.
_SERVICES = {"bedrock_converse": "bedrock"}
_SNAPSHOT = re.compile(r"[-@](20\d\d)-?(\d\d)-?(\d\d)(?!\d)")


class _Kind(Struct):
    """The two fields of an entry that identify a chat model and its provider."""

    litellm_provider: str = ""
    mode: str | None = None


def card_facts(name: str) -> dict[str, Any]:
    """What the map states about the chat model `name`, as the keys and values of a card's YAML without `id`.

    `name` is a name of the map (`gpt-4o-mini`, `mistral/mistral-large-4`), or one prefixed with its provider
    (`openai/gpt-4o-mini`). `context` is the map's limit on input tokens. `price` is its base rate with the rates of
    long prompts and of service tiers, without those of times of day. `released` is the date in the name of a snapshot.
    A capability that the map does not mention counts as absent; where it mentions none at all, they are unknown.

    Raises UnknownModelError, with the most similar name, where the map has no such chat model.
    """
    key = _key(name)
    entry: dict[str, Any] = msgspec.json.decode(_entries()[key])
    provider, model = _provider_and_model(key, _providers()[key])
    facts: dict[str, Any] = {"provider": provider, "model": model}
    for fact, field in (("context", "max_input_tokens"), ("max_output", "max_output_tokens")):
        if entry.get(field):
            facts[fact] = _tokens(int(entry[field]))
    if released := snapshot_day(key):
        facts["released"] = released
    facts["modalities"] = ["text", *(word for field, word in _MODALITIES.items() if entry.get(field))]
    if outputs := _outputs(entry):
        facts["outputs"] = outputs
    if any(field in entry for field in _CAPABILITIES):
        facts["capabilities"] = [word for field, word in _CAPABILITIES.items() if entry.get(field)]
    if prices := _prices(entry):
        above = {
            f"{length}k": rates for length in _tiers(entry) if (rates := _prices(entry, f"_above_{length}k_tokens"))
        }
        tiers = {tier: _tier_price(entry, prices, suffix) for tier, suffix in _SERVICE_TIERS.items()}
        more = {"above": above, **tiers}
        facts["price"] = {**prices, **{name: price for name, price in more.items() if price}}
    facts["source"] = f"litellm {version()} bundled map: {key}"
    return facts


def _outputs(entry: Mapping[str, Any]) -> list[str]:
    """The kinds of content that the model produces, as far as the map states them; empty where it does not."""
    stated = entry.get("supported_output_modalities")
    words = [word for word in _OUTPUTS if word in stated] if isinstance(stated, list) else []
    if entry.get("supports_audio_output") and "audio" not in words:
        words = [*(words or ["text"]), "audio"]
    return words


def names() -> tuple[str, ...]:
    """Every chat model of the map, in the order of the map."""
    return tuple(_providers())


@functools.cache
def entry_names() -> Mapping[tuple[str, str], str]:
    """The name in the map of each chat model, by the provider and the model that its card states."""
    return {_provider_and_model(key, provider): key for key, provider in _providers().items()}


@functools.cache
def version() -> str:
    """The installed version of litellm."""
    # Imported here, since it imports much.
    from importlib import metadata

    try:
        return metadata.version("litellm")
    except metadata.PackageNotFoundError:
        raise ConfigurationError(_NOT_INSTALLED) from None


def _key(name: str) -> str:
    providers = _providers()
    if name in providers:
        return name
    provider, _, rest = name.partition("/")
    if providers.get(rest) == provider:
        return rest
    if name in _entries():
        raise UnknownModelError(f'litellm\'s price map lists "{name}", but not as a chat model')
    raise UnknownModelError(f'litellm\'s price map has no chat model "{name}"{did_you_mean(name, providers)}')


def package_folder() -> Path | None:
    """The folder of the litellm package, without importing it; None where it is not installed."""
    spec = importlib.util.find_spec("litellm")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


@functools.cache
def _entries() -> Mapping[str, msgspec.Raw]:
    folder = package_folder()
    if folder is None:
        raise ConfigurationError(_NOT_INSTALLED)
    file = folder / _FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, msgspec.Raw])
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise FileError(str(file), None, f"is not litellm's price map: {error}") from None


@functools.cache
def _providers() -> Mapping[str, str]:
    """The provider of each chat model."""
    entries = ((key, msgspec.json.decode(raw, type=_Kind)) for key, raw in _entries().items())
    return {key: entry.litellm_provider for key, entry in entries if entry.mode in _CHAT_MODES}


def _provider_and_model(key: str, provider: str) -> tuple[str, str]:
    """Turn `vertex_ai-anthropic_models` and `vertex_ai/claude-haiku-4-5` into `vertex_ai` and `claude-haiku-4-5`."""
    service = "vertex_ai" if provider.startswith("vertex_ai-") else _SERVICES.get(provider, provider)
    prefix, _, rest = key.partition("/")
    # The models of amazon_nova have the prefix amazon-nova/.
    return service, rest if rest and prefix.replace("-", "_") == service.replace("-", "_") else key


def _prices(entry: Mapping[str, Any], suffix: str = "") -> dict[str, Any]:
    """The prices of the fields that end in `suffix`; empty where input or output has none."""
    prices = {
        fact: _dollars(entry[name])
        for fact, field in _PRICES.items()
        if entry.get(name := field + suffix) is not None and (entry[name] or fact not in _APART)
    }
    return prices if {"input", "output"} <= prices.keys() else {}


def _tier_price(entry: Mapping[str, Any], usual: Mapping[str, str], suffix: str) -> dict[str, Any] | float | None:
    """The price of a service tier: a factor where all its rates are the same multiple of the usual ones."""
    prices = _prices(entry, suffix)
    if not prices:
        return None
    ratios = [
        Decimal(price[:-1]) / Decimal(usual[name][:-1])
        for name, price in prices.items()
        if name in usual and Decimal(usual[name][:-1])
    ]
    factor = round(ratios[0], _FACTOR_DECIMALS) if ratios else None
    # Rates that the map does not state for the tier follow the others.
    if factor and all(ratio == factor for ratio in ratios) and usual.keys() - prices.keys() <= _APART:
        return float(factor)
    return prices


def _tiers(entry: Mapping[str, Any]) -> list[int]:
    """The prompt lengths, in thousands of tokens, above which other rates apply, shortest first."""
    return sorted(int(match[1]) for field in entry if (match := _ABOVE.fullmatch(field)))


def _tokens(count: int) -> str | int:
    # Only whole thousands are abbreviated, so that the fact stays exact and readable.
    return units.show_tokens(count) if count % 1000 == 0 else count


def _dollars(per_token: float) -> str:
    """Convert dollars per token to dollars per million tokens, without binary rounding noise."""
    per_million = round(Decimal(repr(per_token)) * 1_000_000, 9).normalize()
    return f"{per_million:f}$"


def snapshot_day(name: str) -> str | None:
    """The date in the name of a snapshot (`gpt-5.5-2026-04-23`), as YYYY-MM-DD; None where there is none."""
    match = _SNAPSHOT.search(name)
    if match is None:
        return None
    day = "-".join(match.groups())
    try:
        return units.date(day).isoformat()
    except ValueError:
        return None
