"""The dialects of models: what differs from the dialect of their server, by the model's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.wire.effort import BUDGET_MODEL, THINKING_OFF

_ANYWHERE: frozenset[str] = frozenset()
# Servers at which OpenAI's models keep OpenAI's rules.
_OPENAI = frozenset({"azure", "litellm", "openai", "openai_compatible"})
_OPEN_SERVERS = frozenset({"cerebras", "fireworks", "groq", "ollama", "openrouter", "sglang", "together", "vllm"})
_LITELLM_CLAUDE = frozenset({"anthropic", "bedrock", "gemini", "litellm"})
_NOT_SAMPLED = frozenset({"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"})


class Model(Struct, frozen=True):
    """The models whose name contains `pattern` (in lower case), at these servers, or at all where there are none.

    `changes` are fields of `Dialect`: sets and mappings are added to the server's, other values replace them.
    """

    pattern: re.Pattern[str]
    changes: Mapping[str, Any]
    servers: frozenset[str] = _ANYWHERE


def _named(pattern: str) -> re.Pattern[str]:
    """A name that begins with the pattern, after a vendor's prefix such as `openai/`."""
    return re.compile(rf"(?:^|[/.:]){pattern}")


MODELS: tuple[Model, ...] = (
    Model(
        _named(r"(?:gpt-?[5-9]|o[1-9])(?![0-9b])"),
        {"output_limit": "max_completion_tokens", "developer": True},
        _OPENAI,
    ),
    # The chat variants of GPT-5 do not reason, but have the same limits. From GPT-5.1 on, the rest depends on the
    # reasoning effort, so the server decides.
    Model(
        _named(r"(?:gpt-?5(?!\.\d)|o[1-9])(?![0-9b])"),
        {"rejects": _NOT_SAMPLED, "only": {"temperature": (1,), "top_p": (1,)}},
        _OPENAI,
    ),
    Model(_named(r"(?:gpt-?5(?!\.\d)(?!.*chat)|o[3-9])(?![0-9b])"), {"rejects": frozenset({"stop"})}, _OPENAI),
    # Their thinking cannot be turned off.
    Model(_named(r"o[1-9](?![0-9b])"), {"least_effort": "low"}, _OPENAI),
    Model(_named(r"gpt-?5(?!\.\d)(?![0-9b])"), {"least_effort": "minimal"}, _OPENAI),
    Model(_named(r"(?:gpt-?[5-9](?![0-9b]).*(?:chat|codex|pro)|o1-(?:mini|preview))"), {"least_effort": ""}, _OPENAI),
    Model(re.compile(r"gpt-oss"), {"least_effort": "low"}, _OPEN_SERVERS),
    # These knew no system messages, tools in parallel or developer messages.
    Model(_named(r"o1-(?:mini|preview)"), {"rejects": frozenset({"parallel_tool_calls", "tools"})}, _OPENAI),
    Model(_named(r"gpt-(?:3|4)"), {"rejects": frozenset({"reasoning_effort"})}, frozenset({"openai", "azure"})),
    Model(
        re.compile(r"claude-"),
        {"signs_thinking": True, "system_alone": False, "bounds": {"temperature": (0, 1)}},
        _LITELLM_CLAUDE,
    ),
    Model(BUDGET_MODEL, {"thinking_budgets": True}, _LITELLM_CLAUDE),
    # Has levels too, which litellm converts to a budget.
    Model(re.compile(r"claude-opus-4[-.]5"), {"thinking_budgets": True}, _LITELLM_CLAUDE),
    # Either of the two may be set, not both.
    Model(
        re.compile(r"claude-(?:opus-4[-.][1-9]|(?:sonnet|haiku)-4[-.][5-9]|[a-z]+-[5-9])(?!\d)"),
        {"exclusive": (("temperature", "top_p"),)},
        _LITELLM_CLAUDE,
    ),
    Model(
        re.compile(r"claude-(?:opus-4[-.][7-9]|[a-z]+-[5-9])(?!\d)"),
        {"only": {"temperature": (1,), "top_p": (1,)}, "rejects": frozenset({"top_k"})},
        _LITELLM_CLAUDE,
    ),
    Model(re.compile(r"deepseek-(?:reasoner|r1)"), {"rejects": frozenset({"logprobs", "top_logprobs"})}),
    Model(
        re.compile(r"kimi-(?:k2\.[5-9]|k[3-9]|latest)"),
        {"thinking_off": THINKING_OFF, "only": {"temperature": (1,)}},
        frozenset({"moonshot"}),
    ),
    # These always think, or never, and have no field for it.
    Model(re.compile(r"kimi-k2(?!\.)|moonshot-v1"), {"least_effort": ""}, frozenset({"moonshot"})),
    Model(re.compile(r"kimi-"), {"only": {"tool_choice": ("auto", "none")}}, frozenset({"moonshot"})),
    # Their thinking cannot be turned off. litellm has the levels of later models.
    Model(re.compile(r"gemini-2\.5-pro"), {"least_effort": "minimal"}, frozenset({"gemini"})),
    Model(
        re.compile(r"gemini-(?:2\.5-pro|[3-9]|flash-latest|pro-latest)"),
        {"least_effort": "minimal"},
        frozenset({"gemini_openai"}),
    ),
    # Google's documentation has this value for calls that another model made.
    Model(
        re.compile(r"gemini-(?:[3-9]|flash-latest|pro-latest)"),
        {"unsigned_calls": "skip_thought_signature_validator"},
        frozenset({"gemini_openai"}),
    ),
    Model(
        re.compile(r"grok-(?:3-mini|4|code)"),
        {"rejects": frozenset({"frequency_penalty", "presence_penalty", "stop"})},
        frozenset({"xai"}),
    ),
    Model(re.compile(r"grok-3-mini"), {"least_effort": "low"}, frozenset({"xai"})),
    Model(re.compile(r"grok-4(?!.*(?:mini|fast))"), {"rejects": frozenset({"reasoning_effort"})}, frozenset({"xai"})),
)
"""The rows that match apply one after another."""
