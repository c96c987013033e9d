"""Anthropic requests, converted to chat requests."""

from __future__ import annotations

from typing import Any

import pytest

from router.errors import FieldError
from router.wire import CONVERSIONS, Dialect, without_foreign_thinking
from router.wire.dialect import adapt

MARK = {"cache_control": {"type": "ephemeral"}}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
STRICT = Dialect(cache_control=False, output_limit="max_completion_tokens", rejects=frozenset({"reasoning_effort"}))


COMMON = Dialect()
TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]


def chat(dialect: Dialect = COMMON, /, **fields: Any) -> dict[str, Any]:
    body = {"model": "auto", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}], **fields}
    return dict(adapt(CONVERSIONS["messages"].to_chat(body), dialect).body)


def conversation(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = chat(messages=[{"role": role, "content": content} for role, content in turns])[
        "messages"
    ]
    return messages


def text(text: str, **cache_control: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **cache_control}


def tool_use(id_: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": "f", "input": arguments}


def tool_result(id_: str, content: Any = "done", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **fields}


def rejected_param(**fields: Any) -> str:
    with pytest.raises(FieldError) as raised:
        chat(**fields)
    return raised.value.param


def test_a_simple_request_is_converted_field_by_field() -> None:
    assert chat(temperature=0.5, top_p=0.9, stop_sequences=["END"]) == {
        "model": "auto",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
    }


def test_unknown_fields_are_passed_on() -> None:
    assert chat(top_k=5, min_p=0.1)["min_p"] == 0.1
    assert chat(top_k=5)["top_k"] == 5


def test_fields_of_anthropics_service_are_left_out() -> None:
    assert chat(service_tier="auto", context_management={"edits": []}) == chat()


@pytest.mark.parametrize("field", ["container", "mcp_servers"])
def test_fields_that_only_anthropic_supports_are_rejected(field: str) -> None:
    assert rejected_param(**{field: ["x"]}) == field


def test_a_stream_requests_usage() -> None:
    converted = chat(stream=True)

    assert (converted["stream"], converted["stream_options"]) == (True, {"include_usage": True})


def test_the_system_prompt_is_the_first_message() -> None:
    assert chat(system="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}


def test_cache_control_is_copied_to_the_same_part() -> None:
    converted = chat(
        system=[text("A"), text("B", **MARK)],
        messages=[
            {"role": "user", "content": [text("u", **MARK)]},
            {"role": "assistant", "content": [text("a", **MARK), tool_use("1")]},
            {"role": "user", "content": [tool_result("1", "r", **MARK)]},
        ],
        tools=[{"name": "f", "input_schema": {"type": "object"}, **MARK}],
    )

    assert [message["content"] for message in converted["messages"]] == [
        [text("A"), text("B", **MARK)],
        [text("u", **MARK)],
        [text("a", **MARK)],
        [text("r", **MARK)],
    ]
    assert converted["tools"][0]["cache_control"] == MARK["cache_control"]


def test_an_upstream_that_rejects_cache_control_does_not_receive_it() -> None:
    converted = chat(STRICT, system=[text("A"), text("B", **MARK)], cache_control={"type": "ephemeral"})

    assert "cache_control" not in str(converted)
    assert converted["messages"][0] == {"role": "system", "content": "A\nB"}


def test_openais_models_receive_the_output_limit_as_max_completion_tokens() -> None:
    converted = chat(STRICT)

    assert converted["max_completion_tokens"] == 64
    assert "max_tokens" not in converted


@pytest.mark.parametrize(
    "source", [PNG["source"], {"type": "url", "url": "https://example.com/a.png"}], ids=["base64", "url"]
)
def test_images_become_image_urls(source: dict[str, str]) -> None:
    url = source.get("url", "data:image/png;base64,AAAA")

    [message] = conversation(("user", [text("look"), {"type": "image", "source": source}]))

    assert message["content"] == [text("look"), {"type": "image_url", "image_url": {"url": url}}]


def test_a_pdf_becomes_a_file() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}

    [message] = conversation(("user", [{"type": "document", "source": source, "title": "Report"}, text("Sum up.")]))

    file = {"filename": "Report", "file_data": "data:application/pdf;base64,JVBE"}
    assert message["content"] == [{"type": "file", "file": file}, text("Sum up.")]


def test_text_documents_become_text_parts() -> None:
    plain = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    blocks = {"type": "document", "source": {"type": "content", "content": [text("within"), PNG]}}
    search_result = {"type": "search_result", "title": "T", "source": "https://s", "content": [text("hit")]}

    [message] = conversation(("user", [plain, blocks, search_result]))

    assert message["content"] == [text("T\nwords"), text("within"), PNG_PART, text("T\nhttps://s\nhit")]


@pytest.mark.parametrize("kind", ["image", "document"])
def test_files_stored_at_anthropic_are_rejected(kind: str) -> None:
    block = {"type": kind, "source": {"type": "file", "file_id": "file_1"}}

    assert rejected_param(messages=[{"role": "user", "content": [block]}]) == "messages[0].content[0].source.type"


def test_calls_and_results_keep_their_ids() -> None:
    assert conversation(
        ("user", "go"),
        ("assistant", [text("Sure."), tool_use("1", x=1), tool_use("2")]),
        ("user", [tool_result("1"), tool_result("2")]),
    ) == [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": "Sure.",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "done"},
        {"role": "tool", "tool_call_id": "2", "content": "done"},
    ]


def test_a_message_with_only_tool_calls_has_no_content() -> None:
    assert conversation(("assistant", [tool_use("1")]))[0]["content"] is None


@pytest.mark.parametrize(
    "turns",
    [
        [("user", [text("and now"), tool_result("1"), tool_result("2")])],
        [("user", [tool_result("1"), text("and now")]), ("user", [tool_result("2")])],
        [("user", [text("and now")]), ("user", [tool_result("1"), tool_result("2")])],
    ],
    ids=["text first", "text between", "text in its own message"],
)
def test_tool_results_directly_follow_their_calls(turns: list[tuple[str, Any]]) -> None:
    messages = conversation(("assistant", [tool_use("1"), tool_use("2")]), *turns)

    assert [message.get("tool_call_id", message["role"]) for message in messages] == ["assistant", "1", "2", "user"]
    assert messages[-1]["content"] == "and now"


def test_an_image_from_a_tool_follows_the_results() -> None:
    messages = conversation(
        ("assistant", [tool_use("1"), tool_use("2")]),
        ("user", [tool_result("1", [text("seen"), PNG]), tool_result("2", [PNG])]),
    )

    assert messages[1:] == [
        {"role": "tool", "tool_call_id": "1", "content": "seen"},
        {"role": "tool", "tool_call_id": "2", "content": "(the result follows)"},
        {"role": "user", "content": [text("The result of the tool call 1:"), PNG_PART]},
        {"role": "user", "content": [text("The result of the tool call 2:"), PNG_PART]},
    ]


def test_the_result_of_a_failed_tool_states_the_failure() -> None:
    messages = conversation(("assistant", [tool_use("1")]), ("user", [tool_result("1", "no such file", is_error=True)]))

    assert messages[1]["content"] == "The tool failed.\nno such file"


def test_a_result_without_content_is_empty() -> None:
    block = {"type": "tool_result", "tool_use_id": "1"}

    assert conversation(("assistant", [tool_use("1")]), ("user", [block]))[1]["content"] == ""


def test_thinking_of_earlier_turns_is_left_out() -> None:
    thoughts = [
        {"type": "thinking", "thinking": "Hmm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
    ]

    assert conversation(("assistant", [*thoughts, text("Yes.")])) == [{"role": "assistant", "content": "Yes."}]


def test_a_system_message_within_the_conversation_keeps_its_position() -> None:
    assert [message["role"] for message in conversation(("user", "a"), ("system", "b"), ("user", "c"))] == [
        "user",
        "system",
        "user",
    ]


def test_blocks_of_anthropics_built_in_tools_are_rejected() -> None:
    block = {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}}

    assert rejected_param(messages=[{"role": "assistant", "content": [block]}]) == "messages[0].content[0].type"


def test_tools_become_functions() -> None:
    schema = {"type": "object", "properties": {}}
    tool = {"name": "f", "description": "does", "input_schema": schema, "strict": True, "type": "custom"}

    assert chat(tools=[tool])["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "does", "parameters": schema, "strict": True}}
    ]


@pytest.mark.parametrize("kind", ["web_search_20250305", "bash_20250124"])
def test_anthropics_built_in_tools_are_rejected(kind: str) -> None:
    assert rejected_param(tools=[{"name": "f", "input_schema": {}}, {"type": kind, "name": "x"}]) == "tools[1].type"


@pytest.mark.parametrize(
    ("choice", "converted"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_the_tool_choice_is_converted(choice: dict[str, Any], converted: Any) -> None:
    assert chat(tools=TOOLS, tool_choice=choice)["tool_choice"] == converted


def test_parallel_tool_calls_can_be_disabled() -> None:
    disabled = {"type": "auto", "disable_parallel_tool_use": True}
    assert chat(tools=TOOLS, tool_choice=disabled)["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in chat(tools=TOOLS, tool_choice={"type": "auto"})


def test_the_user_id_is_cut_to_openais_limit() -> None:
    assert chat(metadata={"user_id": "u" * 100})["user"] == "u" * 64


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4_096}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}}, "high"),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "none"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}, "medium"),
        ({"output_config": {"effort": "max"}}, "high"),
    ],
)
def test_thinking_becomes_a_reasoning_effort(fields: dict[str, Any], effort: str | None) -> None:
    assert chat(**fields).get("reasoning_effort") == effort
    assert "reasoning_effort" not in chat(STRICT, **fields)


CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize("field", ["output_config", "output_format"])
@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "properties": {"a": {"type": "object"}}}, False),
        ({"type": "array", "items": [CLOSED]}, True),
    ],
    ids=["closed", "optional", "open inside", "array"],
)
def test_a_schema_is_strict_only_where_openai_accepts_it(field: str, schema: dict[str, Any], strict: bool) -> None:
    output_format = {"type": "json_schema", "schema": schema}

    converted = chat(**{field: {"format": output_format} if field == "output_config" else output_format})

    json_schema = {"name": "answer", "schema": schema, "strict": strict}
    assert converted["response_format"] == {"type": "json_schema", "json_schema": json_schema}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user", "content": []}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "odd"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "content": [PNG]}]}, "messages[0].content[0].type"),
        ({"system": [PNG]}, "system[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "all"}}, "tool_choice.type"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
        ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, "thinking.budget_tokens"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ],
)
def test_the_error_names_the_invalid_field(fields: dict[str, Any], param: str) -> None:
    assert rejected_param(**fields) == param


def test_half_a_surrogate_pair_in_arguments_survives() -> None:
    [message] = conversation(("assistant", [tool_use("1", x="\ud83d")]))

    assert message["tool_calls"][0]["function"]["arguments"] == '{"x":"\\ud83d"}'


