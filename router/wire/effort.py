"""The reasoning effort in requests: whether a client states one, and the fields in which each provider expects it.

docs/serving.md has the same table. Sources: the providers' API references, and litellm's adapters (1.106.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from router.types import Api

# The largest budgets for thinking, in tokens, where a model has no levels. `router.wire.messages` reads them back as
# low, medium or high.
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 60_000}
# A rough estimate: of one model, the efforts differ by about this much in the tokens that they write.
_SCALES = {"none": 0.0, "minimal": 0.1, "low": 0.3, "medium": 1.0, "high": 2.0, "xhigh": 2.5, "max": 3.0}
NO_THINKING = "none"
"""The effort that turns thinking off."""
LEAST_BUDGET = 1024
"""The smallest budget for thinking that Anthropic accepts, in tokens."""
THINKING_FIELDS = ("reasoning_effort", "thinking")
"""The fields of a chat body that turn on the thinking of Anthropic's models."""
BUDGET_MODEL = re.compile(
    r"claude-(?:3[-.]|4-(?:opus|sonnet)|(?:sonnet|haiku)-4[-.]5"
    r"|(?:opus|sonnet)-4(?:[-.][01])?(?:[-@]20\d{6})?(?:-v\d.*)?$)"
)
"""Models of Anthropic before `output_config.effort`."""
THINKING_OFF = {"thinking": {"type": "disabled"}}
"""The field by which Anthropic, DeepSeek and Moonshot turn thinking off."""
SWITCHES = ("enable_thinking", "enabled", "think", "thinking")
"""The fields, of a body or an object within it, that turn thinking on or off."""
_EFFORT_WORDS = ("reasoning_effort", "enable_thinking", "think")
"""The fields of a body that state an effort themselves; `think` is Ollama's."""
_EFFORT_FIELDS = frozenset((*_EFFORT_WORDS, "thinking", "reasoning", "output_config", "chat_template_kwargs"))
"""All fields of a body that may state an effort, themselves or within an object."""
_TEMPLATE_SWITCHES = ("enable_thinking", "thinking", "reasoning_effort", "thinking_budget")


class _Levels(Struct, frozen=True):
    """How chat completions of a provider take an effort: as `reasoning_effort`, or within an object of the name
    `holder`. `renamed` are the efforts for which it has another word, `off` the fields that turn thinking off and `on`
    those that are needed beside a level.
    """

    renamed: Mapping[str, str] = {}
    holder: str = ""
    off: Mapping[str, Any] | None = None
    on: Mapping[str, Any] = {}


