"""An Anthropic request as a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.formats.json import json_bytes
from router.wire.chat.response_format import response_format
from router.wire.chat.transcript import Part, Transcript
from router.wire.fields import entries, fields_of, kind_of, non_empty_text, reject, text_of
from router.wire.messages.content import marks_of, parts_of, parts_of_block, text_parts

# What chat says in another way.
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
# What concerns only Anthropic's own service, and leaves the answer what it is.
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
# What nobody else can do for the client.
_REFUSED = {
    "container": "asks for a container, which only Anthropic's own service has",
    "mcp_servers": "asks for MCP servers to be called, which only Anthropic's own service does",
}
_LONGEST_USER = 64
# From these budgets on, in tokens. Other vendors name three levels, and none a number.
_MEDIUM_BUDGET, _HIGH_BUDGET = 4_096, 16_384
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `ToChat`."""
    for field, problem in _REFUSED.items():
        if body.get(field):
            reject(field, problem)
    passed = {field: value for field, value in body.items() if field not in _CONVERTED | _DROPPED}
    chat = {**passed, "messages": _messages(body)}
    if body.get("max_tokens") is not None:
        chat["max_tokens"] = body["max_tokens"]
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    if body.get("stream"):
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    user = fields_of(body.get("metadata") or {}, "metadata").get("user_id")
    if user is not None:
        # OpenAI refuses longer ones. The head of Claude Code's is a hash of the user.
        chat["user"] = text_of(user, "metadata.user_id")[:_LONGEST_USER]
    chat |= _tools(body)
    config = fields_of(body.get("output_config") or {}, "output_config")
    effort = _effort(body, config)
    if effort is not None:
        chat["reasoning_effort"] = effort
    wanted = config.get("format") or body.get("output_format")
    if wanted:
        where = "output_config.format" if config.get("format") else "output_format"
        shape = fields_of(wanted, where)
        if kind_of(shape, where) != "json_schema":
            reject(f"{where}.type", "must be json_schema")
        chat["response_format"] = response_format("answer", fields_of(shape.get("schema"), f"{where}.schema"))
    return chat


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not body.get("messages"):
        reject("messages", "must be a list with at least one message")
    transcript = Transcript()
    if body.get("system") is not None:
        transcript.say("system", text_parts(body["system"], "system"))
    for message, where in entries(body["messages"], "messages"):
        role = message.get("role")
        place = f"{where}.content"
        if role == "user":
            _user_turn(transcript, message.get("content"), place)
        elif role == "assistant":
            _assistant_turn(transcript, message.get("content"), place)
        elif role == "system":
            transcript.say("system", text_parts(message.get("content"), place))
        else:
            reject(f"{where}.role", "must be user, assistant or system")
    if not transcript.messages:
        reject("messages", "says nothing: every message is empty")
    return transcript.messages


def _user_turn(transcript: Transcript, said: Any, where: str) -> None:
    if isinstance(said, str):
        transcript.say("user", parts_of(said, where))
        return
    parts: list[Part] = []
    for block, place in entries(said, where):
        if kind_of(block, place) != "tool_result":
            parts += parts_of_block(block, place)
            continue
        result = parts_of(block.get("content"), f"{place}.content")
        if block.get("is_error"):
            # Chat cannot mark a failed call; without a word the model would take its output for a success.
            result = [{"type": "text", "text": "The tool failed."}, *result]
        id_ = non_empty_text(block.get("tool_use_id"), f"{place}.tool_use_id")
        transcript.answer_call(id_, result, marks_of(block))
    transcript.say("user", parts)


def _assistant_turn(transcript: Transcript, said: Any, where: str) -> None:
    if isinstance(said, str):
        transcript.say("assistant", parts_of(said, where))
        return
    blocks = [(block, place, kind_of(block, place)) for block, place in entries(said, where)]
    words = [block for block, _, kind in blocks if kind == "text"]
    transcript.say("assistant", text_parts(words, where))
    for block, place, kind in blocks:
        if kind == "tool_use":
            arguments = json_bytes(fields_of(block.get("input"), f"{place}.input")).decode()
            name = non_empty_text(block.get("name"), f"{place}.name")
            transcript.call(non_empty_text(block.get("id"), f"{place}.id"), name, arguments, marks_of(block))
        elif kind not in ("text", "thinking", "redacted_thinking"):
            reject(f"{place}.type", f'is "{kind}", which only Anthropic\'s own models read')


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    tools = []
    for tool, where in entries(body.get("tools"), "tools"):
        if tool.get("type") not in (None, "custom"):
            reject(f"{where}.type", f'is "{tool["type"]}", a tool that only Anthropic\'s own models know')
        function: dict[str, Any] = {"name": non_empty_text(tool.get("name"), f"{where}.name")}
        if tool.get("description") is not None:
            function["description"] = text_of(tool["description"], f"{where}.description")
        function["parameters"] = fields_of(tool.get("input_schema"), f"{where}.input_schema")
        if tool.get("strict") is not None:
            function["strict"] = tool["strict"]
        tools.append({"type": "function", "function": function, **marks_of(tool)})
    said: dict[str, Any] = {"tools": tools} if tools else {}
    if body.get("tool_choice") is not None:
        choice = fields_of(body["tool_choice"], "tool_choice")
        said["tool_choice"] = _choice(choice)
        if choice.get("disable_parallel_tool_use"):
            said["parallel_tool_calls"] = False
    return said


def _choice(choice: Mapping[str, Any]) -> str | dict[str, Any]:
    kind = kind_of(choice, "tool_choice")
    if kind == "tool":
        return {"type": "function", "function": {"name": non_empty_text(choice.get("name"), "tool_choice.name")}}
    known = {"auto": "auto", "any": "required", "none": "none"}
    return known[kind] if kind in known else reject("tool_choice.type", "must be auto, any, tool or none")


def _effort(body: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """How hard the model is to think: as `output_config` says, else what the budget for thinking comes to."""
    effort = config.get("effort")
    if effort is not None:
        named_effort = text_of(effort, "output_config.effort")
        return _EFFORTS.get(named_effort, named_effort)
    thinking = fields_of(body.get("thinking") or {}, "thinking")
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or budget is None:
        return None
    if not isinstance(budget, int) or isinstance(budget, bool):
        reject("thinking.budget_tokens", "must be a whole number")
    return "high" if budget >= _HIGH_BUDGET else "medium" if budget >= _MEDIUM_BUDGET else "low"
