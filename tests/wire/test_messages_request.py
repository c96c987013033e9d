"""Anthropic requests as chat requests."""

from __future__ import annotations

from typing import Any

import pytest

from router.errors import FieldError
from router.wire import CONVERSIONS, Dialect, without_unsigned_thinking
from router.wire.dialect import adapt

MARK = {"cache_control": {"type": "ephemeral"}}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
STRICT = Dialect(cache_control=False, max_completion_tokens=True, reasoning_effort=False)


COMMON = Dialect()


def chat(dialect: Dialect = COMMON, /, **fields: Any) -> dict[str, Any]:
    body = {"model": "auto", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}], **fields}
    return dict(adapt(CONVERSIONS["messages"].to_chat(body), dialect))


def conversation(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = chat(messages=[{"role": role, "content": said} for role, said in turns])[
        "messages"
    ]
    return messages


def text(words: str, **marks: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **marks}


def use(id_: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": "f", "input": given}


def result(id_: str, content: Any = "done", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **more}


def refused(**fields: Any) -> str:
    with pytest.raises(FieldError) as raised:
        chat(**fields)
    return raised.value.param


def test_a_plain_request_stays_plain() -> None:
    assert chat(temperature=0.5, top_p=0.9, stop_sequences=["END"]) == {
        "model": "auto",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
    }


def test_fields_that_nobody_knows_pass_through() -> None:
    assert chat(top_k=5, min_p=0.1)["min_p"] == 0.1
    assert chat(top_k=5)["top_k"] == 5


def test_fields_of_anthropics_own_service_are_left_out() -> None:
    assert chat(service_tier="auto", context_management={"edits": []}) == chat()


@pytest.mark.parametrize("field", ["container", "mcp_servers"])
def test_what_only_anthropic_could_do_is_refused(field: str) -> None:
    assert refused(**{field: ["x"]}) == field


def test_a_stream_asks_for_usage() -> None:
    asked = chat(stream=True)

    assert (asked["stream"], asked["stream_options"]) == (True, {"include_usage": True})


def test_the_system_prompt_is_the_first_message() -> None:
    assert chat(system="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}


def test_cache_marks_stay_where_the_client_put_them() -> None:
    asked = chat(
        system=[text("A"), text("B", **MARK)],
        messages=[
            {"role": "user", "content": [text("u", **MARK)]},
            {"role": "assistant", "content": [text("a", **MARK), use("1")]},
            {"role": "user", "content": [result("1", "r", **MARK)]},
        ],
        tools=[{"name": "f", "input_schema": {"type": "object"}, **MARK}],
    )

    assert [message["content"] for message in asked["messages"]] == [
        [text("A"), text("B", **MARK)],
        [text("u", **MARK)],
        [text("a", **MARK)],
        [text("r", **MARK)],
    ]
    assert asked["tools"][0]["cache_control"] == MARK["cache_control"]


def test_an_upstream_that_refuses_cache_marks_gets_none() -> None:
    asked = chat(STRICT, system=[text("A"), text("B", **MARK)], cache_control={"type": "ephemeral"})

    assert "cache_control" not in str(asked)
    assert asked["messages"][0] == {"role": "system", "content": "A\nB"}


def test_openais_models_get_the_limit_that_they_know() -> None:
    asked = chat(STRICT)

    assert asked["max_completion_tokens"] == 64
    assert "max_tokens" not in asked


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


def test_documents_of_text_are_text() -> None:
    plain = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    blocks = {"type": "document", "source": {"type": "content", "content": [text("within"), PNG]}}
    found = {"type": "search_result", "title": "T", "source": "https://s", "content": [text("hit")]}

    [message] = conversation(("user", [plain, blocks, found]))

    assert message["content"] == [text("T\nwords"), text("within"), PNG_PART, text("T\nhttps://s\nhit")]


@pytest.mark.parametrize("kind", ["image", "document"])
def test_files_that_anthropic_keeps_are_refused(kind: str) -> None:
    block = {"type": kind, "source": {"type": "file", "file_id": "file_1"}}

    assert refused(messages=[{"role": "user", "content": [block]}]) == "messages[0].content[0].source.type"


def test_calls_and_results_keep_their_ids() -> None:
    assert conversation(
        ("user", "go"), ("assistant", [text("Sure."), use("1", x=1), use("2")]), ("user", [result("1"), result("2")])
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


def test_an_assistant_that_only_calls_says_nothing() -> None:
    assert conversation(("assistant", [use("1")]))[0]["content"] is None


@pytest.mark.parametrize(
    "turns",
    [
        [("user", [text("and now"), result("1"), result("2")])],
        [("user", [result("1"), text("and now")]), ("user", [result("2")])],
        [("user", [text("and now")]), ("user", [result("1"), result("2")])],
    ],
    ids=["words first", "words between", "words in a turn of their own"],
)
def test_results_stand_directly_behind_their_calls(turns: list[tuple[str, Any]]) -> None:
    messages = conversation(("assistant", [use("1"), use("2")]), *turns)

    assert [message.get("tool_call_id", message["role"]) for message in messages] == ["assistant", "1", "2", "user"]
    assert messages[-1]["content"] == "and now"


def test_an_image_from_a_tool_follows_the_results() -> None:
    messages = conversation(
        ("assistant", [use("1"), use("2")]), ("user", [result("1", [text("seen"), PNG]), result("2", [PNG])])
    )

    assert messages[1:] == [
        {"role": "tool", "tool_call_id": "1", "content": "seen"},
        {"role": "tool", "tool_call_id": "2", "content": "(the result follows)"},
        {"role": "user", "content": [text("The result of the tool call 1:"), PNG_PART]},
        {"role": "user", "content": [text("The result of the tool call 2:"), PNG_PART]},
    ]


def test_a_failed_tool_is_said_to_have_failed() -> None:
    messages = conversation(("assistant", [use("1")]), ("user", [result("1", "no such file", is_error=True)]))

    assert messages[1]["content"] == "The tool failed.\nno such file"


def test_a_result_without_content_is_empty() -> None:
    block = {"type": "tool_result", "tool_use_id": "1"}

    assert conversation(("assistant", [use("1")]), ("user", [block]))[1]["content"] == ""


def test_thinking_of_earlier_turns_is_left_out() -> None:
    thoughts = [
        {"type": "thinking", "thinking": "Hmm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
    ]

    assert conversation(("assistant", [*thoughts, text("Yes.")])) == [{"role": "assistant", "content": "Yes."}]


def test_a_system_message_within_the_conversation_keeps_its_place() -> None:
    assert [message["role"] for message in conversation(("user", "a"), ("system", "b"), ("user", "c"))] == [
        "user",
        "system",
        "user",
    ]


def test_blocks_of_anthropics_own_tools_are_refused() -> None:
    block = {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}}

    assert refused(messages=[{"role": "assistant", "content": [block]}]) == "messages[0].content[0].type"


def test_tools_become_functions() -> None:
    schema = {"type": "object", "properties": {}}
    tool = {"name": "f", "description": "does", "input_schema": schema, "strict": True, "type": "custom"}

    assert chat(tools=[tool])["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "does", "parameters": schema, "strict": True}}
    ]


@pytest.mark.parametrize("kind", ["web_search_20250305", "bash_20250124"])
def test_anthropics_own_tools_are_refused(kind: str) -> None:
    assert refused(tools=[{"name": "f", "input_schema": {}}, {"type": kind, "name": "x"}]) == "tools[1].type"


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_the_choice_of_tools_is_said_in_chats_words(choice: dict[str, Any], said: Any) -> None:
    assert chat(tool_choice=choice)["tool_choice"] == said


def test_one_call_at_a_time_may_be_asked_for() -> None:
    assert chat(tool_choice={"type": "auto", "disable_parallel_tool_use": True})["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in chat(tool_choice={"type": "auto"})


def test_the_user_is_named_as_far_as_openai_takes_it() -> None:
    assert chat(metadata={"user_id": "u" * 100})["user"] == "u" * 64


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4_096}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}}, "high"),
        ({"thinking": {"type": "disabled"}}, None),
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
def test_a_schema_is_strict_only_where_openai_takes_it(field: str, schema: dict[str, Any], strict: bool) -> None:
    wanted = {"type": "json_schema", "schema": schema}

    asked = chat(**{field: {"format": wanted} if field == "output_config" else wanted})

    shape = {"name": "answer", "schema": schema, "strict": strict}
    assert asked["response_format"] == {"type": "json_schema", "json_schema": shape}


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
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == param


def test_half_a_surrogate_pair_in_arguments_survives() -> None:
    [message] = conversation(("assistant", [use("1", x="\ud83d")]))

    assert message["tool_calls"][0]["function"]["arguments"] == '{"x":"\\ud83d"}'


def test_thinking_that_nobody_signed_does_not_go_to_anthropic() -> None:
    signed = {"type": "thinking", "thinking": "A", "signature": "s"}
    unsigned = {"type": "thinking", "thinking": "B", "signature": ""}
    turns = [[signed, text("a", **MARK)], [unsigned, text("b", **MARK)], [unsigned]]
    body = {"messages": [{"role": "assistant", "content": blocks} for blocks in turns], "system": "s"}

    assert without_unsigned_thinking(body) == {
        "messages": [
            {"role": "assistant", "content": [signed, text("a", **MARK)]},
            {"role": "assistant", "content": [text("b", **MARK)]},
        ],
        "system": "s",
    }


@pytest.mark.parametrize("messages", [None, "hi", [5], [{"role": "assistant", "content": "a"}]])
def test_a_body_without_foreign_thinking_is_not_touched(messages: Any) -> None:
    body = {"messages": messages}

    assert without_unsigned_thinking(body) is body
