"""The reasoning of earlier turns: returned to the server that made it, and left out elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.wire.dialect.fields import leave_out
from router.wire.dialect.rules import Dialect
from router.wire.effort import (
    LEAST_BUDGET,
    NO_THINKING,
    SWITCHES,
    THINKING_FIELDS,
    budget_for,
    calls_tools_unthinking,
    thinking_scale,
)
from router.wire.reasoning import CALL_FIELDS, LIST_FIELDS, STATE, TEXT_FIELDS, State, is_sealed

Message = Mapping[str, Any]
# What servers add to messages and calls of their own answers, and clients return to any server.
_OF_SERVERS = (*TEXT_FIELDS, *LIST_FIELDS, "annotations", "provider_specific_fields")
_OF_CALLS = (*CALL_FIELDS, "provider_specific_fields")
# Fields of OpenAI's answers that are empty for most, and that strict servers reject in a request.
_OF_ANSWERS = ("annotations", "audio", "function_call", "images", "refusal")
_NOT_FOR_ALL = frozenset({STATE, "tool_calls", *_OF_SERVERS, *_OF_ANSWERS})
# Mistral's reasoning is a part of the content.
_REASONING_PARTS = ("reasoning", "thinking")
# The place of a call in a stream, which clients keep, and strict servers reject.
_OF_STREAMS = ("index",)
_SIGNATURES = "extra_content"
# Beside thinking, models of Anthropic accept no others.
_LEAST_TOP_P = 0.95


def fit_history(messages: Sequence[Any], dialect: Dialect, maker: str) -> list[Any]:
    """The messages with the reasoning that this server takes back; `maker` is the `id_without_effort` of its card."""
    concerned = list(map(_concerns_servers, messages))
    if not any(concerned):
        return list(messages)
    return [
        _fit_turn(message, dialect, maker, in_loop) if is_concerned else message
        for message, is_concerned, in_loop in zip(messages, concerned, _in_loops(messages), strict=True)
    ]


def fit_thinking(fitted: dict[str, Any], dialect: Dialect, changed: list[str]) -> None:
    """Make the body's thinking agree with its history and its other fields, or turn it off for this turn."""
    if dialect.least_effort != NO_THINKING and thinking_scale(fitted) == 0:
        _fit_least_effort(fitted, dialect, changed)
    lacks_reasoning = dialect.requires_reasoning and any(map(_calls_without_reasoning, fitted["messages"]))
    must_force = not dialect.thinks_with_forced_tool and _forces_tool(fitted)
    if dialect.thinking_off and (lacks_reasoning or must_force or not dialect.thinks):
        if any(fitted.get(name) != value for name, value in dialect.thinking_off.items()):
            changed.append("thinking")
        fitted.pop("reasoning_effort", None)
        fitted |= dialect.thinking_off
    if dialect.signs_thinking:
        _fit_signed_thinking(fitted, dialect, changed)


def _in_loops(messages: Sequence[Any]) -> list[bool]:
    """Of every message, whether it is of the running loop, or of an earlier one that called tools: DeepSeek requires
    the reasoning of such a loop's last answer too.
    """
    loops: list[bool] = []
    begin, calls_tools = 0, False
    for position, message in enumerate((*messages, {"role": "user"})):
        role = message.get("role") if isinstance(message, dict) else None
        if role == "user":
            is_running = position == len(messages)
            loops += [calls_tools or is_running] * (position - begin)
            begin, calls_tools = position, False
        elif role == "assistant" and message.get("tool_calls"):
            calls_tools = True
    return loops


def _fit_turn(message: Message, dialect: Dialect, maker: str, in_loop: bool) -> Message:
    turn = dict(message)
    state: State | None = turn.pop(STATE, None)
    if state and (in_loop or turn.get("tool_calls")) and state.get("by", maker) == maker:
        _return_state(turn, state)
    if dialect.reasoning_fields is not None:
        for field in _OF_SERVERS:
            if field in turn and field not in dialect.reasoning_fields:
                del turn[field]
        _drop_from_calls(turn, [field for field in _OF_CALLS if field not in dialect.call_fields])
    _drop_from_calls(turn, _OF_STREAMS)
    if not dialect.reasoning_parts and isinstance(turn.get("content"), list):
        _drop_reasoning_parts(turn)
    for field in _OF_ANSWERS:
        if field in turn and not turn[field]:
            del turn[field]
    if dialect.signs_thinking and isinstance(turn.get("thinking_blocks"), list):
        turn["thinking_blocks"] = [block for block in turn["thinking_blocks"] if _is_signed(block)]
        if not turn["thinking_blocks"]:
            del turn["thinking_blocks"]
    if dialect.unsigned_calls:
        _sign_first_call(turn, dialect.unsigned_calls)
    return turn


def _concerns_servers(message: Any) -> bool:
    """Whether it is a turn that calls tools, or has a field or a part that only some servers know."""
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return False
    return not _NOT_FOR_ALL.isdisjoint(message) or isinstance(message.get("content"), list)


