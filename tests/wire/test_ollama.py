"""Ollama's API, as a conversion from and to chat."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.errors import FieldError, UpstreamError
from router.wire import CONVERSIONS
from router.wire.ollama import prepared

CHAT, GENERATE = CONVERSIONS["ollama_chat"], CONVERSIONS["ollama_generate"]
HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
SAMPLING = {"temperature": 0.5, "top_k": 5, "min_p": 0.1, "top_p": 0.9, "seed": 1, "stop": ["x"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"options": SAMPLING}, SAMPLING),
        ({"options": {"num_predict": 7}}, {"max_tokens": 7}),
        (
            {"options": {"num_predict": -1, "num_ctx": 4096, "num_gpu": 1, "repeat_penalty": 1.1}},
            {"repetition_penalty": 1.1},
        ),
        ({"options": None, "keep_alive": "5m", "truncate": True}, {}),
        ({"think": True}, {"reasoning_effort": "medium"}),
        ({"think": "high"}, {"reasoning_effort": "high"}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"think": False}, {"reasoning_effort": "none"}),
        ({"format": "json"}, {"response_format": {"type": "json_object"}}),
        ({"format": ""}, {}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": False}, {}),
        ({"tools": [TOOL]}, {"tools": [TOOL]}),
        ({"route": {"flags": "cheapest"}}, {"route": {"flags": "cheapest"}}),
    ],
)
def test_a_field_has_chats_form(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert CHAT.to_chat({**HELLO, **fields}) == {**HELLO, **expected}


def test_a_schema_is_a_response_format() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    converted = CHAT.to_chat({**HELLO, "format": schema})["response_format"]
    assert (converted["type"], converted["json_schema"]["schema"]) == ("json_schema", schema)


def test_calls_get_ids_and_results_are_matched_by_name_and_order() -> None:
    def call(city: str) -> dict[str, Any]:
        return {"function": {"name": "weather", "arguments": {"city": city}}}

    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call("a"), call("b")]},
        {"role": "tool", "tool_name": "weather", "content": "sun"},
        {"role": "tool", "content": "rain"},
    ]
    converted = CHAT.to_chat({"messages": messages})["messages"]
    assert [each["id"] for each in converted[1]["tool_calls"]] == ["call_0", "call_1"]
    assert [json.loads(each["function"]["arguments"]) for each in converted[1]["tool_calls"]] == [
        {"city": "a"},
        {"city": "b"},
    ]
    assert (converted[1]["content"], converted[1]["reasoning_content"]) == (None, "hm")
    assert [(each["tool_call_id"], each["content"]) for each in converted[2:]] == [
        ("call_0", "sun"),
        ("call_1", "rain"),
    ]


def test_a_result_belongs_to_the_newest_turn_that_calls_its_tool() -> None:
    calls = [{"function": {"name": "weather", "arguments": {"city": city}}} for city in ("Oslo", "Rome")]
    messages = [
        {"role": "assistant", "content": "", "tool_calls": calls[:1]},
        {"role": "user", "content": "no, Rome"},
        {"role": "assistant", "content": "", "tool_calls": calls[1:]},
        {"role": "tool", "tool_name": "weather", "content": "sun"},
    ]

    assert CHAT.to_chat({"messages": messages})["messages"][-1]["tool_call_id"] == "call_1"
    with pytest.raises(FieldError, match=r"messages\[4\]"):
        CHAT.to_chat({"messages": [*messages, messages[-1]]})


def test_calls_in_a_message_each_are_all_answered() -> None:
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b")]
    answers = [{"role": "assistant", "content": "", "tool_calls": [call]} for call in calls]
    results = [{"role": "tool", "tool_name": name, "content": name} for name in ("a", "b")]

    converted = CHAT.to_chat({"messages": [*answers, *results]})["messages"]

    assert [each["tool_call_id"] for each in converted[2:]] == ["call_0", "call_1"]


@pytest.mark.parametrize(
    ("image", "url"),
    [
        ("iVBORw0KGgo=", "data:image/png;base64,iVBORw0KGgo="),
        ("/9j/4AAQ", "data:image/jpeg;base64,/9j/4AAQ"),
        ("UklGRg==", "data:image/webp;base64,UklGRg=="),
        ("data:image/gif;base64,R0lG", "data:image/gif;base64,R0lG"),
    ],
)
def test_images_are_parts_with_their_type(image: str, url: str) -> None:
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    message = {"role": "user", "content": "What?", "images": [image]}
    assert CHAT.to_chat({"messages": [message]})["messages"][0]["content"] == parts
    assert GENERATE.to_chat({"prompt": "What?", "images": [image]})["messages"][0]["content"] == parts


def test_generate_has_a_system_text_and_a_prompt() -> None:
    assert GENERATE.to_chat({"model": "m", "system": "Be brief.", "prompt": "Hello"}) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    }


@pytest.mark.parametrize(
    ("api", "body", "param"),
    [
        ("ollama_chat", {}, "messages"),
        ("ollama_chat", {"messages": [{"role": "critic", "content": "x"}]}, "messages[0].role"),
        ("ollama_chat", {"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ("ollama_chat", {"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ("ollama_chat", {"messages": [{"role": "user", "images": [7]}]}, "messages[0].images[0]"),
        ("ollama_chat", {"messages": [{"role": "user", "images": "x"}]}, "messages[0].images"),
        ("ollama_chat", {**HELLO, "options": "x"}, "options"),
        ("ollama_chat", {**HELLO, "options": {"num_predict": "7"}}, "options.num_predict"),
        ("ollama_chat", {**HELLO, "think": "very"}, "think"),
        ("ollama_chat", {**HELLO, "format": "xml"}, "format"),
        ("ollama_generate", {}, "prompt"),
        ("ollama_generate", {"prompt": "x", "suffix": "y"}, "suffix"),
        ("ollama_generate", {"prompt": "x", "context": [1]}, "context"),
        ("ollama_generate", {"prompt": "x", "raw": True}, "raw"),
    ],
)
def test_what_chat_cannot_express_is_named(api: Any, body: dict[str, Any], param: str) -> None:
    with pytest.raises(FieldError) as caught:
        CONVERSIONS[api].to_chat(body)
    assert caught.value.param == param


def test_an_answer_is_streamed_unless_the_client_says_otherwise() -> None:
    assert prepared({"model": "llama3:latest"}) == {"model": "llama3", "stream": True}
    assert prepared({"stream": False}) == {"stream": False}


def completion(**message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "created": 1_700_000_000,
        "model": "served",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 4},
    }


CALLS = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "a"}'}}]
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 4}


def test_a_whole_answer_has_text_thinking_calls_and_counts() -> None:
    found = CHAT.answer(completion(content="Hi", reasoning_content="hm", tool_calls=CALLS), HELLO)
    assert found["message"] == {
        "role": "assistant",
        "content": "Hi",
        "thinking": "hm",
        "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"city": "a"}}}],
    }
    assert (found["model"], found["created_at"]) == ("served", "2023-11-14T22:13:20Z")
    assert END.items() <= found.items()
    assert "thinking" not in CHAT.answer(completion(content="Hi", reasoning="hm"), {**HELLO, "think": False})["message"]


def test_a_whole_answer_to_a_prompt_is_a_response() -> None:
    found = GENERATE.answer(completion(content="Hi", reasoning_content="hm"), {"prompt": "x"})
    assert (found["response"], found["thinking"]) == ("Hi", "hm")
    assert END.items() <= found.items()


def chunks(*deltas: dict[str, Any], finish: str | None = "stop") -> list[dict[str, Any]]:
    head = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "served"}
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 4}}
    return [*({**head, "choices": [choice]} for choice in choices), {**head, **usage}]


def lines(api: Any, body: dict[str, Any], *deltas: dict[str, Any], finish: str | None = "stop") -> list[dict[str, Any]]:
    writer = CONVERSIONS[api].events(body)
    written = [event for chunk in chunks(*deltas, finish=finish) for event in writer.feed(chunk)]
    written += writer.end()
    return [json.loads(line) for line in b"".join(written).splitlines()]


def test_a_stream_consists_of_lines_and_calls_are_whole() -> None:
    parts = [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": "He"},
        {"content": "llo"},
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"ci'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'ty": "a"}'}}]},
    ]
    found = lines("ollama_chat", HELLO, *parts, finish="tool_calls")
    assert [line["message"].get("thinking") or line["message"]["content"] for line in found] == [
        "hm",
        "He",
        "llo",
        "",
        "",
    ]
    assert found[3]["message"]["tool_calls"] == [
        {"id": "c1", "function": {"name": "weather", "arguments": {"city": "a"}}}
    ]
    assert [line["done"] for line in found] == [False] * 4 + [True]
    assert END.items() <= found[-1].items()


@pytest.mark.parametrize(("api", "body"), [("ollama_chat", HELLO), ("ollama_generate", {"prompt": "x"})])
def test_log_probabilities_stand_beside_their_text(api: Any, body: dict[str, Any]) -> None:
    token = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.1}]}
    choice = {"logprobs": {"content": [token]}, "finish_reason": "stop"}
    whole = {**completion(content="Hi"), "choices": [{**choice, "message": {"role": "assistant", "content": "Hi"}}]}
    writer = CONVERSIONS[api].events(body)
    written = writer.feed({"id": "1", "choices": [{**choice, "index": 0, "delta": {"content": "Hi"}}]})
    line = json.loads(b"".join(written))

    assert CONVERSIONS[api].answer(whole, body)["logprobs"] == [token]
    assert line["logprobs"] == [token]
    assert b"logprobs" not in b"".join(writer.end())


def test_a_stream_for_a_prompt_consists_of_responses() -> None:
    found = lines("ollama_generate", {"prompt": "x"}, {"content": "He"}, {"content": "llo"}, finish="length")
    assert "".join(line["response"] for line in found) == "Hello"
    assert found[-1]["done_reason"] == "length"


def test_a_cut_stream_does_not_end_cleanly() -> None:
    with pytest.raises(UpstreamError, match="without a finish reason"):
        lines("ollama_chat", HELLO, {"content": "He"}, finish=None)


def test_an_error_is_a_text() -> None:
    assert json.loads(CHAT.error(400, "no", "kind", None, None)) == {"error": "no"}
    assert CHAT.events(HELLO).fail("broke", "upstream_error", None) == b'{"error":"broke"}\n'
