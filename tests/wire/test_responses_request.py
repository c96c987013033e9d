"""Responses requests, converted to chat requests."""

from __future__ import annotations

from typing import Any

import pytest

from router.errors import FieldError
from router.wire import CONVERSIONS, Dialect
from router.wire.dialect import adapt

URL = "https://example.com/a.png"


COMMON = Dialect()
TOOLS = [{"type": "function", "name": "f"}]


def chat(dialect: Dialect = COMMON, /, **fields: Any) -> dict[str, Any]:
    return dict(adapt(CONVERSIONS["responses"].to_chat({"model": "auto", "input": "hi", **fields}), dialect).body)


def conversation(*items: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = chat(input=list(items))["messages"]
    return messages


def rejected_param(**fields: Any) -> str:
    with pytest.raises(FieldError) as raised:
        chat(**fields)
    return raised.value.param


def function_call(id_: str) -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{id_}", "call_id": id_, "name": "f", "arguments": "{}"}


def function_call_output(id_: str, output: Any = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id_, "output": output}


def test_a_string_becomes_a_user_message() -> None:
    assert chat() == {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


def test_instructions_become_the_first_message() -> None:
    assert chat(instructions="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}


def test_messages_keep_their_order_and_developer_becomes_system() -> None:
    assert conversation(
        {"role": "developer", "content": "d"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]},
    ) == [
        {"role": "system", "content": "d"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"},
    ]


def test_images_files_and_audio_become_parts() -> None:
    audio = {"data": "AAAA", "format": "wav"}
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": URL, "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        {"type": "input_audio", "input_audio": audio},
    ]

    assert conversation({"role": "user", "content": parts})[0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "input_audio", "input_audio": audio},
    ]


def test_adjacent_calls_are_in_one_message() -> None:
    messages = conversation(
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "Sure."},
        function_call("1"),
        function_call("2"),
        function_call_output("1"),
        function_call_output("2", [{"type": "input_text", "text": "done"}]),
        {"role": "user", "content": "and?"},
    )

    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["1", "2"]
    assert (messages[1]["content"], messages[3]["content"]) == ("Sure.", "done")


def test_sequential_calls_are_in_separate_messages() -> None:
    messages = conversation(
        function_call("1"), function_call_output("1"), function_call("2"), function_call_output("2")
    )

    assert [message["role"] for message in messages] == ["assistant", "tool", "assistant", "tool"]
    assert messages[0]["content"] is None


def message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


@pytest.mark.parametrize(
    ("items", "order"),
    [
        (
            [function_call("c1"), message("developer", "Be brief."), function_call_output("c1")],
            [("assistant", None, ["c1"]), ("tool", "done", "c1"), ("system", "Be brief.", None)],
        ),
        (
            [function_call("c1"), message("assistant", "So."), function_call_output("c1")],
            [("assistant", "So.", ["c1"]), ("tool", "done", "c1")],
        ),
        (
            [
                *(message("assistant", "I look."), function_call("c1")),
                *(message("assistant", "\n"), function_call("c2")),
                *(function_call_output("c1"), function_call_output("c2"), message("assistant", "Seen.")),
            ],
            [
                *(("assistant", "I look.\n", ["c1", "c2"]), ("tool", "done", "c1"), ("tool", "done", "c2")),
                ("assistant", "Seen.", None),
            ],
        ),
        (
            [
                *(function_call("c1"), message("user", "And?"), function_call("c2")),
                *(function_call_output("c2"), function_call_output("c1")),
            ],
            [
                *(("assistant", None, ["c1"]), ("tool", "done", "c1"), ("user", "And?", None)),
                *(("assistant", None, ["c2"]), ("tool", "done", "c2")),
            ],
        ),
        (
            # Some servers give the same id in every turn.
            [function_call("c"), function_call_output("c"), function_call("c"), function_call_output("c")],
            [("assistant", None, ["c"]), ("tool", "done", "c")] * 2,
        ),
    ],
)
def test_results_follow_their_calls_whatever_stands_between(items: list[dict[str, Any]], order: list[Any]) -> None:
    found = conversation(*items)
    ids = [[call["id"] for call in turn.get("tool_calls", ())] or turn.get("tool_call_id") for turn in found]
    assert [(turn["role"], turn["content"], id_) for turn, id_ in zip(found, ids, strict=True)] == order


