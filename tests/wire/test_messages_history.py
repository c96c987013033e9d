"""Earlier turns of other servers in requests to Anthropic."""

from __future__ import annotations

import re

from router.wire.messages.history import as_anthropic_accepts, fitting_id


def test_ids_of_other_servers_get_the_form_that_anthropic_accepts() -> None:
    call = {"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "functions.f:0", "content": "ok"}
    turns = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]

    fitted = as_anthropic_accepts({"messages": turns})["messages"]

    id_ = fitted[0]["content"][0]["id"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{40}", id_)
    assert fitted[0]["content"] == [{**call, "id": id_}]
    assert fitted[1]["content"] == [{**result, "tool_use_id": id_}]


def test_empty_texts_are_left_out() -> None:
    empty, text = {"type": "text", "text": " "}, {"type": "text", "text": "a"}
    turns = [{"role": "assistant", "content": [empty]}, {"role": "user", "content": [empty, text]}]
    assert as_anthropic_accepts({"messages": turns}) == {"messages": [{"role": "user", "content": [text]}]}


def test_a_body_that_anthropic_accepts_is_not_copied() -> None:
    body = {
        "messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": [{"type": "tool_use", "id": "a"}]}]
    }
    assert as_anthropic_accepts(body) is body


def test_different_ids_stay_different() -> None:
    assert fitting_id("a:1", "[a-z]+", 9) != fitting_id("a:2", "[a-z]+", 9)
    assert fitting_id("a", "[a-z]+", 9) == "a"