def _return_state(turn: dict[str, Any], state: State) -> None:
    if state.get("text"):
        turn[state.get("field") or TEXT_FIELDS[0]] = state["text"]
    turn |= {field: state[field] for field in LIST_FIELDS if state.get(field)}
    if state.get("calls"):
        turn["tool_calls"] = [
            {**call, **state["calls"].get(call.get("id"), {})} for call in turn.get("tool_calls") or ()
        ]


def _drop_from_calls(turn: dict[str, Any], fields: Sequence[str]) -> None:
    calls = turn.get("tool_calls")
    if isinstance(calls, list) and any(isinstance(call, dict) and field in call for call in calls for field in fields):
        turn["tool_calls"] = [
            {name: value for name, value in call.items() if name not in fields} if isinstance(call, dict) else call
            for call in calls
        ]


def _drop_reasoning_parts(turn: dict[str, Any]) -> None:
    parts = turn["content"]
    kept = [part for part in parts if not (isinstance(part, dict) and part.get("type") in _REASONING_PARTS)]
    if len(kept) < len(parts):
        turn["content"] = kept or (None if turn.get("tool_calls") else "")


def _sign_first_call(turn: dict[str, Any], signature: str) -> None:
    """Sign the turn's first call where no call of it is signed: the server signs one call of a turn."""
    calls = turn.get("tool_calls")
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        return
    if not any(call.get(field) for call in calls for field in CALL_FIELDS):
        signed = {**calls[0], _SIGNATURES: {"google": {"thought_signature": signature}}}
        turn["tool_calls"] = [signed, *calls[1:]]


def _is_signed(block: Any) -> bool:
    if not isinstance(block, Mapping):
        return False
    seal = block.get("data") if block.get("type") == "redacted_thinking" else block.get("signature")
    return bool(seal) and not is_sealed(seal)


def _calls_without_reasoning(turn: Any) -> bool:
    if not isinstance(turn, dict):
        return False
    return turn.get("role") == "assistant" and bool(turn.get("tool_calls")) and not turn.get("reasoning_content")


def _fit_least_effort(fitted: dict[str, Any], dialect: Dialect, changed: list[str]) -> None:
    """State the model's lowest effort in place of the fields that turn its thinking off, which it rejects."""
    for field in (*SWITCHES, "reasoning", "reasoning_effort"):
        if field in fitted:
            leave_out(fitted, field, changed)
    template = fitted.get("chat_template_kwargs")
    if isinstance(template, Mapping):
        fitted["chat_template_kwargs"] = {name: value for name, value in template.items() if name not in SWITCHES}
        if not fitted["chat_template_kwargs"]:
            leave_out(fitted, "chat_template_kwargs", changed)
    if dialect.least_effort and dialect.supports("reasoning_effort"):
        fitted["reasoning_effort"] = dialect.least_effort


def _is_off(thinking: Any) -> bool:
    return isinstance(thinking, Mapping) and thinking.get("type") == "disabled"


def _fit_signed_thinking(fitted: dict[str, Any], dialect: Dialect, changed: list[str]) -> None:
    """State the budget for thinking within the output limit; no thinking where the rest of the body excludes it."""
    effort, thinking = fitted.get("reasoning_effort"), fitted.get("thinking")
    if effort == NO_THINKING and not isinstance(thinking, Mapping):
        del fitted["reasoning_effort"]
        return
    states_budget = isinstance(thinking, Mapping) and thinking.get("type") == "enabled"
    if _is_off(thinking) or not (states_budget or isinstance(effort, str)):
        return
    limit = fitted.get(dialect.output_limit)
    most = limit - 1 if isinstance(limit, int) else None
    if _forces_tool(fitted) or (dialect.thinking_budgets and not _may_think(fitted, most)):
        for field in THINKING_FIELDS:
            if field in fitted:
                leave_out(fitted, field, changed)
        # A turn's thinking is rejected where thinking is off.
        fitted["messages"] = [_without_thinking(message) for message in fitted["messages"]]
        return
    if dialect.thinking_budgets:
        budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else budget_for(str(effort))
        if isinstance(budget, int):
            fitted.pop("reasoning_effort", None)
            budget = budget if most is None else min(budget, most)
            fitted["thinking"] = {"type": "enabled", "budget_tokens": budget}
    for field in ("temperature", "top_k", "top_p"):
        value = fitted.get(field)
        fits = field == "top_p" and isinstance(value, int | float) and value >= _LEAST_TOP_P
        if field in fitted and not fits:
            leave_out(fitted, field, changed)


def _forces_tool(fitted: Mapping[str, Any]) -> bool:
    return fitted.get("tool_choice") not in (None, "auto", "none")


def _may_think(fitted: Mapping[str, Any], most: int | None) -> bool:
    """Whether the least budget fits below the output limit, and the running loop has not begun without thinking."""
    return (most is None or most >= LEAST_BUDGET) and not calls_tools_unthinking(fitted["messages"])


def _without_thinking(message: Any) -> Any:
    if not isinstance(message, Mapping) or "thinking_blocks" not in message:
        return message
    return {name: value for name, value in message.items() if name != "thinking_blocks"}
