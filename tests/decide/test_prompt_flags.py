from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decide.flags import Flags, parse_flags
from router.decide.prompt_flags import extract_flags
from router.errors import CallerError, FlagError
from router.wire.chat.request import ChatRequest


def request_of(*messages: tuple[str, Any]) -> ChatRequest:
    return ChatRequest.from_body(
        {
            "model": "auto",
            "messages": [{"role": role, "content": content} for role, content in messages],
            "seed": 7,
        }
    )


def contents(request: ChatRequest) -> list[Any]:
    return [message["content"] for message in request.body["messages"]]


@pytest.mark.parametrize(
    ("prompt", "remaining"),
    [
        ("[Flag: smallest] Hello", "Hello"),
        ("Hello [Flag: smallest]", "Hello"),
        ("Hello [Flag: smallest] world", "Hello world"),
        ("Hello[Flag: smallest]world", "Helloworld"),
        ("Hello [Flag: smallest], world", "Hello, world"),
        ("[Flag: smallest]\nHello", "Hello"),
        ("[Flag: smallest]\r\nHello", "Hello"),
        ("Hello\n[Flag: smallest]\nworld", "Hello\nworld"),
        ("Hello [Flag: smallest]\nworld", "Hello\nworld"),
        ("Hello\n\n  [Flag: smallest]  \n\nworld", "Hello\n\n\nworld"),
        ("[Flag: smallest] [flag: best] Hello", "Hello"),
        ("Hello [Flag: smallest] [flag: best] world", "Hello world"),
        ("  def f():\n    pass  \n[Flag: smallest]", "  def f():\n    pass  \n"),
        ("[[Flag: smallest]] x", "[] x"),
        ("größe 🙂 [Flag: smallest] 模型", "größe 🙂 模型"),
    ],
)
def test_removing_a_flag_keeps_the_text_around_it(prompt: str, remaining: str) -> None:
    request, flags = extract_flags(request_of(("user", prompt)))
    assert "smallest" in flags.goals
    assert contents(request) == [remaining]
    assert request.turns[0].text == remaining


@pytest.mark.parametrize(
    "flag",
    [
        "[Flag: smallest]",
        "[flag:smallest]",
        "[FLAGS: smallest model]",
        "[ Flag : smallest ]",
        "[flags:\nsmallest]",
    ],
)
def test_spellings_of_a_prompt_flag(flag: str) -> None:
    assert extract_flags(request_of(("user", f"{flag} Hi")))[1] == parse_flags("smallest")


@pytest.mark.parametrize(
    "prompt",
    [
        "no flags",
        "[Flag smallest]",
        "[Flagged: smallest]",
        "[Flag: a[0]]",
        "[Flag: smallest",
        "Flag: smallest]",
    ],
)
def test_text_that_is_no_prompt_flag_is_kept(prompt: str) -> None:
    request = request_of(("user", prompt))
    assert extract_flags(request) == (request, Flags())


@pytest.mark.parametrize(
    "prompt",
    [
        "[Flags: 0x002 (SYN)]",
        "IP 10.0.0.1 > 10.0.0.2: [flags: S., seq 1]",
        "arr[flag: 3]",
        "[flag: -x]",
        "[Flags: Germany, France]",
        "[flag: 模型]",
    ],
)
def test_brackets_whose_first_word_is_not_similar_to_a_flag_are_text(prompt: str) -> None:
    request = request_of(("user", prompt))
    assert extract_flags(request) == (request, Flags())


def test_a_flag_is_removed_and_other_brackets_are_kept() -> None:
    request, flags = extract_flags(request_of(("user", "What is [Flags: 0x002]? [Flag: best]")))
    assert (contents(request), flags) == (["What is [Flags: 0x002]?"], parse_flags("best"))


def test_a_prompt_flag_may_begin_with_an_exclusion() -> None:
    request, flags = extract_flags(request_of(("user", "[Flag: !beta] Hi")))
    assert (contents(request), flags) == (["Hi"], parse_flags("!beta"))


@pytest.mark.parametrize("flag", ["size", "siez<7B", "size<7B, 3", "cheapest*much", "best, nonsense"])
def test_brackets_that_begin_with_a_flag_are_parsed_completely_or_an_error(flag: str) -> None:
    with pytest.raises(FlagError):
        extract_flags(request_of(("user", f"[Flag: {flag}] Hi")))