# Which of the two names a template reads differs between models; the other is ignored.
_TEMPLATE = _Levels(
    off={"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
    on={"chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
)
_GEMINI = _Levels(renamed={"xhigh": "high", "max": "high"})

_CHAT: Mapping[str, _Levels] = {
    "deepseek": _Levels(off=THINKING_OFF),
    "gemini": _GEMINI,
    "groq": _Levels(renamed={"minimal": "low", "xhigh": "high", "max": "high"}),
    "hosted_vllm": _TEMPLATE,
    "moonshot": _Levels(renamed={"minimal": "low", "medium": "high", "xhigh": "max"}, off=THINKING_OFF),
    "nvidia_nim": _TEMPLATE,
    "openrouter": _Levels(holder="reasoning"),
    "sambanova": _TEMPLATE,
    "vertex_ai": _GEMINI,
    "vllm": _TEMPLATE,
    "xai": _Levels(renamed={"minimal": "low", "max": "xhigh"}),
}
"""The providers whose chat completions differ from OpenAI's `reasoning_effort`."""

_OPENAI = _Levels()


def sets_effort(body: Mapping[str, Any]) -> bool:
    """Whether the body of a request, of any protocol, sets the reasoning effort, a budget for thinking, or turns
    thinking on or off. Anthropic's `adaptive` thinking leaves the effort open.
    """
    if _EFFORT_FIELDS.isdisjoint(body):
        return False
    if any(body.get(field) is not None for field in _EFFORT_WORDS):
        return True
    thinking = body.get("thinking")
    return (
        _states(body.get("reasoning"), ("effort", "max_tokens", "enabled"))
        or (isinstance(thinking, Mapping) and thinking.get("type") != "adaptive")
        or _states(body.get("output_config"), ("effort",))
        or _states(body.get("chat_template_kwargs"), _TEMPLATE_SWITCHES)
    )


def budget_for(effort: str) -> int | None:
    """The budget for thinking of an effort, in tokens; None for one that is unknown or turns thinking off."""
    return _BUDGETS.get(effort)


def thinking_scale(body: Mapping[str, Any]) -> float:
    """How much a request of any protocol lets a model think, as a multiple of what it thinks unasked: 1 where it states
    no effort, 0 where it turns thinking off.
    """
    if not sets_effort(body):
        return 1.0
    thinking, reasoning, template = (body.get(name) for name in ("thinking", "reasoning", "chat_template_kwargs"))
    switches = (body, *(part for part in (thinking, reasoning, template) if isinstance(part, Mapping)))
    if any(part.get(name) is False for part in switches for name in SWITCHES) or _is_disabled(thinking):
        return 0.0
    stated = (reasoning, body.get("output_config"))
    inner = (part.get("effort") for part in stated if isinstance(part, Mapping))
    words = (body.get("reasoning_effort"), body.get("think"), *inner)
    if (effort := next((word for word in words if isinstance(word, str)), None)) is not None:
        return _SCALES.get(effort, 1.0)
    budgets = (part.get(name) for part in switches for name in ("budget_tokens", "max_tokens", "thinking_budget"))
    if (budget := next((tokens for tokens in budgets if isinstance(tokens, int)), None)) is not None:
        return _SCALES[min(_BUDGETS, key=lambda level: abs(_BUDGETS[level] - budget))] if budget > 0 else 0.0
    return 1.0


def _is_disabled(thinking: Any) -> bool:
    return isinstance(thinking, Mapping) and thinking.get("type") == "disabled"


def with_effort(body: Mapping[str, Any], effort: str, api: Api, provider: str, model: str) -> Mapping[str, Any]:
    """The body of a request to `provider` in the protocol `api`, at this effort of `model`.

    Fields that the body has already are kept. Protocols without reasoning are unchanged.
    """
    added = _fields(body, effort, api, provider, model)
    merged = {**added, **body}
    for field, value in added.items():
        if isinstance(value, Mapping) and isinstance(body.get(field), Mapping):
            merged[field] = {**value, **body[field]}
    return merged


def with_thinking_off(chat_body: Mapping[str, Any], provider: str, model: str) -> Mapping[str, Any]:
    """A converted chat body whose effort is "none", in the words of the provider; itself at another effort."""
    if chat_body.get("reasoning_effort") != NO_THINKING:
        return chat_body
    others = {field: value for field, value in chat_body.items() if field != "reasoning_effort"}
    return with_effort(others, NO_THINKING, "chat", provider, model)


def _fields(body: Mapping[str, Any], effort: str, api: Api, provider: str, model: str) -> Mapping[str, Any]:
    if api == "messages" or (api == "chat" and provider == "anthropic"):
        return _of_anthropic(body, effort, api, model)
    levels = _CHAT.get(provider, _OPENAI)
    level = levels.renamed.get(effort, effort)
    if api == "responses":
        return {"reasoning": {"effort": level}}
    if api != "chat":
        return {}
    if provider == "dashscope":
        budget = _BUDGETS.get(effort)
        return {"enable_thinking": False} if budget is None else {"enable_thinking": True, "thinking_budget": budget}
    if level == NO_THINKING and levels.off is not None:
        return levels.off
    return {levels.holder: {"effort": level}} if levels.holder else {"reasoning_effort": level, **levels.on}


def _of_anthropic(body: Mapping[str, Any], effort: str, api: Api, model: str) -> Mapping[str, Any]:
    if effort == NO_THINKING:
        return THINKING_OFF
    if BUDGET_MODEL.search(model):
        return _budget(body, effort)
    level = "low" if effort == "minimal" else effort
    # litellm converts `reasoning_effort` to the same field.
    return {"output_config": {"effort": level}} if api == "messages" else {"reasoning_effort": level}


def _budget(body: Mapping[str, Any], effort: str) -> Mapping[str, Any]:
    """The budget for thinking; no fields where the rest of the request excludes thinking."""
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    budget = _BUDGETS[effort]
    if isinstance(limit, int):
        budget = min(budget, limit - 1)
    if budget < LEAST_BUDGET or _excludes_thinking(body):
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _excludes_thinking(body: Mapping[str, Any]) -> bool:
    """Whether Anthropic rejects thinking beside the other fields: a temperature, a forced tool, a prefilled answer, or
    calls of tools that were made without thinking.
    """
    choice, messages = body.get("tool_choice"), body.get("messages")
    kind = choice.get("type") if isinstance(choice, Mapping) else choice
    turns = messages if isinstance(messages, list) else []
    answer = _last_answer(turns)
    return (
        body.get("temperature") not in (None, 1)
        or body.get("top_k") is not None
        or body.get("top_p") is not None
        or kind not in (None, "auto", "none")
        or (answer is not None and answer is turns[-1])
        or calls_tools_unthinking(turns)
    )


def calls_tools_unthinking(messages: Sequence[Any]) -> bool:
    """Whether the running loop of tool calls, in Anthropic's or chat's messages, has begun without thinking: the
    assistant's last turn calls tools and does not begin with thinking. Anthropic then rejects thinking, also where the
    user says more beside the results.
    """
    answer = _last_answer(messages)
    if answer is None:
        return False
    content = answer.get("content")
    blocks = content if isinstance(content, list) else ()
    kinds = [block.get("type") for block in blocks if isinstance(block, Mapping)]
    thinks_first = bool(answer.get("thinking_blocks")) or kinds[:1] in (["thinking"], ["redacted_thinking"])
    return ("tool_use" in kinds or bool(answer.get("tool_calls"))) and not thinks_first


def _last_answer(messages: Sequence[Any]) -> Mapping[str, Any] | None:
    """The assistant's last turn."""
    turns = (turn for turn in reversed(messages) if isinstance(turn, Mapping))
    return next((turn for turn in turns if turn.get("role") == "assistant"), None)


def _states(value: Any, fields: tuple[str, ...]) -> bool:
    return isinstance(value, Mapping) and any(value.get(field) is not None for field in fields)
