"""The fields of chat bodies in the dialects of servers: a table of server, field and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from router.errors import FieldError
from router.wire.dialect import Dialect, Fitted, adapt, dialect_for, may_be_refused, refusal

HI = {"messages": [{"role": "user", "content": "hi"}]}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
# provider, host and model of one card of each kind
PLACES = {
    "openai": ("openai", "api.openai.com", "gpt-4o"),
    "gpt-5": ("openai", "api.openai.com", "gpt-5-mini"),
    "azure gpt-5": ("azure", "", "gpt-5"),
    "claude": ("anthropic", "", "claude-sonnet-4-5"),
    "claude 4.7": ("anthropic", "", "claude-opus-4-7"),
    "mistral": ("mistral", "api.mistral.ai", "mistral-large"),
    "deepseek": ("deepseek", "api.deepseek.com", "deepseek-chat"),
    "kimi": ("moonshot", "api.moonshot.ai", "kimi-k2.5"),
    "gemini": ("openai_like", "generativelanguage.googleapis.com", "gemini-2.5-pro"),
    "groq": ("groq", "api.groq.com", "m"),
    "cerebras": ("cerebras", "api.cerebras.ai", "m"),
    "cohere": ("cohere_chat", "", "command-r"),
    "grok": ("xai", "api.x.ai", "grok-4"),
    "together": ("together_ai", "api.together.xyz", "m"),
    "fireworks": ("fireworks_ai", "api.fireworks.ai", "m"),
    "openrouter": ("openrouter", "openrouter.ai", "m"),
    "ollama": ("ollama", "localhost", "m"),
    "llama.cpp": ("llamafile", "localhost", "m"),
    "lm studio": ("lm_studio", "localhost", "m"),
    "vllm": ("hosted_vllm", "10.0.0.5", "m"),
    "unknown": ("openai_like", "10.0.0.5", "m"),
}


def fit(place: str, **fields: Any) -> Fitted:
    return adapt({**HI, **fields}, dialect_for(*PLACES[place]))


@pytest.mark.parametrize(
    ("place", "sent", "arrives"),
    [
        ("openai", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("gpt-5", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("gpt-5", {"max_tokens": 5, "max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ("mistral", {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ("unknown", {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ("unknown", {"max_completion_tokens": None, "max_tokens": 5}, {"max_tokens": 5}),
        ("claude", {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ("mistral", {"seed": 7}, {"random_seed": 7}),
        ("unknown", {"seed": 7, "logit_bias": {"5": 1}, "odd": 1}, {"seed": 7, "logit_bias": {"5": 1}, "odd": 1}),
        ("gpt-5", {"temperature": 1, "top_p": 1}, {"temperature": 1, "top_p": 1}),
        ("openai", {"user": "u" * 100}, {"user": "u" * 64}),
        ("llama.cpp", {"repetition_penalty": 1.1}, {"repeat_penalty": 1.1}),
        ("lm studio", {"repetition_penalty": 1.1}, {"repeat_penalty": 1.1}),
        ("vllm", {"repetition_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ("vllm", {"top_k": 5, "min_p": 0.1}, {"top_k": 5, "min_p": 0.1}),
        ("claude", {"top_k": 5}, {"top_k": 5}),
        ("openrouter", {"seed": 7, "store": True}, {"seed": 7, "store": True}),
        ("groq", {"n": 1, "user": "u"}, {"n": 1, "user": "u"}),
        ("deepseek", {"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ("claude", {"stop": ["a", "b", "c", "d", "e"]}, {"stop": ["a", "b", "c", "d", "e"]}),
    ],
)
def test_a_field_arrives_in_the_servers_words(place: str, sent: dict[str, Any], arrives: dict[str, Any]) -> None:
    assert fit(place, **sent) == Fitted({**HI, **arrives})


@pytest.mark.parametrize(
    "fields",
    [
        {"frequency_penalty": 0, "presence_penalty": 0.0},
        {"n": 1, "logprobs": False, "top_logprobs": 0},
        {"store": False, "verbosity": "medium", "prompt_cache_key": "", "user": ""},
        {"logit_bias": {}, "modalities": ["text"], "functions": [], "function_call": None},
        {"seed": None, "audio": None, "prediction": None, "web_search_options": None, "metadata": {}},
        {"service_tier": "auto", "stop": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"response_format": {"type": "text"}, "max_tokens": None},
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_a_default_is_no_reason_to_refuse_a_request_or_to_note_a_loss(place: str, fields: dict[str, Any]) -> None:
    fitted = fit(place, **fields)

    assert fitted.changed == ()
    assert {name: value for name, value in fitted.body.items() if name in fields} == {
        name: value for name, value in fields.items() if name in fitted.body
    }


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("claude", {"seed": 7, "prompt_cache_key": "k", "store": True, "verbosity": "low", "presence_penalty": 0.5}),
        ("gpt-5", {"temperature": 0.2, "top_p": 0.5, "presence_penalty": 1, "top_k": 5}),
        ("azure gpt-5", {"frequency_penalty": 1}),
        ("claude 4.7", {"temperature": 0.2, "top_k": 3}),
        ("mistral", {"user": "u", "store": True, "prompt_cache_key": "k", "metadata": {"a": "b"}}),
        ("gemini", {"store": True, "seed": 7, "user": "u", "frequency_penalty": 1}),
        ("groq", {"prompt_cache_key": "k", "verbosity": "low"}),
        ("cerebras", {"presence_penalty": 1}),
        ("kimi", {"temperature": 0.2}),
        ("grok", {"presence_penalty": 1, "reasoning_effort": "low"}),
        ("fireworks", {"store": True}),
    ],
)
def test_a_hint_that_a_server_does_not_support_is_left_out_with_a_note(place: str, fields: dict[str, Any]) -> None:
    fitted = fit(place, **fields)

    assert fitted.body == HI
    assert set(fitted.changed) == set(fields)


@pytest.mark.parametrize("value", [False, True])
def test_parallel_tool_calls_are_a_hint(value: bool) -> None:
    fitted = fit("cohere", tools=TOOLS, parallel_tool_calls=value)

    assert fitted == Fitted({**HI, "tools": TOOLS}, () if value else ("parallel_tool_calls",))


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("claude", {"logit_bias": {"5": -100}}),
        ("claude", {"logprobs": True}),
        ("claude", {"n": 2}),
        ("claude", {"audio": {"voice": "a"}}),
        ("gpt-5", {"logprobs": True}),
        ("gpt-5", {"stop": ["END"]}),
        ("openai", {"stop": ["a", "b", "c", "d", "e"]}),
        ("mistral", {"logprobs": True}),
        ("groq", {"n": 2}),
        ("ollama", {"n": 2}),
        ("ollama", {"logit_bias": {"5": 1}}),
        ("deepseek", {"response_format": {"type": "json_schema", "json_schema": {}}}),
        ("kimi", {"tools": TOOLS, "tool_choice": "required"}),
        ("gemini", {"logit_bias": {"5": 1}}),
        ("grok", {"stop": "END"}),
        ("together", {"web_search_options": {}}),
    ],
)
def test_a_field_that_gives_the_answer_its_meaning_is_refused_by_name(place: str, fields: dict[str, Any]) -> None:
    with pytest.raises(FieldError) as raised:
        fit(place, **fields)

    assert raised.value.param == list(fields)[-1]
    assert "litellm" not in str(raised.value)


@pytest.mark.parametrize(
    ("place", "sent", "arrives"),
    [
        ("claude", {"temperature": 1.5}, {"temperature": 1}),
        ("mistral", {"temperature": 2}, {"temperature": 1.5}),
    ],
)
def test_a_number_outside_a_servers_bounds_is_limited_with_a_note(
    place: str, sent: dict[str, Any], arrives: dict[str, Any]
) -> None:
    assert fit(place, **sent) == Fitted({**HI, **arrives}, tuple(sent))


def test_of_two_fields_that_exclude_each_other_the_first_is_kept() -> None:
    assert fit("claude", temperature=0.2, top_p=0.5) == Fitted({**HI, "temperature": 0.2}, ("top_p",))


@pytest.mark.parametrize("choice", ["auto", "none"])
@pytest.mark.parametrize("place", PLACES)
def test_a_tool_choice_without_tools_is_left_out(place: str, choice: str) -> None:
    assert fit(place, tools=[], tool_choice=choice, parallel_tool_calls=False) == Fitted(HI)


def test_a_forced_tool_without_tools_is_left_out_with_a_note() -> None:
    assert fit("openai", tool_choice="required") == Fitted(HI, ("tool_choice",))


@pytest.mark.parametrize("tools", ["tools", 7, [None, "tool"], {}])
def test_tools_of_the_wrong_type_are_left_for_the_upstream_to_reject(tools: Any) -> None:
    body = {"messages": [{"role": "user", "content": "hi", "tool_calls": tools}], "tools": tools}

    assert adapt(body, dialect_for(*PLACES["openai"])).body == body


@pytest.mark.parametrize(
    ("fields", "may_be"),
    [
        ({"tools": TOOLS, "tool_choice": "auto", "temperature": 0, "seed": 7, "stop": ["a"], "n": 1}, False),
        ({"logprobs": False, "logit_bias": {}, "modalities": ["text"]}, False),
        ({"logprobs": True}, True),
        ({"logit_bias": {"5": 1}}, True),
        ({"stop": ["a", "b", "c", "d", "e"]}, True),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, True),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}, False),
    ],
)
def test_only_rare_fields_make_every_card_worth_asking(fields: dict[str, Any], may_be: bool) -> None:
    assert may_be_refused({**HI, **fields}) is may_be


def test_a_refusal_names_the_field_and_the_server() -> None:
    body = {**HI, "logit_bias": {"5": 1}}

    assert "`logit_bias` is not supported by Anthropic" in str(refusal(body, dialect_for(*PLACES["claude"])))
    assert refusal(body, dialect_for(*PLACES["openai"])) is None


@pytest.mark.parametrize("parameters", [{}, {"parameters": None}, {"parameters": {"type": "object"}}])
def test_a_tool_without_parameters_has_an_empty_schema(parameters: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "f", **parameters}}
    fitted = adapt({"messages": [], "tools": [tool]}, Dialect()).body["tools"]
    assert fitted[0]["function"] == {"name": "f", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("schema", [{"$ref": "#/x"}, {"type": "object", "properties": {"a": {}}}, {"anyOf": []}])
def test_a_schema_with_any_content_is_kept(schema: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}, {"type": "custom", "name": "c"}]
    assert adapt({"messages": [], "tools": tools}, Dialect()).body["tools"] == tools