def test_an_empty_prompt_flag_is_removed_and_has_no_effect() -> None:
    request, flags = extract_flags(request_of(("user", "[Flag: ] Hi")))
    assert (contents(request), flags) == (["Hi"], Flags())


def test_flags_in_the_text_parts_of_a_message_are_parsed_and_removed() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,x"}}
    parts = [{"type": "text", "text": "What is this? [Flag: smallest]", "extra": 1}, image]
    request, flags = extract_flags(request_of(("user", parts)))
    assert flags == parse_flags("smallest")
    assert contents(request) == [[{"type": "text", "text": "What is this?", "extra": 1}, image]]
    assert request.turns[0].text == "What is this?"
    assert request.modalities == {"text", "image"}


def test_a_part_with_only_a_flag_is_dropped_since_some_providers_reject_empty_texts() -> None:
    parts = [{"type": "text", "text": "[Flag: smallest]"}, {"type": "text", "text": "Hi"}]
    request, _ = extract_flags(request_of(("user", parts)))
    assert contents(request) == [[{"type": "text", "text": "Hi"}]]


def test_a_prompt_flag_does_not_span_parts() -> None:
    parts = [{"type": "text", "text": "[Flag: small"}, {"type": "text", "text": "est] Hi"}]
    request = request_of(("user", parts))
    assert extract_flags(request) == (request, Flags())


def test_only_flags_of_the_user_count() -> None:
    text = "[Flag: smallest] x"
    request = request_of(("system", text), ("developer", text), ("assistant", text), ("tool", text), ("user", "Hi"))
    assert extract_flags(request) == (request, Flags())


def test_a_later_turn_overrides_an_earlier_one_and_flags_are_removed_from_every_turn() -> None:
    request, flags = extract_flags(
        request_of(
            ("user", "[Flag: cheapest*0.2, size<70B] One"),
            ("assistant", "[Flag: best] kept"),
            ("user", "Two [Flag: cheapest*0.7]"),
        )
    )
    assert flags == parse_flags("size<70B,cheapest*0.7")
    assert contents(request) == ["One", "[Flag: best] kept", "Two"]
    assert [turn.text for turn in request.turns] == contents(request)


def test_every_other_field_of_the_body_is_unchanged() -> None:
    before = request_of(("user", "[Flag: best] Hi"))
    after, _ = extract_flags(before)
    assert {**after.body, "messages": None} == {**before.body, "messages": None}


def test_the_given_request_is_not_changed() -> None:
    before = request_of(("user", [{"type": "text", "text": "[Flag: best] Hi"}]))
    extract_flags(before)
    assert before == request_of(("user", [{"type": "text", "text": "[Flag: best] Hi"}]))


def test_in_a_request_without_a_body_the_turns_are_searched() -> None:
    turns = request_of(("user", "[Flag: best] Hi")).turns
    request, flags = extract_flags(ChatRequest(turns))
    assert (request.turns[0].text, flags) == ("Hi", parse_flags("best"))


def test_a_prompt_flag_that_cannot_be_parsed_is_an_error() -> None:
    with pytest.raises(FlagError, match='did you mean "smallest"'):
        extract_flags(request_of(("user", "[Flag: smalest] Hi")))


def test_a_prompt_of_flags_only_is_empty() -> None:
    with pytest.raises(CallerError, match="the prompt is empty"):
        extract_flags(request_of(("user", "[Flag: smallest]")))


@pytest.mark.parametrize("text", [" " * 300_000, "[" * 300_000, "[flag:" + " " * 300_000, "[flag:" * 50_000])
def test_a_hostile_prompt_is_searched_in_linear_time(text: str) -> None:
    """Each of these took minutes where a pattern could match the same blanks in two ways."""
    request = request_of(("user", f"x{text}x"))
    assert extract_flags(request) == (request, Flags())


@given(st.text(max_size=30), st.text(max_size=30))
def test_text_around_a_flag_loses_only_blanks(before: str, after: str) -> None:
    before, after = (text.replace("[", "(").replace("]", ")") for text in (before, after))
    request, _ = extract_flags(request_of(("user", f"word {before}[Flag: best]{after}")))
    assert "".join(request.turns[0].text.split()) == "".join(f"word {before}{after}".split())
