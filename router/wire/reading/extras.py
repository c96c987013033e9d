"""What a request asks for beyond an answer of the card: the provider's tools, other models, a faster service."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from router.wire.reading.needs import needs_of

EXTRAS: Mapping[str, str] = {
    "background": "answers that go on without their client (`background`)",
    "beta_features": "previews (the header `openai-beta`)",
    "code_interpreter": "code that the provider runs",
    "computer_use": "a computer as a tool",
    "file_search": "search in files that the provider stores",
    "image_generation": "image generation as a tool",
    "inference_geo": "a region at a price of its own (`inference_geo`)",
    "mcp": "MCP servers that the provider calls",
    "other_tools": "further tools that run at the provider (`data_sources`, `connectors`, `advisor` …)",
    "provider_ids": "ids that another key made, or that were made outside of the gateway",
    "service_tier": "a faster service at a higher price (`service_tier`, `speed`)",
    "upstream_routing": "other models or providers than the card's (`models`, `provider`, `plugins` …)",
    "web_fetch": "pages of the web that the provider fetches",
    "web_search": "web search by the provider",
}
"""Everything that `allow` of a key may contain, in words."""

_TOOLS = frozenset(
    {"code_interpreter", "computer_use", "file_search", "image_generation", "mcp", "web_fetch", "web_search"}
)
_ROUTING = (
    "agent_id",
    "compound_custom",
    "fallback_models",
    "fallbacks",
    "models",
    "plugins",
    "preset",
    "provider",
    "providers",
    "provider_options",
    "providerOptions",
    "transforms",
)
"""Fields with other models, agents or hosts than the card's: OpenRouter's, Mistral's, Groq's, Vercel's."""

_DATA = ("connectors", "data_sources", "search_settings")
"""Fields by which Cohere, Azure and Groq search for the model, as a tool does."""

_FURTHER_TOOLS = re.compile(r"(?i)(?:advisor|wolfram_alpha|browser_automation)(?:_.*)?")
"""Types of tools that run at the provider, or call another model, and have no name of their own in `allow`."""

_HOSTED = "container"
_USUAL_GEOS = (None, "", "global", "not_available")
_TIERS: Mapping[str, Collection[Any]] = {
    "service_tier": (None, "auto", "batch", "default", "flex", "standard", "standard_only"),
    "speed": (None, "standard", "slow"),
}
"""Fields that choose how fast the provider serves, with the values that cost no more than the card says."""


def extras_in(body: Mapping[str, Any]) -> Iterator[str]:
    """The extras that a body of any protocol asks for, without those that `without_tiers` leaves out."""
    if body.get("background") not in (None, False):
        yield "background"
    # A prompt that the provider stores brings its own model and tools.
    if any(body.get(name) for name in _ROUTING) or isinstance(body.get("prompt"), dict):
        yield "upstream_routing"
    # A region is never left out: it is where the client wants its data to stay.
    if not _is_one_of(body.get("inference_geo"), _USUAL_GEOS):
        yield "inference_geo"
    if any(body.get(name) for name in _DATA) or any(map(_is_further, _tools_in(body))):
        yield "other_tools"
    asked = set(needs_of(body) & _TOOLS)
    if any(map(_is_hosted_shell, _tools_in(body))):
        asked.add("code_interpreter")
    yield from sorted(asked)


def without_tiers(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The body without a dearer service, and the names of the fields that were left out. Where there are none, the body
    itself.
    """
    left_out = tuple(name for name, cheap in _TIERS.items() if name in body and not _is_one_of(body[name], cheap))
    if not left_out:
        return body, ()
    return {name: value for name, value in body.items() if name not in left_out}, left_out


def without_tools(body: Mapping[str, Any], extras: Collection[str]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The body without built-in tools of these extras where other tools remain and none is required: agents always
    offer some. Otherwise the body itself.
    """
    tools = body.get("tools")
    if not isinstance(tools, list) or body.get("tool_choice") not in (None, "auto", {"type": "auto"}):
        return body, ()
    denied = set(extras)
    kept = [tool for tool in tools if not denied.intersection(extras_in({"tools": [tool]}))]
    if not kept or len(kept) == len(tools):
        return body, ()
    return {**body, "tools": kept}, ("tools",)


def _tools_in(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    tools = body.get("tools")
    return (tool for tool in tools if isinstance(tool, Mapping)) if isinstance(tools, list) else iter(())


def _is_further(tool: Mapping[str, Any]) -> bool:
    kind = tool.get("type")
    return isinstance(kind, str) and _FURTHER_TOOLS.fullmatch(kind) is not None


def _is_hosted_shell(tool: Mapping[str, Any]) -> bool:
    """Whether it is a shell in a container of the provider's; others run where the client is."""
    environment = tool.get("environment")
    kind = environment.get("type") if isinstance(environment, Mapping) else None
    return isinstance(kind, str) and kind.startswith(_HOSTED)


def _is_one_of(value: Any, words: Collection[Any]) -> bool:
    if isinstance(value, dict | list):
        return False
    return (value.lower() if isinstance(value, str) else value) in words
