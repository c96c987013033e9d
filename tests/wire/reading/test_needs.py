"""What requests need, as a table of fields, tools and content parts of every protocol."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards.abilities import Capability
from router.types import Api
from router.wire import read_request
from router.wire.reading.needs import MEANINGS, MET_BY_ALL, OUTPUTS, modalities_of, modality_of, needs_of

SCHEMA = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("fields", "need"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 0}, "logprobs"),
        ({"top_logprobs": 3}, "logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "logprobs"),
        ({"web_search_options": {}}, "web_search"),
        ({"search_parameters": {"mode": "auto"}}, "web_search"),
        ({"enable_search": True}, "web_search"),
        ({"plugins": [{"id": "web"}]}, "web_search"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "json_schema"),
        ({"text": {"format": {"type": "json_schema"}}}, "json_schema"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "json_schema"),
        ({"output_format": {"type": "json_schema"}}, "json_schema"),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "json_schema"),
        ({"response_format": {"type": "json_object"}}, "json_object"),
        ({"text": {"format": {"type": "json_object"}}}, "json_object"),
        ({"format": "json", "think": False}, "json_object"),
        ({"response_format": {"type": "grammar", "grammar": "root ::= x"}}, "json_schema"),
        ({"format": SCHEMA}, "json_schema"),
        ({"guided_regex": "a+"}, "json_schema"),
        ({"guided_choice": ["a", "b"]}, "json_schema"),
        ({"structured_outputs": {"regex": "a+"}}, "json_schema"),
        ({"grammar": "root ::= x"}, "json_schema"),
        ({"ebnf": "root ::= x"}, "json_schema"),
        ({"think": True}, "reasoning"),
        ({"think": "high"}, "reasoning"),
        ({"thinking": {"type": "enabled"}}, "reasoning"),
        ({"modalities": ["text", "audio"]}, "audio_output"),
        ({"modalities": ["image", "text"]}, "image_output"),
        ({"reasoning_effort": "high"}, "reasoning"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"output_config": {"effort": "max"}}, "reasoning"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "reasoning"),
        ({"enable_thinking": True}, "reasoning"),
        ({"prediction": {"type": "content", "content": "x"}}, "predicted_outputs"),
        ({"n": 2}, "multiple_choices"),
    ],
)
def test_a_field_needs_a_capability(fields: dict[str, Any], need: str) -> None:
    assert needs_of(fields) == {need}


@pytest.mark.parametrize(
    "fields",
    [
        {"logprobs": False, "top_logprobs": 0, "n": 1},
        {"logprobs": None, "web_search_options": None, "prediction": None, "tools": None, "modalities": None},
        {"search_parameters": {"mode": "off"}, "enable_search": False},
        {"response_format": {"type": "text"}, "text": {"format": {"type": "text"}}},
        {"modalities": ["text"]},
        {"reasoning_effort": "none", "reasoning": {"effort": "minimal"}, "thinking": {"type": "adaptive"}},
        {"reasoning": {"summary": "auto"}, "thinking": {"type": "disabled"}, "enable_thinking": False},
        {"parallel_tool_calls": True, "tools": []},
        {"response_format": "odd", "text": 3, "reasoning": [], "n": "2", "tools": "odd", "modalities": "audio"},
    ],
)
def test_values_that_servers_assume_anyway_need_nothing(fields: dict[str, Any]) -> None:
    assert needs_of(fields) == frozenset()


@pytest.mark.parametrize(
    ("tool", "need"),
    [
        ({"type": "function", "function": {"name": "web_search"}}, "tools"),
        ({"type": "function", "name": "bash", "parameters": SCHEMA}, "tools"),
        ({"name": "computer", "input_schema": SCHEMA}, "tools"),
        ({"type": "custom", "name": "memory", "input_schema": SCHEMA}, "tools"),
        ({"type": "web_search"}, "web_search"),
        ({"type": "web_search_preview_2025_03_11"}, "web_search"),
        ({"type": "web_search_20250305", "name": "web_search", "max_uses": 5}, "web_search"),
        ({"type": "browser_search"}, "web_search"),
        ({"type": "x_search"}, "web_search"),
        ({"type": "openrouter:web_search"}, "web_search"),
        ({"googleSearch": {}}, "web_search"),
        ({"google_search": {}}, "web_search"),
        ({"type": "builtin_function", "function": {"name": "$web_search"}}, "web_search"),
        ({"type": "web_fetch_20250910", "name": "web_fetch"}, "web_fetch"),
        ({"url_context": {}}, "web_fetch"),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, "code_interpreter"),
        ({"type": "code_execution_20250825", "name": "code_execution"}, "code_interpreter"),
        ({"codeExecution": {}}, "code_interpreter"),
        ({"type": "file_search", "vector_store_ids": ["vs_1"]}, "file_search"),
        ({"type": "computer_use_preview"}, "computer_use"),
        ({"type": "computer_20250124", "name": "computer"}, "computer_use"),
        ({"type": "image_generation"}, "image_generation"),
        ({"type": "mcp", "server_label": "s"}, "mcp"),
        ({"type": "mcp_toolset"}, "mcp"),
        ({"type": "local_shell"}, "shell"),
        ({"type": "shell"}, "shell"),
        ({"type": "bash_20250124", "name": "bash"}, "shell"),
        ({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}, "text_editor"),
        ({"type": "apply_patch"}, "text_editor"),
        ({"type": "memory_20250818", "name": "memory"}, "memory"),
        ({"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}, "tool_search"),
    ],
)
def test_a_tool_needs_a_capability(tool: dict[str, Any], need: str) -> None:
    assert needs_of({"tools": [tool]}) == {need}


def test_a_custom_tool_of_chat_needs_a_card_that_has_them_and_one_of_responses_functions() -> None:
    of_chat, of_responses = {"type": "custom", "custom": {"name": "f"}}, {"type": "custom", "name": "f"}
    assert needs_of({"tools": [of_chat]}) == {"custom_tools"}
    assert needs_of({"tools": [of_responses]}) == {"tools"}


def test_the_tools_of_a_namespace_are_read() -> None:
    inner = [{"type": "function", "name": "close"}, {"type": "web_search"}]
    assert needs_of({"tools": [{"type": "namespace", "name": "n", "tools": inner}]}) == {"tools", "web_search"}


def test_strict_and_parallel_tools_are_needs_of_their_own() -> None:
    strict = {"type": "function", "function": {"name": "f", "strict": True}}
    assert needs_of({"tools": [strict], "parallel_tool_calls": True}) == {"tools", "strict_tools", "parallel_tools"}
    assert needs_of({"tools": [{"name": "f", "input_schema": SCHEMA, "strict": True}]}) == {"tools", "strict_tools"}
    assert needs_of({"functions": [{"name": "f"}]}) == {"tools"}


@pytest.mark.parametrize(
    ("part", "modality"),
    [
        ({"type": "text", "text": "hi"}, None),
        ({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, "image"),
        ({"type": "image", "source": {"type": "base64", "data": "x"}}, "image"),
        ({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}, "audio"),
        ({"type": "video_url", "video_url": {"url": "https://x"}}, "video"),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,x"}}, "pdf"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,x"}}, None),
        ({"type": "file", "file": {"file_data": "data:audio/wav;base64,x"}}, "audio"),
        ({"type": "input_file", "file_url": "https://x/y.pdf"}, "pdf"),
        ({"type": "input_file", "file_id": "file_1"}, None),
        ({"type": "file", "file": {"file_id": "file_1"}}, None),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}}, "pdf"),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}, None),
        ({"type": "document", "source": {"type": "url", "url": "https://x"}}, "pdf"),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, None),
        ({"type": 3}, None),
    ],
)
def test_a_part_has_a_modality(part: dict[str, Any], modality: str | None) -> None:
    assert modality_of(part) == modality


STORED = [
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]},
]


@pytest.mark.parametrize("body", STORED)
def test_a_file_by_its_id_needs_the_server_that_has_files(body: dict[str, Any]) -> None:
    assert needs_of(body) == {"files"}
    assert modalities_of(body) == {"text"}


def test_parts_within_the_results_of_tools_count() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "x", "media_type": "image/png"}}
    messages = {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [image]}]}]}
    responses = {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": "x"}]}]}
    assert modalities_of(messages) == modalities_of(responses) == {"text", "image"}


@pytest.mark.parametrize(
    ("api", "body", "needs", "modalities"),
    [
        (
            "responses",
            {"input": "hi", "previous_response_id": "r", "tools": [{"type": "web_search"}]},
            {"web_search"},
            {"text"},
        ),
        (
            "messages",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "u"}}]}
                ],
                "tools": [{"type": "bash_20250124", "name": "bash"}],
            },
            {"shell"},
            {"text", "pdf"},
        ),
        (
            "messages",
            {"messages": [{"role": "user", "content": "hi"}], "thinking": {"type": "disabled"}},
            set(),
            {"text"},
        ),
        ("completions", {"prompt": "hi", "logprobs": 2, "n": 2}, {"logprobs", "multiple_choices"}, {"text"}),
    ],
)
def test_a_request_of_each_protocol_has_its_needs_even_where_chat_cannot_express_it(
    api: Api, body: dict[str, Any], needs: set[str], modalities: set[str]
) -> None:
    request = read_request(api, body)
    assert (request.needs, request.modalities) == (needs, modalities)


def test_every_need_is_a_capability_or_an_output_of_cards() -> None:
    assert MEANINGS.keys() - OUTPUTS.keys() - MET_BY_ALL <= set(get_args(Capability))


ODD = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "audio", "function", "high"])
VALUES = st.recursive(
    ODD,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "file", "source", "content", "effort", "format"]), inner, max_size=2)
    ),
    max_leaves=5,
)
FIELDS = st.sampled_from(["tools", "messages", "input", "system", "reasoning", "text", "modalities", "plugins", "n"])


@given(st.dictionaries(FIELDS, VALUES, max_size=4))
def test_no_body_is_an_error(body: dict[str, Any]) -> None:
    assert needs_of(body) <= MEANINGS.keys()
    assert "text" in modalities_of(body)
