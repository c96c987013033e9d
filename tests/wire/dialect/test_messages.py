"""The messages of chat bodies in the dialects of servers."""

from __future__ import annotations

from typing import Any

import pytest

from router.wire.dialect import SERVERS, Dialect, adapt, dialect_for, refusal

MARK = {"cache_control": {"type": "ephemeral"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}
USER = {"role": "user", "content": "hi"}
LEADING = Dialect(system="leading")
NO_EMPTY = Dialect(empty_texts=False)


def fit(dialect: Dialect, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    return list(adapt({"messages": list(messages)}, dialect).body["messages"])


def system(content: Any, role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": content}


def assistant(content: Any, *calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {}), **fields}


def call(arguments: Any = "{}", id_: str = "c1") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": "f", "arguments": arguments}}


def result(content: Any = "r", id_: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def test_several_system_messages_become_the_first_where_the_template_wants_one() -> None:
    assert fit(LEADING, system("a"), system("b", "developer"), USER, system("c", "developer"), USER) == [
        system("a\n\nb\n\nc"),
        USER,
        USER,
    ]


def test_one_leading_system_message_is_not_changed() -> None:
    message = system([{"type": "text", "text": "a", **MARK}])

    assert fit(LEADING, message, USER)[0] == message


def test_a_system_message_behind_others_moves_to_the_front() -> None:
    assert fit(LEADING, USER, system("a")) == [system("a"), USER]


def test_system_messages_with_parts_keep_their_parts() -> None:
    parts = [{"type": "text", "text": "a", **MARK}]

    assert fit(LEADING, system(parts), system("b"), USER)[0]["content"] == [*parts, {"type": "text", "text": "b"}]


def test_system_messages_stay_where_they_are_at_a_server_that_accepts_them() -> None:
    messages = [system("a"), USER, system("b"), USER]

    assert fit(SERVERS["deepseek"].dialect, *messages) == messages


@pytest.mark.parametrize(("server", "role"), [("openai", "developer"), ("azure", "developer"), ("mistral", "system")])
def test_developer_becomes_system_where_the_role_is_unknown(server: str, role: str) -> None:
    assert fit(SERVERS[server].dialect, system("a", "developer"), USER)[0]["role"] == role


@pytest.mark.parametrize("arguments", ["", None])
@pytest.mark.parametrize("server", SERVERS)
def test_a_call_without_arguments_has_an_empty_object(server: str, arguments: Any) -> None:
    messages = fit(SERVERS[server].dialect, USER, assistant(None, call(arguments)), result())

    assert messages[1]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("content", ["", " ", None, [], [{"type": "text", "text": ""}]])
def test_a_turn_of_calls_alone_has_no_text(content: Any) -> None:
    assert fit(NO_EMPTY, USER, assistant(content, call()), result())[1]["content"] in (None, [])


@pytest.mark.parametrize("content", ["", " \n", None, [{"type": "text", "text": " "}]])
def test_an_empty_message_is_left_out_where_the_server_rejects_it(content: Any) -> None:
    assert fit(NO_EMPTY, USER, assistant(content), USER) == [USER, USER]
    assert fit(NO_EMPTY, system(content, "user"), USER) == [USER]


def test_empty_parts_beside_others_are_left_out() -> None:
    assert fit(NO_EMPTY, {"role": "user", "content": [{"type": "text", "text": ""}, IMAGE]})[0]["content"] == [IMAGE]


def test_an_empty_result_stays_a_result() -> None:
    for content in ("", None, [{"type": "text", "text": ""}]):
        assert fit(NO_EMPTY, USER, assistant(None, call()), result(content))[2] == result("")


def test_empty_texts_are_kept_where_the_server_accepts_them() -> None:
    messages = [USER, assistant("", call()), result("")]

    assert fit(Dialect(), *messages) == messages


PARTS = {
    "input_audio": {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    "video_url": {"type": "video_url", "video_url": {"url": "https://example.invalid/y.mp4"}},
    "file id": {"type": "file", "file": {"file_id": "file-abc"}},
    "file": {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}},
    "document_url": {"type": "document_url", "document_url": "https://example.invalid/a.pdf"},
    "image": IMAGE,
}


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        ("anthropic", {"input_audio", "video_url", "file id", "document_url"}),
        ("bedrock", {"input_audio", "file id", "document_url"}),
        ("litellm", {"input_audio", "video_url", "file id", "document_url"}),
        ("openai", {"video_url", "document_url"}),
        ("ollama", {"input_audio", "video_url", "file id", "file", "document_url"}),
        ("deepseek", {"input_audio", "video_url", "file id", "file", "document_url", "image"}),
        ("gemini_openai", {"video_url", "file id", "file", "document_url"}),
        ("gemini", set()),
        ("mistral", {"video_url", "file id", "file"}),
        ("vllm", set()),
        ("openai_compatible", set()),
    ],
)
def test_parts_that_a_server_cannot_read_are_refused_and_never_left_out(server: str, refused: set[str]) -> None:
    assert {name for name, part in PARTS.items() if _refuses(server, part)} == refused


def _refuses(server: str, part: dict[str, Any]) -> bool:
    message = {"role": "user", "content": [part, {"type": "text", "text": "what is it?"}]}
    reason = refusal({"messages": [message]}, SERVERS[server].dialect)
    assert reason is None or reason.startswith("`messages[0].content[0].")
    return reason is not None


def test_an_id_of_another_form_is_replaced_in_the_call_and_in_its_result() -> None:
    long_id = f"call_1__thought__{'A' * 300}"
    for server, characters in (("mistral", 9), ("openai", 40)):
        turn, answer = fit(SERVERS[server].dialect, assistant("", call(id_=long_id)), result(id_=long_id))

        assert turn["tool_calls"][0]["id"] == answer["tool_call_id"]
        assert len(answer["tool_call_id"]) == characters


def test_an_id_that_a_server_accepts_is_kept() -> None:
    for server, id_ in (("mistral", "abcDEF123"), ("openai", "call_1"), ("anthropic", "toolu_1-a"), ("vllm", "x.1/ü")):
        assert fit(SERVERS[server].dialect, assistant(None, call(id_=id_)), result(id_=id_))[1]["tool_call_id"] == id_


def test_cache_breakpoints_are_removed_from_parts_calls_and_tools() -> None:
    body = {
        "cache_control": MARK["cache_control"],
        "messages": [
            {"role": "user", "content": [{**IMAGE, **MARK}]},
            {"role": "assistant", "tool_calls": [{"id": "1", **MARK}]},
        ],
        "tools": [{"type": "function", **MARK}],
    }

    assert adapt(body, Dialect(cache_control=False)).body == {
        "messages": [{"role": "user", "content": [IMAGE]}, {"role": "assistant", "tool_calls": [{"id": "1"}]}],
        "tools": [{"type": "function"}],
    }


def test_parts_of_text_become_a_string_where_the_server_reads_no_others() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    assert fit(SERVERS["deepseek"].dialect, system(parts, "user")) == [system("a\nb", "user")]
    assert fit(SERVERS["vllm"].dialect, system(parts, "user")) == [system(parts, "user")]


def test_the_name_of_a_user_is_left_out_where_the_server_knows_none() -> None:
    assert fit(SERVERS["groq"].dialect, {**USER, "name": "ann"}) == [USER]
    assert fit(SERVERS["openai"].dialect, {**USER, "name": "ann"}) == [{**USER, "name": "ann"}]


def test_an_empty_list_of_tool_calls_is_left_out() -> None:
    turn = {"role": "assistant", "content": "a", "tool_calls": []}
    assert adapt({"messages": [turn]}, Dialect()).body["messages"] == [{"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(("arguments", "fitted"), [('{"a": ', '{"INVALID_JSON":"{\\"a\\": "}'), ('{"a":1}', '{"a":1}')])
def test_arguments_that_are_no_json_do_not_end_a_conversation(arguments: str, fitted: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    calls = adapt({"messages": [turn]}, Dialect()).body["messages"][0]["tool_calls"]
    assert calls[0]["function"]["arguments"] == fitted


def test_a_jpeg_image_has_the_registered_media_type() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}}
    fitted = adapt({"messages": [{"role": "user", "content": [part]}]}, Dialect()).body["messages"][0]["content"]
    assert fitted == [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}}]


def test_a_system_message_alone_is_the_users_for_claude() -> None:
    messages = [{"role": "system", "content": "hi"}]
    dialect = dialect_for("anthropic", "", "claude-sonnet-4-5", converted=True)
    assert adapt({"messages": messages}, dialect).body["messages"] == [{"role": "user", "content": "hi"}]
    assert adapt({"messages": messages}, Dialect()).body["messages"] == messages
