"""The parts of an Anthropic request that count as input tokens."""

from __future__ import annotations

from typing import Any

import pytest

from router.errors import FieldError
from router.wire import InputParts, count_input
from router.wire.messages.count_tokens import DOCUMENT_TOKENS, IMAGE_TOKENS, MESSAGE_TOKENS

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4000}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "J" * 4000}}


def parts(*turns: tuple[str, Any], **fields: Any) -> InputParts:
    return count_input(
        {"model": "auto", "messages": [{"role": role, "content": content} for role, content in turns], **fields}
    )


def test_texts_of_every_role_are_counted() -> None:
    counted = parts(("user", "a"), ("assistant", [{"type": "text", "text": "b"}]), system="s")

    assert counted == InputParts(("s", "a", "b"), 3 * MESSAGE_TOKENS)


def test_tool_calls_and_results_are_counted() -> None:
    use = {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}
    result = {"type": "tool_result", "tool_use_id": "1", "content": "done"}

    assert parts(("assistant", [use]), ("user", [result])).texts == ("f", '{"x":1}', "done")


def test_tools_and_schemas_are_counted_as_json() -> None:
    config = {"format": {"type": "json_schema", "schema": {"type": "object"}}}

    counted = parts(("user", "a"), tools=[{"name": "f", "input_schema": {}}], output_config=config)

    assert counted.texts == ("a", '{"name":"f","parameters":{"type":"object","properties":{}}}', '{"type":"object"}')


@pytest.mark.parametrize(("block", "tokens"), [(PNG, IMAGE_TOKENS), (PDF, DOCUMENT_TOKENS)], ids=["image", "pdf"])
def test_images_and_documents_count_a_fixed_number_of_tokens(block: dict[str, Any], tokens: int) -> None:
    counted = parts(("user", [block, {"type": "text", "text": "a"}]))

    assert counted == InputParts(("a",), MESSAGE_TOKENS + tokens)


def test_thinking_is_not_counted() -> None:
    thinking = {"type": "thinking", "thinking": "Hmm.", "signature": "s"}

    assert parts(("assistant", [thinking])).texts == ()


def test_half_a_surrogate_pair_is_replaced_for_the_tokenizer() -> None:
    assert parts(("user", "cut \ud83d")).texts == ("cut ?",)


def test_a_request_that_cannot_be_converted_cannot_be_counted() -> None:
    with pytest.raises(FieldError, match=r"tools\[0\]\.type"):
        parts(("user", "a"), tools=[{"type": "web_search_20250305", "name": "web_search"}])