def test_unsigned_thinking_is_not_sent_to_anthropic() -> None:
    signed = {"type": "thinking", "thinking": "A", "signature": "s"}
    unsigned = {"type": "thinking", "thinking": "B", "signature": ""}
    turns = [[signed, text("a", **MARK)], [unsigned, text("b", **MARK)], [unsigned]]
    body = {"messages": [{"role": "assistant", "content": blocks} for blocks in turns], "system": "s"}

    assert without_foreign_thinking(body, signed_only=True) == {
        "messages": [
            {"role": "assistant", "content": [signed, text("a", **MARK)]},
            {"role": "assistant", "content": [text("b", **MARK)]},
        ],
        "system": "s",
    }


@pytest.mark.parametrize("messages", [None, "hi", [5], [{"role": "assistant", "content": "a"}]])
def test_a_body_without_foreign_thinking_is_not_changed(messages: Any) -> None:
    body = {"messages": messages}

    assert without_foreign_thinking(body, signed_only=True) is body


def test_a_billing_line_alone_leaves_no_system_message() -> None:
    line = "x-anthropic-billing-header: cc_version=2; cch=abc;"
    messages = conversation(("user", "hi"))
    for system in (line, [text(line)]):
        assert chat(system=system, messages=messages)["messages"] == [{"role": "user", "content": "hi"}]