def test_reasoning_between_calls_is_left_out() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}

    assert [
        message["role"] for message in conversation(reasoning, function_call("1"), reasoning, function_call_output("1"))
    ] == [
        "assistant",
        "tool",
    ]


def test_an_image_from_a_tool_follows_the_result() -> None:
    messages = conversation(function_call("1"), function_call_output("1", [{"type": "input_image", "image_url": URL}]))

    assert messages[-1] == {
        "role": "user",
        "content": [
            {"type": "text", "text": "The result of the tool call 1:"},
            {"type": "image_url", "image_url": {"url": URL}},
        ],
    }


def test_functions_are_nested() -> None:
    schema = {"type": "object", "properties": {}}
    tool = {"type": "function", "name": "f", "description": "does", "parameters": schema, "strict": True}

    assert chat(tools=[tool])["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "does", "parameters": schema, "strict": True}}
    ]


@pytest.mark.parametrize("kind", ["web_search", "file_search", "code_interpreter", "mcp", "local_shell"])
def test_openais_built_in_tools_are_rejected(kind: str) -> None:
    assert rejected_param(tools=[{"type": kind, "name": "x"}]) == "tools[0].type"


@pytest.mark.parametrize(
    ("choice", "converted"),
    [
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
        ),
    ],
    ids=["string", "function", "allowed"],
)
def test_the_tool_choice_is_converted(choice: Any, converted: Any) -> None:
    assert chat(tools=TOOLS, tool_choice=choice)["tool_choice"] == converted


@pytest.mark.parametrize(
    ("text_format", "converted"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": None},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        ),
    ],
    ids=["text", "object", "schema"],
)
def test_the_text_format_becomes_a_response_format(text_format: dict[str, Any], converted: Any) -> None:
    assert chat(text={"format": text_format, "verbosity": "low"}).get("response_format") == converted
    assert chat(text={"format": text_format, "verbosity": "low"})["verbosity"] == "low"


def test_output_limit_and_effort_depend_on_the_upstreams_dialect() -> None:
    fields = {"max_output_tokens": 5, "reasoning": {"effort": "low", "summary": "auto"}}

    assert chat(**fields) == {**chat(), "max_tokens": 5, "reasoning_effort": "low"}
    dialect = Dialect(output_limit="max_completion_tokens", rejects=frozenset({"reasoning_effort"}))
    assert chat(dialect, **fields) == {**chat(), "max_completion_tokens": 5}


def test_logprobs_are_requested() -> None:
    assert chat(include=["message.output_text.logprobs"])["logprobs"] is True
    assert chat(top_logprobs=3) == {**chat(), "logprobs": True, "top_logprobs": 3}


def test_a_stream_requests_usage() -> None:
    converted = chat(stream=True, stream_options={"include_obfuscation": False})

    assert (converted["stream"], converted["stream_options"]) == (True, {"include_usage": True})


def test_fields_for_stored_answers_are_left_out() -> None:
    assert chat(store=True, truncation="auto", metadata={"a": "b"}, background=False) == chat()


def test_unknown_fields_are_passed_on() -> None:
    fields = {"min_p": 0.1, "parallel_tool_calls": False}

    assert chat(tools=TOOLS, **fields) == {**chat(tools=TOOLS), **fields}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "call_id": "1", "name": "f"}]}, "input[0].arguments"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"include": "x"}, "include"),
    ],
)
def test_the_error_names_the_field_that_cannot_be_converted(fields: dict[str, Any], param: str) -> None:
    assert rejected_param(**fields) == param
