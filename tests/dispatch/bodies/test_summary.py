"""What is read of a whole response."""

from __future__ import annotations

import json
from typing import Any

import pytest

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


def test_a_choice_may_have_been_given_up() -> None:
    body = json.dumps({"choices": [{**CHOICE, "finish_reason": "abort"}]}).encode()
    summary = summary_in(body)
    assert summary is not None
    assert summary.given_up == "abort"
