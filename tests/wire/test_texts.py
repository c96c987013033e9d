"""The texts of users in bodies of every protocol."""

from __future__ import annotations

from typing import Any

import pytest

from router.wire.texts import all_text, human_texts, map_human_texts

PARTS = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "two"}]


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ({"messages": [{"role": "user", "content": "one"}]}, ["one"]),
        ({"messages": [{"role": "user", "content": PARTS}]}, ["one", "two"]),
        ({"messages": [{"role": "system", "content": "no"}, {"role": "user", "content": "one"}]}, ["one"]),
        ({"input": "one"}, ["one"]),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "one"}]}]}, ["one"]),
        ({"prompt": "one"}, ["one"]),
        ({"prompt": ["one", "two"]}, []),
        ({"messages": [7, {"role": "user"}, {"role": "user", "content": 7}], "input": 7}, []),
    ],
)
def test_only_the_users_texts_are_returned(body: dict[str, Any], texts: list[str]) -> None:
    assert list(human_texts(body)) == texts


def test_only_the_users_texts_are_changed() -> None:
    body = {"model": "auto", "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": PARTS}]}
    changed = map_human_texts(body, str.upper)
    assert changed["model"] == "auto"
    assert changed["messages"][0] is body["messages"][0]
    assert [part.get("text") for part in changed["messages"][1]["content"]] == ["ONE", None, "TWO"]
    assert PARTS[0]["text"] == "one"


def test_a_part_that_becomes_empty_is_dropped() -> None:
    body = {"messages": [{"role": "user", "content": PARTS}]}
    changed = map_human_texts(body, lambda text: text.replace("one", " "))
    assert changed["messages"][0]["content"] == PARTS[1:]


def test_the_only_part_of_a_message_is_kept_even_if_it_becomes_empty() -> None:
    body = {"messages": [{"role": "user", "content": PARTS[:1]}]}
    assert map_human_texts(body, lambda _: "")["messages"][0]["content"] == [{"type": "text", "text": ""}]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"instructions": "be brief", "input": [{"content": [{"text": "one"}]}, 7]}, "be brief\none"),
        ({"system": "s", "messages": [{"content": "a"}, {"content": None}]}, "s\na"),
        ({"tools": [{"description": "no"}]}, ""),
    ],
)
def test_all_text_of_a_body_is_joined(body: dict[str, Any], text: str) -> None:
    assert all_text(body) == text


def test_deeply_nested_content_is_ignored() -> None:
    nested: Any = "deep"
    for _ in range(50):
        nested = {"content": nested}
    assert all_text(nested) == ""
