"""Convert an Anthropic request to a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.formats.json import json_bytes
from router.wire.chat.response_format import response_format
from router.wire.chat.transcript import Part, Transcript
from router.wire.effort import NO_THINKING
from router.wire.fields import entries, fields_of, kind_of, non_empty_text, reject, text_of
from router.wire.messages.content import cache_control_of, parts_of, parts_of_block, text_parts
from router.wire.messages.thinking import THINKING, state_in
from router.wire.reading.moving import without_billing

# Fields that have another form in chat.
_CONVERTED = frozenset(
    {
        "max_tokens",
        "messages",
        "metadata",
        "output_config",
        "output_format",
        "stop_sequences",
        "stream",
        "stream_options",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
# Fields of Anthropic's service that do not affect the answer.
_DROPPED = frozenset(
    {
        "betas",
        "context_management",
        "diagnostics",
        "inference_geo",
        "service_tier",
        "speed",
        "user_profile_id",
        "workspace_id",
    }
)
# Fields that only Anthropic's service supports.
_UNSUPPORTED = {
    "container": "is supported only by Anthropic models; remove it, or name such a model",
    "mcp_servers": "is supported only by Anthropic models; send the tools as functions in `tools`",
}
_MAX_USER_CHARACTERS = 64
# The lowest budgets, in tokens, of these effort levels. Other vendors have levels in place of a budget.
_MEDIUM_BUDGET, _HIGH_BUDGET = 4_096, 16_384
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `ToChat`."""
    for field, problem in _UNSUPPORTED.items():
        if body.get(field):
            reject(field, problem)
    chat_fields = {field: value for field, value in body.items() if field not in _CONVERTED | _DROPPED}
    chat = {**chat_fields, "messages": _messages(body)}
    if body.get("max_tokens") is not None:
        chat["max_tokens"] = body["max_tokens"]
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    if body.get("stream"):
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    user = fields_of(body.get("metadata") or {}, "metadata").get("user_id")
    if user is not None:
        # OpenAI rejects longer ones. The beginning of Claude Code's is a hash of the user.
        chat["user"] = text_of(user, "metadata.user_id")[:_MAX_USER_CHARACTERS]
    chat |= _tools(body)
    config = fields_of(body.get("output_config") or {}, "output_config")
    effort = _effort(body, config)
    if effort is not None:
        chat["reasoning_effort"] = effort
    output_format = config.get("format") or body.get("output_format")
    if output_format:
        path = "output_config.format" if config.get("format") else "output_format"
        format_fields = fields_of(output_format, path)
        if kind_of(format_fields, path) != "json_schema":
            reject(f"{path}.type", "must be json_schema")
        chat["response_format"] = response_format("answer", fields_of(format_fields.get("schema"), f"{path}.schema"))
    return chat


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not body.get("messages"):
        reject("messages", "must be a list with at least one message")
    transcript = Transcript()
    if body.get("system") is not None:
        system = without_billing(body["system"])
        # Some servers refuse an empty system message, which is what remains of a billing line alone.
        if system != "":
            transcript.add_turn("system", text_parts(system, "system"))
    for message, path in entries(body["messages"], "messages"):
        role = message.get("role")
        content_path = f"{path}.content"
        if role == "user":
            _add_user_message(transcript, message.get("content"), content_path)
        elif role == "assistant":
            _add_assistant_message(transcript, message.get("content"), content_path)
        elif role == "system":
            transcript.add_turn("system", text_parts(message.get("content"), content_path))
        else:
            reject(f"{path}.role", "must be user, assistant or system")
    if not transcript.messages:
        reject("messages", "must contain at least one message that is not empty")
    return transcript.messages


def _add_user_message(transcript: Transcript, content: Any, path: str) -> None:
    if isinstance(content, str):
        transcript.add_turn("user", parts_of(content, path))
        return
    parts: list[Part] = []
    for block, block_path in entries(content, path):
        if kind_of(block, block_path) != "tool_result":
            parts += parts_of_block(block, block_path)
            continue
        result = parts_of(block.get("content"), f"{block_path}.content")
        if block.get("is_error"):
            # Chat has no field for a failed call; without this text the model would take it for a success.
            result = [{"type": "text", "text": "The tool failed."}, *result]
        id_ = non_empty_text(block.get("tool_use_id"), f"{block_path}.tool_use_id")
        transcript.add_tool_result(id_, result, cache_control_of(block))
    transcript.add_turn("user", parts)


def _add_assistant_message(transcript: Transcript, content: Any, path: str) -> None:
    if isinstance(content, str):
        transcript.add_turn("assistant", parts_of(content, path))
        return
    blocks = [(block, block_path, kind_of(block, block_path)) for block, block_path in entries(content, path)]
    for block, _, kind in blocks:
        if kind in THINKING and (state := state_in(block)):
            transcript.add_state(state)
    texts = [block for block, _, kind in blocks if kind == "text"]
    transcript.add_turn("assistant", text_parts(texts, path))
    for block, block_path, kind in blocks:
        if kind == "tool_use":
            arguments = json_bytes(fields_of(block.get("input"), f"{block_path}.input")).decode()
            name = non_empty_text(block.get("name"), f"{block_path}.name")
            transcript.add_tool_call(
                non_empty_text(block.get("id"), f"{block_path}.id"), name, arguments, cache_control_of(block)
            )
        elif kind != "text" and kind not in THINKING:
            reject(f"{block_path}.type", f'is "{kind}", which only Anthropic models support; remove the block')


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    tools = []
    for tool, path in entries(body.get("tools"), "tools"):
        if tool.get("type") not in (None, "custom"):
            reject(
                f"{path}.type",
                f'is "{tool["type"]}", a tool that only Anthropic models support; send a custom tool instead',
            )
        function: dict[str, Any] = {"name": non_empty_text(tool.get("name"), f"{path}.name")}
        if tool.get("description") is not None:
            function["description"] = text_of(tool["description"], f"{path}.description")
        function["parameters"] = fields_of(tool.get("input_schema"), f"{path}.input_schema")
        if tool.get("strict") is not None:
            function["strict"] = tool["strict"]
        tools.append({"type": "function", "function": function, **cache_control_of(tool)})
    chat_fields: dict[str, Any] = {"tools": tools} if tools else {}
    if body.get("tool_choice") is not None:
        choice = fields_of(body["tool_choice"], "tool_choice")
        chat_fields["tool_choice"] = _choice(choice)
        if choice.get("disable_parallel_tool_use"):
            chat_fields["parallel_tool_calls"] = False
    return chat_fields


def _choice(choice: Mapping[str, Any]) -> str | dict[str, Any]:
    kind = kind_of(choice, "tool_choice")
    if kind == "tool":
        return {"type": "function", "function": {"name": non_empty_text(choice.get("name"), "tool_choice.name")}}
    known = {"auto": "auto", "any": "required", "none": "none"}
    return known[kind] if kind in known else reject("tool_choice.type", "must be auto, any, tool or none")


def _effort(body: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """The reasoning effort: none where thinking is off, else that in `output_config`, else the level of the budget."""
    thinking = fields_of(body.get("thinking") or {}, "thinking")
    if thinking.get("type") == "disabled":
        return NO_THINKING
    effort = config.get("effort")
    if effort is not None:
        level = text_of(effort, "output_config.effort")
        return _EFFORTS.get(level, level)
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or budget is None:
        return None
    if not isinstance(budget, int) or isinstance(budget, bool):
        reject("thinking.budget_tokens", "must be a whole number")
    return "high" if budget >= _HIGH_BUDGET else "medium" if budget >= _MEDIUM_BUDGET else "low"
