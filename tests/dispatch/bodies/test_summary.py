"""What is read of a whole response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.dispatch.bodies.summary import summary_in, summary_of

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no"}},
        {"detail": "upstream exploded"},
        {"code": 500, "message": "internal error", "success": False},
        {"code": 500, "msg": "internal error", "data": None},
    ],
)
def test_an_error_that_is_sent_as_a_success_is_one(body: dict[str, Any]) -> None:
    for summary in (summary_in(json.dumps(body).encode()), summary_of(body)):
        assert summary is not None
        assert summary.is_error


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [CHOICE], "message": "served from a cache"},
        {"type": "message", "content": []},
        {"object": "list", "data": []},
        {"output": [], "error": None},
        {"input_tokens": 5},
        {},
    ],
)
def test_an_answer_is_no_error(body: dict[str, Any]) -> None:
    for summary in (summary_in(json.dumps(body).encode()), summary_of(body)):
        assert summary is not None
        assert not summary.is_error
        assert not summary.lacks_choices
        assert summary.given_up is None


@pytest.mark.parametrize("choices", [[], None])
def test_a_response_may_lack_choices(choices: Any) -> None:
    for summary in (summary_in(json.dumps({"choices": choices}).encode()), summary_of({"choices": choices})):
        assert summary is not None
        assert summary.lacks_choices


@pytest.mark.parametrize("text", ["half", "half \ud83d"], ids=["text", "half-an-emoji"])
def test_a_choice_may_have_been_given_up(text: str) -> None:
    message = {"role": "assistant", "content": text}
    body = {"choices": [CHOICE, {"index": 1, "message": message, "finish_reason": "abort"}]}
    for summary in (summary_in(json.dumps(body).encode()), summary_of(body)):
        assert summary is not None
        assert summary.given_up == "abort"


WORDS = st.sampled_from(["stop", "tool_calls", "error", " Abort", "", None, {"type": "abort"}])
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=5) | st.sampled_from(["", "half \ud83d"])
OTHERS = st.none() | st.booleans() | st.integers() | TEXTS
VALUES = OTHERS | st.lists(OTHERS, max_size=2) | st.dictionaries(TEXTS, OTHERS, max_size=2)
CHOICES = st.lists(st.fixed_dictionaries({"finish_reason": WORDS}, optional={"message": OTHERS}), max_size=3)
ODD_CHOICES = st.lists(st.fixed_dictionaries({}, optional={"finish_reason": WORDS | OTHERS}) | OTHERS, max_size=3)
BODIES = st.fixed_dictionaries(
    {"choices": CHOICES | ODD_CHOICES | VALUES},
    optional={
        **dict.fromkeys(("content", "data", "detail", "error", "input_tokens", "message", "msg"), VALUES),
        **dict.fromkeys(("object", "output", "service_tier", "usage"), VALUES),
    },
)


@given(BODIES, st.sampled_from([None, 1]))
@settings(max_examples=200)
def test_both_summaries_of_a_body_agree(body: dict[str, Any], indent: int | None) -> None:
    assert summary_in(json.dumps(body, indent=indent).encode()) == summary_of(body)
