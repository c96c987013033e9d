"""The fields of the reasoning effort; tests/dispatch/test_efforts.py has what each provider receives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.wire.effort import _BUDGETS, _CHAT, sets_effort, thinking_scale, with_effort
from router.wire.messages import MESSAGES


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning_effort": "low"},
        {"reasoning": {"effort": "low"}},
        {"reasoning": {"max_tokens": 2000}},
        {"reasoning": {"enabled": False}},
        {"enable_thinking": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "disabled"}},
        {"output_config": {"effort": "low"}},
        {"think": False},
        {"think": "low"},
    ],
)
def test_a_request_may_state_its_effort_in_the_words_of_any_provider(body: dict[str, Any]) -> None:
    assert sets_effort(body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reasoning_effort": None},
        {"reasoning": {"summary": "auto"}},
        {"reasoning": "low"},
        {"thinking": {"type": "adaptive"}},
        {"thinking": None},
        {"output_config": {"format": {}}},
        {"chat_template_kwargs": {"date": "today"}},
    ],
)
def test_other_fields_state_no_effort(body: dict[str, Any]) -> None:
    assert not sets_effort(body)


@pytest.mark.parametrize(
    ("body", "scale"),
    [
        ({}, 1.0),
        ({"reasoning_effort": "none"}, 0.0),
        ({"reasoning_effort": "high"}, 2.0),
        ({"reasoning_effort": "of a new kind"}, 1.0),
        ({"reasoning": {"effort": "minimal"}}, 0.1),
        ({"reasoning": {"enabled": False}}, 0.0),
        ({"reasoning": {"enabled": True}}, 1.0),
        ({"reasoning": {"max_tokens": 60_000}}, 3.0),
        ({"enable_thinking": False}, 0.0),
        ({"think": False}, 0.0),
        ({"think": True}, 1.0),
        ({"think": "low"}, 0.3),
        ({"chat_template_kwargs": {"enable_thinking": False}}, 0.0),
        ({"chat_template_kwargs": {"thinking_budget": 8000}}, 1.0),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, 0.0),
        ({"thinking": {"type": "enabled"}}, 1.0),
    ],
)
def test_an_effort_scales_the_thinking_that_a_request_is_charged_for(body: dict[str, Any], scale: float) -> None:
    assert thinking_scale(body) == scale


@pytest.mark.parametrize(("effort", "level"), [("low", "low"), ("max", "high")])
def test_vertex_receives_the_levels_of_gemini(effort: str, level: str) -> None:
    assert with_effort({}, effort, "chat", "vertex_ai", "gemini-3.8-flash") == {"reasoning_effort": level}


def test_the_body_of_the_client_is_not_changed() -> None:
    body = {"chat_template_kwargs": {"a": 1}}
    with_effort(body, "none", "chat", "vllm", "m")
    assert body == {"chat_template_kwargs": {"a": 1}}


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
def test_a_budget_is_read_back_as_the_same_level(effort: str) -> None:
    thinking = {"type": "enabled", "budget_tokens": _BUDGETS[effort]}
    body = {"max_tokens": 64_000, "messages": [{"role": "user", "content": "hi"}], "thinking": thinking}
    assert MESSAGES.to_chat(body)["reasoning_effort"] == effort


def test_every_provider_of_the_table_has_a_row_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    assert [provider for provider in _CHAT if f"`{provider}`" not in page] == []
