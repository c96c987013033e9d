"""References to what only one server can read, in requests and answers of the Responses API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.wire.reading.stored import References, hashed, made_in, references_in, without_encrypted_reasoning

USER = {"type": "message", "role": "user", "content": "hi"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("body", "names", "bound"),
    [
        ({"previous_response_id": "resp_1"}, [("response", "resp_1")], "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, [("conversation", "conv_1")], "conversation"),
        ({"conversation": "conv_1"}, [("conversation", "conv_1")], "conversation"),
        ({"input": [USER, {"type": "item_reference", "id": "msg_1"}]}, [("item", "msg_1")], "input[1]"),
        ({"input": [{"id": "msg_1"}]}, [("item", "msg_1")], "input[0]"),
        ({"input": [USER, REASONING]}, [("encrypted", "secret")], ""),
        ({"input": [{"type": "compaction", "encrypted_content": "all"}]}, [("encrypted", "all")], "input[0]"),
        ({"input": [{"type": "reasoning", "summary": []}]}, [], ""),
        ({"input": "hi", "previous_response_id": None}, [], ""),
        ({"messages": [USER]}, [], ""),
    ],
)
def test_a_reference_is_named_and_bound_where_it_cannot_be_left_out(
    body: dict[str, Any], names: list[tuple[str, str]], bound: str
) -> None:
    assert references_in(body) == References(tuple(hashed(*name) for name in names), bound)


def test_the_newest_reference_is_the_first() -> None:
    newer = {**REASONING, "encrypted_content": "newer"}
    assert references_in({"input": [REASONING, newer]}).names[0] == hashed("encrypted", "newer")


def test_encrypted_reasoning_and_the_ids_of_stored_items_are_left_out_for_another_server() -> None:
    body = {"input": [USER, REASONING, CALL], "store": False}
    assert without_encrypted_reasoning(body) == {
        "input": [USER, {name: value for name, value in CALL.items() if name != "id"}],
        "store": False,
    }


@pytest.mark.parametrize("body", [{"input": "hi"}, {"input": [USER, CALL]}])
def test_a_body_without_encrypted_reasoning_is_the_same_object(body: dict[str, Any]) -> None:
    assert without_encrypted_reasoning(body) is body


ANSWER = {"id": "resp_1", "object": "response", "output": [REASONING, {"id": "msg_1", "type": "message"}]}


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(ANSWER).encode(),
        json.dumps(ANSWER, indent=1).encode(),
        b'event: response.completed\ndata: {"type":"response.completed","response":' + json.dumps(ANSWER).encode(),
    ],
)
def test_what_an_answer_contains_has_the_names_by_which_requests_refer_to_it(answer: bytes) -> None:
    names = {
        hashed("response", "resp_1"),
        hashed("encrypted", "secret"),
        hashed("item", "msg_1"),
        hashed("item", "rs_1"),
    }
    assert set(made_in(answer)) == names
