"""What of an Anthropic request costs input."""

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
        {"model": "auto", "messages": [{"role": role, "content": said} for role, said in turns], **fields}
    )


def test_texts_of_every_role_count() -> None:
    counted = parts(("user", "a"), ("assistant", [{"type": "text", "text": "b"}]), system="s")

    assert counted == InputParts(("s", "a", "b"), 3 * MESSAGE_TOKENS)


def test_calls_and_results_count() -> None:
    use = {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}
    result = {"type": "tool_result", "tool_use_id": "1", "content": "done"}

    assert parts(("assistant", [use]), ("user", [result])).texts == ("f", '{"x":1}', "done")


def test_tools_and_schemas_count_as_they_are_written() -> None:
    wanted = {"format": {"type": "json_schema", "schema": {"type": "object"}}}

    counted = parts(("user", "a"), tools=[{"name": "f", "input_schema": {}}], output_config=wanted)

    assert counted.texts == ("a", '{"name":"f","parameters":{}}', '{"type":"object"}')


@pytest.mark.parametrize(("block", "tokens"), [(PNG, IMAGE_TOKENS), (PDF, DOCUMENT_TOKENS)], ids=["image", "pdf"])
def test_what_is_no_text_has_an_allowance_whatever_its_bytes(block: dict[str, Any], tokens: int) -> None:
    counted = parts(("user", [block, {"type": "text", "text": "a"}]))

    assert counted == InputParts(("a",), MESSAGE_TOKENS + tokens)


def test_thinking_that_is_left_out_costs_nothing() -> None:
    thought = {"type": "thinking", "thinking": "Hmm.", "signature": "s"}

    assert parts(("assistant", [thought])).texts == ()


def test_texts_can_be_given_to_a_tokenizer() -> None:
    assert parts(("user", "cut \ud83d")).texts == ("cut ?",)


def test_what_cannot_be_converted_cannot_be_counted() -> None:
    with pytest.raises(FieldError, match=r"tools\[0\]\.type"):
        parts(("user", "a"), tools=[{"type": "web_search_20250305", "name": "web_search"}])
