"""Token usage in the responses of any protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.types import Usage


def usage_in(message: Mapping[str, Any], earlier: Usage | None = None) -> Usage | None:
    """The usage in a response or a stream event of any protocol; `earlier` is that of the events before."""
    for holder in (message, message.get("response"), message.get("message")):
        usage = holder.get("usage") if isinstance(holder, Mapping) else None
        if isinstance(usage, Mapping) and usage:
            return read_usage(usage, earlier)
    return earlier


def read_usage(usage: Mapping[str, Any], earlier: Usage | None = None) -> Usage:
    """The usage in a `usage` object. Counts that it omits are taken from `earlier`.

    OpenAI's input tokens include cached tokens; Anthropic's exclude cache reads and writes. litellm adds Anthropic's
    fields to usage in OpenAI's format. DeepSeek reports cached tokens as `prompt_cache_hit_tokens`.
    """
    earlier = earlier or Usage(0, 0)
    output = _count(usage, "completion_tokens", "output_tokens") or earlier.output_tokens
    has_cache_fields = usage.get("cache_read_input_tokens") is not None or "cache_creation_input_tokens" in usage
    if has_cache_fields and "prompt_tokens" not in usage:
        read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
        input_tokens = _count(usage, "input_tokens") + read + written
        return Usage(input_tokens or earlier.input_tokens, output, read, written)
    input_details = _details(usage, "prompt_tokens_details", "input_tokens_details")
    output_details = _details(usage, "completion_tokens_details", "output_tokens_details")
    input_tokens = _count(usage, "prompt_tokens", "input_tokens") or earlier.input_tokens
    cached = _count(input_details or {}, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens")
    if input_details is None and not cached:
        cached = earlier.cached_input_tokens
    cached = min(cached, input_tokens)
    written = _count(input_details or {}, "cache_write_tokens")
    if input_details is None:
        written = earlier.cache_write_tokens
    return Usage(
        input_tokens,
        output,
        cached,
        min(written, input_tokens - cached),
        _count(output_details or {}, "reasoning_tokens") or earlier.reasoning_tokens,
    )


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any] | None:
    return next((usage[name] for name in names if isinstance(usage.get(name), Mapping) and usage[name]), None)


def _count(usage: Mapping[str, Any], *names: str) -> int:
    """The first of these fields that is set; 0 where it is not a positive whole number."""
    value = next((usage[name] for name in names if usage.get(name) is not None), None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
