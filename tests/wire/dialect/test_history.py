"""Thinking that agrees with the output limit, the history and the other fields of a body."""

from __future__ import annotations

from typing import Any

import pytest

from router.wire.dialect import SERVERS, Dialect, Fitted, adapt, dialect_for
from router.wire.reasoning import STATE

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "r"}
ANSWER = {"role": "assistant", "content": "a"}
SIGNED = {"type": "thinking", "thinking": "t", "signature": "S"}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def claude(model: str = "claude-sonnet-4-5", *turns: dict[str, Any], **fields: Any) -> Fitted:
    return adapt({"messages": [USER, *turns], **fields}, dialect_for("anthropic", "", model))


def enabled(budget: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": budget}


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"reasoning_effort": "high"}, enabled(16_384)),
        ({"reasoning_effort": "high", "max_tokens": 2000}, enabled(1999)),
        ({"reasoning_effort": "low", "max_completion_tokens": 9000}, enabled(2048)),
        ({"reasoning_effort": "high", "max_tokens": 100}, None),
        ({"reasoning_effort": "none", "max_tokens": 2000}, None),
        ({"thinking": enabled(5000), "max_tokens": 3000}, enabled(2999)),
        ({"thinking": enabled(5000), "max_tokens": 1000}, None),
        ({"thinking": {"type": "disabled"}, "max_tokens": 3000}, {"type": "disabled"}),
        ({}, None),
    ],
)
def test_the_budget_for_thinking_fits_below_the_output_limit(fields: dict[str, Any], thinking: Any) -> None:
    fitted = claude(**fields).body

    assert fitted.get("thinking") == thinking
    assert "reasoning_effort" not in fitted


def test_thinking_that_does_not_fit_is_named() -> None:
    assert claude(reasoning_effort="high", max_tokens=100).changed == ("reasoning_effort",)
    assert claude(thinking=enabled(5000), max_tokens=100).changed == ("thinking",)


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-6"])
def test_sampling_fields_give_way_to_thinking(model: str) -> None:
    fitted = claude(model, reasoning_effort="high", max_tokens=3000, temperature=0.2, top_k=5)

    assert {"temperature", "top_k"}.isdisjoint(fitted.body)
    assert fitted.changed == ("temperature", "top_k")


def test_a_forced_tool_excludes_thinking() -> None:
    fitted = claude(reasoning_effort="high", tools=TOOLS, tool_choice="required")

    assert (fitted.body.get("thinking"), fitted.changed) == (None, ("reasoning_effort",))


def test_a_loop_that_began_without_thinking_goes_on_without_it() -> None:
    earlier = {"role": "assistant", "content": "a", "thinking_blocks": [SIGNED]}
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL]}

    fitted = claude("claude-sonnet-4-5", earlier, USER, turn, RESULT, reasoning_effort="high", tools=TOOLS)

    assert "thinking" not in fitted.body
    assert "thinking_blocks" not in fitted.body["messages"][1]


@pytest.mark.parametrize(
    "content", ["<system-reminder>", [{"type": "image_url", "image_url": {"url": "data:image/png,"}}]]
)
def test_what_the_user_adds_to_a_result_does_not_end_a_loop_without_thinking(content: Any) -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    added = {"role": "user", "content": content}

    assert "thinking" not in claude("claude-sonnet-4-5", turn, RESULT, added, reasoning_effort="high").body
    assert "thinking" in claude("claude-sonnet-4-5", turn, RESULT, ANSWER, added, reasoning_effort="high").body


def test_a_loop_that_began_with_thinking_goes_on_with_it() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL], "thinking_blocks": [SIGNED]}

    fitted = claude("claude-sonnet-4-5", turn, RESULT, reasoning_effort="high", tools=TOOLS)

    assert fitted.body["thinking"] == enabled(16_384)
    assert fitted.body["messages"][1] == turn


def test_thinking_without_a_signature_is_left_out() -> None:
    turn = {"role": "assistant", "content": "a", "thinking_blocks": [{**SIGNED, "signature": ""}, SIGNED]}

    assert claude("claude-opus-4-6", turn, USER).body["messages"][1]["thinking_blocks"] == [SIGNED]


def test_a_server_that_requires_reasoning_does_not_think_where_it_is_missing() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    dialect = dialect_for("deepseek", "", "deepseek-chat")

    missing = adapt({"messages": [USER, turn, RESULT], "reasoning_effort": "high"}, dialect)
    given = adapt({"messages": [USER, {**turn, "reasoning_content": "t"}, RESULT]}, dialect)

    assert (missing.body["thinking"], missing.changed) == ({"type": "disabled"}, ("thinking",))
    assert "reasoning_effort" not in missing.body
    assert "thinking" not in given.body


def test_the_first_call_of_another_model_gets_the_signature_that_gemini_accepts() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]}
    gemini = dialect_for("openai_like", "generativelanguage.googleapis.com", "gemini-3-pro")
    own = {**CALL, "extra_content": {"google": {"thought_signature": "S"}}}

    [first, second] = adapt({"messages": [USER, turn, RESULT]}, gemini).body["messages"][1]["tool_calls"]

    assert first["extra_content"]["google"]["thought_signature"] == "skip_thought_signature_validator"
    assert "extra_content" not in second
    assert adapt({"messages": [USER, {**turn, "tool_calls": [own]}]}, gemini).body["messages"][1]["tool_calls"] == [own]


def test_what_strict_servers_reject_in_a_turn_of_another_is_left_out() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}],
        "images": [],
        "tool_calls": [{"index": 0, **call}],
    }
    fitted = adapt({"messages": [turn]}, Dialect()).body["messages"][0]
    assert fitted["content"] == [{"type": "text", "text": "a"}]
    assert "images" not in fitted
    assert fitted["tool_calls"] == [call]


def test_mistral_gets_its_reasoning_parts_back() -> None:
    turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}]}
    assert adapt({"messages": [turn]}, SERVERS["mistral"].dialect).body["messages"] == [turn]


def test_the_last_answer_of_an_earlier_loop_gets_its_reasoning_back() -> None:
    state = {STATE: {"by": "ds", "field": "reasoning_content", "text": "because"}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "plain", **state},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": None, "tool_calls": [call], **state},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
        {"role": "assistant", "content": "done", **state},
        {"role": "user", "content": "c"},
    ]
    fitted = adapt({"messages": turns}, SERVERS["deepseek"].dialect, "ds").body["messages"]
    assert [turn.get("reasoning_content") for turn in fitted] == [None, None, None, "because", None, "because", None]
