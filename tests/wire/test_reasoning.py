"""Seals: what a server must get back, in a text that clients return unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.reasoning import StateReader, is_sealed, joined, opened, sealed

STATE = {"by": "card", "field": "reasoning", "text": "hm", "calls": {"1": {"extra_content": {"google": {}}}}}


def taken(*messages: Any, shown: bool = False) -> Any:
    reader = StateReader("card")
    for message in messages:
        reader.read(message)
    return opened(reader.take(text_is_shown=shown))


@given(st.text(), st.text())
def test_a_sealed_state_can_be_opened(by: str, text: str) -> None:
    assert opened(sealed({"by": by, "text": text})) == {"by": by, "text": text}


def test_a_seal_has_only_characters_that_every_client_keeps() -> None:
    assert sealed(STATE).replace(".", "").replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "text",
    ["", None, 5, "EqQBCkYIBRgC", "pulvinar1.", "pulvinar1.!!", "pulvinar1.e30x", sealed(STATE)[:-4], sealed({})[:-1]],
)
def test_a_damaged_seal_or_another_servers_signature_opens_to_nothing(text: Any) -> None:
    assert opened(text) is None


@pytest.mark.parametrize(
    "state", [{"by": 5}, {"text": []}, {"thinking_blocks": [5]}, {"calls": []}, {"calls": {"1": 5}}, {"field": None}]
)
def test_a_seal_with_values_of_the_wrong_type_opens_to_nothing(state: dict[str, Any]) -> None:
    assert is_sealed(sealed(state))
    assert opened(sealed(state)) is None


def test_reasoning_in_pieces_is_one_text_in_the_field_that_it_came_in() -> None:
    assert taken({"reasoning": "I "}, {"reasoning": "think"}) == {"by": "card", "field": "reasoning", "text": "I think"}


def test_text_that_the_client_sees_is_not_repeated() -> None:
    assert taken({"reasoning_content": "I think"}, shown=True) is None


def test_thinking_blocks_in_pieces_are_put_together() -> None:
    pieces = [
        {"type": "thinking", "thinking": "I "},
        {"type": "thinking", "thinking": "think", "signature": ""},
        {"type": "thinking", "thinking": "", "signature": "S1"},
        {"type": "redacted_thinking", "data": "R1"},
        {"type": "redacted_thinking", "data": "R2"},
        {"type": "thinking", "thinking": "more"},
    ]

    assert taken(*({"thinking_blocks": [piece]} for piece in pieces))["thinking_blocks"] == [
        {"type": "thinking", "thinking": "I think", "signature": "S1"},
        {"type": "redacted_thinking", "data": "R1"},
        {"type": "redacted_thinking", "data": "R2"},
        {"type": "thinking", "thinking": "more"},
    ]


def test_reasoning_details_in_pieces_are_put_together_by_their_index() -> None:
    text = {"type": "reasoning.text", "format": "x", "index": 0}
    encrypted = {"type": "reasoning.encrypted", "data": "E", "id": "r1", "index": 1}
    deltas = [
        [{**text, "text": "a"}],
        [{**text, "text": "b", "signature": None}, {**text, "signature": "S"}],
        [encrypted],
    ]

    assert taken(*({"reasoning_details": entries} for entries in deltas))["reasoning_details"] == [
        {**text, "text": "ab", "signature": "S"},
        encrypted,
    ]


def test_the_signature_of_a_call_is_kept_by_the_calls_id() -> None:
    extra = {"google": {"thought_signature": "S"}}
    first = {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f"}}]}

    assert taken(first, {"tool_calls": [{"index": 0, "extra_content": extra}]})["calls"] == {
        "c1": {"extra_content": extra}
    }


@pytest.mark.parametrize("message", [None, 5, {"reasoning": 5, "reasoning_details": 5, "tool_calls": [5, {"id": 5}]}])
def test_parts_of_the_wrong_type_are_ignored(message: Any) -> None:
    assert taken(message) is None


def test_nothing_is_sealed_without_a_maker() -> None:
    reader = StateReader("")
    reader.read({"reasoning": "hm"})

    assert (reader.take(text_is_shown=False), reader.seal) == ("", "")


def test_the_parts_of_a_turn_are_joined() -> None:
    parts: list[dict[str, Any]] = [
        {"by": "c", "text": "a"},
        {"by": "c", "text": "b", "calls": {"1": {}}, "thinking_blocks": [{"n": 1}]},
        {"calls": {"2": {}}, "thinking_blocks": [{"n": 2}]},
    ]

    assert joined(parts) == {
        "by": "c",
        "text": "ab",
        "calls": {"1": {}, "2": {}},
        "thinking_blocks": [{"n": 1}, {"n": 2}],
    }
