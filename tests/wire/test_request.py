"""Reading requests from the bodies of every protocol."""

from __future__ import annotations

from typing import Any

import pytest

from router.decide.flags import parse_flags
from router.decide.prompt_flags import extract_flags
from router.errors import CallerError, FieldError
from router.types import Api
from router.wire import CONVERSIONS, ChatRequest, Turn, read_request, wants_stream, wants_stream_usage
from router.wire.texts import human_texts, map_human_texts

CHAT = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]}
MESSAGES = {"system": "Be brief.", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
RESPONSES = {"instructions": "Be brief.", "input": "Hello", "max_output_tokens": 8}
COMPLETIONS = {"prompt": "Hello", "max_tokens": 8}
OLLAMA_GENERATE = {"system": "Be brief.", "prompt": "Hello", "options": {"num_predict": 8}}
BODIES: dict[Api, dict[str, Any]] = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
    "completions": COMPLETIONS,
    "ollama_chat": CHAT,
    "ollama_generate": OLLAMA_GENERATE,
}
TURNS = (Turn("system", "Be brief."), Turn("user", "Hello"))


@pytest.mark.parametrize(
    ("api", "body", "turns"),
    [
        ("chat", CHAT, TURNS),
        ("messages", MESSAGES, TURNS),
        ("responses", RESPONSES, TURNS),
        ("completions", COMPLETIONS, TURNS[1:]),
        ("ollama_chat", CHAT, TURNS),
        ("ollama_generate", OLLAMA_GENERATE, TURNS),
    ],
)
def test_every_protocol_has_the_same_turns(api: Api, body: dict[str, Any], turns: tuple[Turn, ...]) -> None:
    request = read_request(api, body)
    assert request.turns == turns
    assert request.api == api
    assert request.body is body
    assert request.chat_body is not None
    assert not request.native_only


@pytest.mark.parametrize(
    ("api", "body"), [("messages", MESSAGES), ("responses", RESPONSES), ("ollama_generate", OLLAMA_GENERATE)]
)
def test_the_output_limit_is_read_in_the_protocols_own_field(api: Api, body: dict[str, Any]) -> None:
    assert read_request(api, body).output_limit == 8


def test_a_request_that_chat_cannot_express_is_only_for_native_upstreams() -> None:
    body = {"input": "Hello", "previous_response_id": "resp_1"}
    request = read_request("responses", body)
    assert "previous_response_id" in request.native_only
    assert request.chat_body is None
    assert request.turns == (Turn("user", "Hello"),)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["Hello"]}]}, "messages[0].content[0]"),
        ({**CHAT, "max_tokens": "8"}, "max_tokens"),
        ({**CHAT, "max_completion_tokens": -1}, "max_completion_tokens"),
        ({**CHAT, "tools": {"name": "f"}}, "tools"),
    ],
)
def test_the_error_names_the_invalid_field_of_a_chat_body(body: dict[str, Any], param: str) -> None:
    with pytest.raises(FieldError) as caught:
        read_request("chat", body)
    assert caught.value.param == param


def test_an_image_without_text_is_a_valid_prompt() -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "input_audio", "input_audio": {}}]
    request = read_request("chat", {"messages": [{"role": "user", "content": content}]})
    assert request.modalities == {"text", "image", "audio"}


def test_needs_are_read_from_tools_and_the_response_format() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = {**CHAT, "tools": tools, "response_format": {"type": "json_schema"}, "max_tokens": 0}
    request = read_request("chat", body)
    assert request.needs == {"tools", "json_schema"}
    assert request.tool_characters == len(repr(tools))
    assert request.output_limit is None


def test_an_empty_prompt_is_a_caller_error() -> None:
    with pytest.raises(CallerError, match="the prompt is empty"):
        ChatRequest.from_prompt(" ")


def test_turns_without_a_user_all_count_as_human() -> None:
    request = read_request("chat", {"messages": [{"role": "assistant", "content": "Hello"}]})
    assert request.human_turns == ("Hello",)


@pytest.mark.parametrize(("stream", "wanted"), [(True, True), (False, False), (None, False)])
def test_a_stream_is_returned_if_the_client_requests_it(stream: bool | None, wanted: bool) -> None:
    assert wants_stream({"stream": stream}) is wanted


def test_a_stream_field_of_another_type_is_rejected() -> None:
    with pytest.raises(FieldError, match="`stream` must be true or false"):
        wants_stream({"stream": "yes"})


@pytest.mark.parametrize(
    ("options", "wanted"), [({"include_usage": True}, True), ({}, False), (None, False), ("yes", False)]
)
def test_stream_usage_is_reported_if_the_options_request_it(options: Any, wanted: bool) -> None:
    assert wants_stream_usage({"stream_options": options}) is wanted


def test_every_protocol_that_is_routed_has_a_body_here() -> None:
    assert set(BODIES) == {"chat", *CONVERSIONS}


@pytest.mark.parametrize("api", BODIES)
def test_the_humans_text_is_found_in_every_protocol(api: Api) -> None:
    assert list(human_texts(BODIES[api])) == ["Hello"]


@pytest.mark.parametrize("api", BODIES)
def test_flags_in_a_prompt_are_taken_out_of_every_protocols_body(api: Api) -> None:
    body = map_human_texts(BODIES[api], lambda text: f"[Flag: cheapest] {text}")
    request, flags = extract_flags(read_request(api, body))
    assert flags == parse_flags("cheapest")
    for stripped in (request.body, request.chat_body):
        assert stripped is not None
        assert "Flag" not in str(stripped)
