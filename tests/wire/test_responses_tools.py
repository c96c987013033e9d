"""Custom tools and namespaces of Responses at servers that have only functions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import FieldError
from router.formats.json import json_or_none
from router.wire.responses import RESPONSES
from router.wire.responses.tools import arguments_of, input_in
from router.wire.sse import events_of, read_event

PATCH = '*** Begin Patch\n*** Add File: a.txt\n+"quoted" ü\n*** End Patch'
CUSTOM = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: line+"},
}
NAMESPACE = {
    "type": "namespace",
    "name": "github",
    "tools": [{"type": "function", "name": "close", "parameters": {"type": "object"}}],
}
BODY = {"model": "m", "input": "Edit a.txt.", "tools": [CUSTOM, NAMESPACE]}


def completion(name: str, arguments: str) -> dict[str, Any]:
    """A chat completion with a call."""
    call = {"id": "call_0", "type": "function", "function": {"name": name, "arguments": arguments}}
    choice = {"index": 0, "message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    return {"id": "1", "model": "m", "created": 1, "choices": [choice]}


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "1", "model": "m", "created": 1, "choices": [choice]}


def test_a_custom_tool_is_a_function_with_one_text() -> None:
    function = RESPONSES.to_chat(BODY)["tools"][0]["function"]
    assert function["name"] == "apply_patch"
    assert function["parameters"]["required"] == ["input"]
    assert function["description"] == "Edits files.\n\nThe input must match this lark grammar:\nstart: line+"


def test_the_call_of_a_custom_tool_comes_back_as_one() -> None:
    (item,) = RESPONSES.answer(completion("apply_patch", arguments_of(PATCH)), BODY)["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "apply_patch", PATCH)


def test_a_function_in_a_namespace_has_both_names_in_chat_and_is_called_by_its_own() -> None:
    assert RESPONSES.to_chat(BODY)["tools"][1]["function"]["name"] == "github__close"
    (item,) = RESPONSES.answer(completion("github__close", "{}"), BODY)["output"]
    assert (item["type"], item["namespace"], item["name"]) == ("function_call", "github", "close")


@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_the_stream_of_a_custom_call_has_its_whole_input(pieces: int) -> None:
    writer, arguments = RESPONSES.events(BODY), arguments_of(PATCH)
    step = -(-len(arguments) // pieces)
    chunks = [chunk({"tool_calls": [{"index": 0, "id": "call_0", "function": {"name": "apply_patch"}}]})]
    for start in range(0, len(arguments), step):
        part = {"index": 0, "function": {"arguments": arguments[start : start + step]}}
        chunks.append(chunk({"tool_calls": [part]}))
    written = b"".join(event for each in [*chunks, chunk({}, "tool_calls")] for event in writer.feed(each))
    written += b"".join(writer.end())
    events = [value for raw in events_of(written) if (value := read_event(raw).value) is not None]
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[4]["input"] == PATCH
    assert events[-1]["response"]["output"] == [events[5]["item"]]


def test_calls_and_results_of_the_turns_before_are_those_of_functions() -> None:
    items = [
        {"type": "message", "role": "user", "content": "Edit."},
        {"type": "custom_tool_call", "call_id": "call_0", "name": "apply_patch", "input": PATCH},
        {"type": "custom_tool_call_output", "call_id": "call_0", "output": "done"},
        {"type": "function_call", "call_id": "call_1", "namespace": "github", "name": "close", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "closed"},
    ]
    _, call, result, other, _ = RESPONSES.to_chat({**BODY, "input": items})["messages"]
    function = call["tool_calls"][0]["function"]
    assert (function["name"], json_or_none(function["arguments"].encode())) == ("apply_patch", {"input": PATCH})
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_0")
    assert other["tool_calls"][0]["function"]["name"] == "github__close"


def test_a_choice_of_a_custom_tool_is_one_of_its_function() -> None:
    chosen = RESPONSES.to_chat({**BODY, "tool_choice": {"type": "custom", "name": "apply_patch"}})["tool_choice"]
    assert chosen == {"type": "function", "function": {"name": "apply_patch"}}


def test_a_built_in_tool_in_a_namespace_is_refused_with_its_path() -> None:
    namespace = {"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}
    with pytest.raises(FieldError, match=r"tools\[0\].tools\[0\].type.*web_search"):
        RESPONSES.to_chat({**BODY, "tools": [namespace]})


@given(st.text())
def test_any_text_is_the_input_again(text: str) -> None:
    assert input_in(arguments_of(text)) == text


@pytest.mark.parametrize("arguments", ["plain text", '{"patch": "x"}', "[1]", "3"])
def test_arguments_of_another_form_are_the_input_as_they_are(arguments: str) -> None:
    assert input_in(arguments) == arguments


def test_arguments_that_are_only_a_text_are_that_text() -> None:
    assert input_in('"ls -l"') == "ls -l"
