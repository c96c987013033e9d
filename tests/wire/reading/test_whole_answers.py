"""A whole answer of every protocol is read: its text, how it ended, and the log-probabilities of its tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.types import Api
from router.wire.reading.whole_answers import WholeAnswer, read_whole_answer

APIS: tuple[Api, ...] = ("chat", "completions", "responses", "messages", "ollama_chat", "ollama_generate")


def of_chat(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish, **more}]}


def of_responses(*output: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"status": status, "output": list(output), **more}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text, **more}]}


CASES: list[tuple[Api, dict[str, Any], WholeAnswer]] = [
    ("chat", of_chat({"content": "Hi"}), WholeAnswer("Hi", "whole")),
    ("chat", of_chat({"content": [{"type": "text", "text": "Hi"}]}), WholeAnswer("Hi", "whole")),
    ("chat", of_chat({"content": "H"}, "length"), WholeAnswer("H", "cut")),
    ("chat", of_chat({"content": None, "refusal": "No."}), WholeAnswer("No.", "refused")),
    ("chat", of_chat({"content": None, "tool_calls": [{}]}, "tool_calls"), WholeAnswer("", "calls", True)),
    ("chat", of_chat({"content": None, "tool_calls": [{}]}, None), WholeAnswer("", "calls", True)),
    ("chat", of_chat({"content": "H"}, "content_filter"), WholeAnswer("H", "refused")),
    (
        "chat",
        of_chat({"content": "Hi"}, logprobs={"content": [{"logprob": -0.5}, {"logprob": None}]}),
        WholeAnswer("Hi", "whole", False, (-0.5,)),
    ),
    (
        "completions",
        {"choices": [{"text": "Hi", "finish_reason": "stop", "logprobs": {"token_logprobs": [None, -1]}}]},
        WholeAnswer("Hi", "whole", False, (-1.0,)),
    ),
    (
        "messages",
        {"content": [{"type": "thinking"}, {"type": "text", "text": "Hi"}], "stop_reason": "end_turn"},
        WholeAnswer("Hi", "whole"),
    ),
    ("messages", {"content": [{"type": "tool_use"}], "stop_reason": "tool_use"}, WholeAnswer("", "calls", True)),
    ("messages", {"content": [], "stop_reason": "pause"}, WholeAnswer("", "unknown")),
    ("responses", of_responses(said("Hi")), WholeAnswer("Hi", "whole")),
    ("responses", of_responses(said("Hi", logprobs=[{"logprob": -2}])), WholeAnswer("Hi", "whole", False, (-2.0,))),
    ("responses", of_responses({"type": "function_call"}), WholeAnswer("", "calls", True)),
    ("responses", of_responses(said("H"), status="incomplete"), WholeAnswer("H", "cut")),
    (
        "responses",
        of_responses(status="incomplete", incomplete_details={"reason": "content_filter"}),
        WholeAnswer("", "refused"),
    ),
    (
        "responses",
        of_responses({"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}),
        WholeAnswer("No.", "refused"),
    ),
    ("ollama_chat", {"message": {"content": "Hi"}, "done": True}, WholeAnswer("Hi", "whole")),
    ("ollama_chat", {"message": {"tool_calls": [{}]}, "done": True}, WholeAnswer("", "calls", True)),
    ("ollama_generate", {"response": "H", "done": True, "done_reason": "length"}, WholeAnswer("H", "cut")),
]


@pytest.mark.parametrize(("api", "document", "answer"), CASES)
def test_a_whole_answer_is_read(api: Api, document: dict[str, Any], answer: WholeAnswer) -> None:
    assert read_whole_answer(api, document) == answer


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "output", "type", "logprobs", "text", "finish_reason"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(APIS), st.dictionaries(st.sampled_from(["choices", "message", "content", "output"]), json_values)
)
def test_reading_never_raises(api: Api, document: dict[str, Any]) -> None:
    assert isinstance(read_whole_answer(api, document), WholeAnswer)


def test_a_whole_number_that_no_float_holds_is_no_log_probability() -> None:
    content = [{"logprob": -(10**400)}, {"logprob": -1}]
    document = {"choices": [{"message": {"content": "yes"}, "logprobs": {"content": content}}]}
    assert read_whole_answer("chat", document).logprobs == (-1.0,)
