"""What an adapter shares with its base model: the facts that its card takes from its base's card where it is silent.

A LoRA adapter is a few more weights on the same model, so what belongs to the model is the same: size, context, family,
licence, languages, tool use. A price belongs to the provider; address, key, latency, privacy and region belong to the
server. They are inherited only where that is the same: an adapter on somebody else's server must not count as
local because its base is. What only measurements or people can say is never inherited: release date, benchmarks, tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from router.cards.abilities import Capability
from router.cards.schema import Card

_OF_THE_MODEL = (
    "family",
    "size",
    "context_tokens",
    "max_output_tokens",
    "license",
    "weights",
    "languages",
    "knowledge_cutoff",
    "arch",
)
_UNSTATED: tuple[Any, ...] = (None, (), {})
_OF_THE_PROVIDER = ("price",)
_OF_THE_SERVER = (
    "base_url",
    "api_key_env",
    "headers",
    "proxy",
    "ca_bundle",
    "http2",
    "apis",
    "dialect",
    "latency",
    "privacy",
    "region",
    "hardware",
    "profile",
    "lora_slots",
    "adapters",
)
_CAPABILITIES_OF_THE_MODEL: frozenset[Capability] = frozenset(
    {"tools", "parallel_tools", "strict_tools", "custom_tools", "reasoning"}
)


def inherited(adapter: Card, base: Card) -> Mapping[str, Any]:
    """The values that `adapter` takes from `base`, by the names of `Card`'s fields: facts that only `base` states.

    `price` needs the same provider on both cards; what belongs to the server needs the same server. An adapter without
    an address runs on its base's server if it has the same provider.
    """
    names: tuple[str, ...] = _OF_THE_MODEL
    same_server = False
    if adapter.provider == base.provider:
        same_server = _on_the_same_server(adapter, base)
        names += _OF_THE_PROVIDER + (_OF_THE_SERVER if same_server else ())
    values = _only_on(base, adapter, names)
    if same_server and base.deployments and not _addresses(adapter):
        values["deployments"] = base.deployments
    if adapter.capabilities is None and base.capabilities is not None:
        of_the_model = tuple(word for word in base.capabilities if word in _CAPABILITIES_OF_THE_MODEL)
        values["capabilities"] = base.capabilities if same_server else of_the_model
    if "reasoning" in values.get("capabilities", adapter.capabilities or ()):
        values |= _only_on(base, adapter, ("thinking_tokens",))
    return values


def with_inherited(adapter: Card, base: Card) -> Card:
    """`adapter` with the facts that it inherits."""
    return msgspec.structs.replace(adapter, **inherited(adapter, base))


def _only_on(base: Card, adapter: Card, names: Sequence[str]) -> dict[str, Any]:
    unstated = [name for name in names if getattr(adapter, name) in _UNSTATED]
    return {name: value for name in unstated if (value := getattr(base, name)) not in _UNSTATED}


def _on_the_same_server(adapter: Card, base: Card) -> bool:
    """Whether one server has both cards of one provider."""
    if addresses := _addresses(adapter):
        return addresses <= _addresses(base)
    # A key or limits of its own cannot be combined with the base's several servers.
    return not (base.deployments and (adapter.api_key_env or adapter.rate_limits))


def _addresses(card: Card) -> frozenset[str]:
    urls = [card.base_url] if card.base_url else [place.base_url for place in card.deployments]
    return frozenset(url.rstrip("/") for url in urls)
