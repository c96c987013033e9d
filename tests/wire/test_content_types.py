"""Content parts of a type that no protocol has are rejected with their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import anthropic.types.beta as anthropic_types
import openai.types.chat as chat_types
import openai.types.responses as responses_types
import pytest

from router.errors import FieldError
from router.types import Api
from router.wire import read_request
from router.wire.content_types import PART_MODALITIES, PART_TYPES

TEXT = {"type": "text", "text": "What is this?"}
CLOUD = {"type": "point_cloud", "points": [[0, 0, 1]]}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def result(*parts: Any) -> dict[str, Any]:
    return user({"type": "tool_result", "tool_use_id": "toolu_1", "content": list(parts)})


@pytest.mark.parametrize(
    ("api", "body", "place"),
    [
        ("chat", {"messages": [user(TEXT), user(TEXT), user(TEXT, CLOUD)]}, "messages[2].content[1]"),
        ("messages", {"messages": [user(TEXT, CLOUD)]}, "messages[0].content[1]"),
        ("messages", {"messages": [user(TEXT)], "system": [TEXT, CLOUD]}, "system[1]"),
        ("messages", {"messages": [result(TEXT, CLOUD)]}, "messages[0].content[0].content[1]"),
        ("messages", {"messages": [{"role": "assistant", "content": [CLOUD]}]}, "messages[0].content[0]"),
        ("responses", {"input": [user({"type": "input_text", "text": "Hi"}, CLOUD)]}, "input[0].content[1]"),
        ("responses", {"input": [{"type": "function_call_output", "output": [CLOUD]}]}, "input[0].output[0]"),
        ("responses", {"input": [user(CLOUD)], "previous_response_id": "resp_1"}, "input[0].content[0]"),
    ],
)
def test_an_unknown_type_of_content_is_rejected_with_its_place(api: Api, body: dict[str, Any], place: str) -> None:
    with pytest.raises(FieldError) as caught:
        read_request(api, body)
    assert caught.value.param == f"{place}.type"
    assert 'is "point_cloud", which is not a known type of content' in str(caught.value)


def test_a_misspelt_type_of_content_is_corrected() -> None:
    with pytest.raises(FieldError, match='did you mean "image_url"'):
        read_request("chat", {"messages": [user({"type": "image_ulr", "image_url": {"url": "data:,"}})]})


@pytest.mark.parametrize(
    "block", [{"type": "container_upload", "file_id": "file_1"}, {"type": "web_search_tool_result", "content": []}]
)
def test_a_block_that_only_anthropic_has_is_left_to_an_upstream_that_supports_it(block: dict[str, Any]) -> None:
    request = read_request("messages", {"messages": [user(TEXT), {"role": "assistant", "content": [block]}]})
    assert f'is "{block["type"]}", which only Anthropic models support' in request.native_only


def test_an_item_that_only_openai_has_is_left_to_an_upstream_that_supports_it() -> None:
    call = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert "web_search_call" in read_request("responses", {"input": [user(TEXT), call]}).native_only


@pytest.mark.parametrize(
    "kinds",
    [
        anthropic_types.BetaContentBlockParam,
        get_type_hints(anthropic_types.BetaToolResultBlockParam)["content"],
        chat_types.ChatCompletionContentPartParam,
        get_type_hints(chat_types.ChatCompletionAssistantMessageParam)["content"],
        responses_types.ResponseInputContentParam,
        responses_types.ResponseFunctionCallOutputItemListParam,
        get_type_hints(responses_types.ResponseOutputMessageParam)["content"],
    ],
)
def test_every_type_of_content_in_the_official_sdks_is_known(kinds: Any) -> None:
    known = set(part_types_in(kinds))
    assert known
    assert known - PART_TYPES == set()


def test_every_part_with_a_modality_is_a_known_type() -> None:
    assert PART_MODALITIES.keys() - PART_TYPES == set()


def part_types_in(kinds: Any) -> Iterator[str]:
    """The values of `type` in a union, list or class of an SDK's types."""
    if hasattr(kinds, "__total__"):
        for literal in (get_type_hints(kinds)["type"], *get_args(get_type_hints(kinds)["type"])):
            if get_origin(literal) is Literal:
                yield from get_args(literal)
        return
    for inner in get_args(kinds):
        yield from part_types_in(inner)
