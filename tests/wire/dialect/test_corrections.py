"""What errors of servers show about their dialects."""

from __future__ import annotations

from typing import Any

import pytest

from router.wire import Dialect
from router.wire.dialect import SERVERS, Fitted, adapt
from router.wire.dialect.corrections import is_lasting, learned_dialect, unthinking, without_signed_thinking
from router.wire.dialect.native import corrected, rejects_beta_header

BODY = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "seed": 7, "temperature": 0.5, "top_p": 0.9}
EXTRA = "Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("error", "field"),
    [
        ("Unsupported parameter: 'seed' is not supported with this model.", "seed"),
        ("Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1).", "temperature"),
        ("Unrecognized request argument supplied: seed", "seed"),
        (r'{"error": {"message": "Invalid JSON payload received. Unknown name \"seed\": Cannot find field."}}', "seed"),
        ("Unknown parameter: 'seed'.", "seed"),
        ("property 'seed' is unsupported", "seed"),
        (f"{EXTRA}, field: 'seed', value: 7", "seed"),
        (f"seed: {EXTRA}", "seed"),
        (
            '{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]}',
            "seed",
        ),
        ("create() got an unexpected keyword argument 'seed'", "seed"),
        ("`temperature` is not supported for this model", "temperature"),
        ("m does not support parameters: ['seed'], for model=m", "seed"),
        ("`temperature` may only be set to 1 when thinking is enabled", "temperature"),
        ("`temperature` and `top_p` cannot both be specified for this model.", "top_p"),
        ("`temperature` is deprecated for this model.", "temperature"),
        ("invalid temperature: only 1 is allowed for this model", "temperature"),
    ],
)
def test_a_field_that_an_error_names_is_left_out_from_then_on(error: str, field: str) -> None:
    learned = learned_dialect(error, BODY, Dialect())

    assert learned is not None
    fitted = adapt(BODY, learned)
    assert field not in fitted.body
    assert fitted.changed == (field,)


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        ("Unsupported parameter: 'seed' is not supported with this model.", True),
        ("Unsupported value: 'reasoning_effort' does not support 'minimal' with this model.", False),
        ("`temperature` may only be set to 1 when thinking is enabled", False),
    ],
)
def test_an_error_about_one_value_says_nothing_about_other_requests(error: str, lasting: bool) -> None:
    assert is_lasting(error) is lasting


def test_all_fields_that_an_error_names_are_left_out_at_once() -> None:
    learned = learned_dialect("Unrecognized request arguments supplied: seed, top_p", BODY, Dialect())
    assert learned is not None
    assert adapt(BODY, learned).changed == ("seed", "top_p")


@pytest.mark.parametrize(
    "error",
    [
        '"gemma3:4b" does not support thinking',
        'think value "low" is not supported for this model',
        "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions.",
    ],
)
def test_a_model_that_cannot_think_is_called_without_an_effort(error: str) -> None:
    body = {**BODY, "reasoning_effort": "low"}
    learned = learned_dialect(error, body, Dialect())
    assert learned is not None
    assert adapt(body, learned).changed == ("reasoning_effort",)


@pytest.mark.parametrize(
    ("error", "most", "lasting"),
    [
        ("max_tokens is too large: 32000. This model supports at most 16384 completion tokens", 16_384, True),
        ("`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens`", 8192, True),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192, True),
        ("max_tokens: 64000 > 32000, which is the maximum allowed number of output tokens for m", 32_000, True),
        ("max_tokens (40000) exceeds the model's limit of 8192", 8192, True),
        ("The maximum tokens you requested exceeds the model limit of 4096. Try again", 4096, True),
        (
            "'max_tokens' is too large: 32000. This model's maximum context length is 32768 tokens and your request "
            "has 5000 input tokens (32000 > 32768 - 5000).",
            27_768,
            False,
        ),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9192 tokens (1000 in the "
            "messages, 8192 in the completion).",
            7192,
            False,
        ),
        ("input length and `max_tokens` exceed context limit: 190000 + 64000 > 200000", 10_000, False),
    ],
)
def test_an_output_limit_above_the_models_is_lowered_to_it(error: str, most: int, lasting: bool) -> None:
    body = {**BODY, "max_tokens": 64_000}
    learned = learned_dialect(error, body, Dialect())
    assert learned is not None
    fitted = adapt(body, learned)
    assert (fitted.body["max_tokens"], fitted.changed) == (most, ("max_tokens",))
    assert is_lasting(error) is lasting


def test_a_context_with_little_room_for_the_answer_is_not_used() -> None:
    error = "maximum context length is 8192 tokens and your request has 8000 input tokens"
    assert learned_dialect(error, {**BODY, "max_tokens": 4096}, Dialect()) is None


def test_texts_are_strings_for_a_server_that_reads_no_parts() -> None:
    error = '{"detail":[{"loc":["body","messages",0,"content"],"msg":"Input should be a valid string"}]}'
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}
    learned = learned_dialect(error, body, Dialect())
    assert learned is not None
    assert adapt(body, learned).body == {"messages": [{"role": "user", "content": "a\nb"}]}


def test_turns_of_one_role_are_merged_for_a_template_that_wants_them_to_alternate() -> None:
    error = "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]
    learned = learned_dialect(error, {"messages": turns}, Dialect())
    assert learned is not None
    assert adapt({"messages": turns}, learned).body["messages"] == [{"role": "user", "content": "a\n\nb"}, turns[2]]


CALLS = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
FORCED = {"tools": [{"type": "function"}], "tool_choice": "required"}


@pytest.mark.parametrize(
    ("error", "body", "added"),
    [
        (
            "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1",
            {"messages": [CALLS]},
            {"thinking": {"type": "disabled"}},
        ),
        (
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
            {"messages": [CALLS]},
            {"thinking": {"type": "disabled"}},
        ),
        (
            "Thinking mode does not support this tool_choice",
            {"messages": [], **FORCED},
            {"thinking": {"type": "disabled"}},
        ),
        (
            "The tool_choice parameter does not support being set to required or object in thinking mode",
            {"messages": [], **FORCED},
            {"enable_thinking": False},
        ),
        (
            "parameter.enable_thinking must be set to false for non-streaming calls",
            {"messages": []},
            {"enable_thinking": False},
        ),
    ],
)
def test_thinking_is_off_where_a_server_cannot_think(error: str, body: dict[str, Any], added: dict[str, Any]) -> None:
    learned = learned_dialect(error, body, Dialect())
    assert learned is not None
    assert adapt(body, learned).body == {**body, **added}


@pytest.mark.parametrize(
    ("error", "body", "expected"),
    [
        ("context_management: Extra inputs are not permitted", {"context_management": {"edits": []}}, {}),
        (
            "tools.0.custom.eager_input_streaming: Extra inputs are not permitted",
            {"tools": [{"name": "f", "eager_input_streaming": True, "input_schema": {"eager_input_streaming": 1}}]},
            {"tools": [{"name": "f", "input_schema": {"eager_input_streaming": 1}}]},
        ),
        (
            "system.1.cache_control.ephemeral.scope: Extra inputs are not permitted",
            {"system": [{"type": "text", "cache_control": {"type": "ephemeral", "scope": "global"}}]},
            {"system": [{"type": "text", "cache_control": {"type": "ephemeral"}}]},
        ),
        ("`temperature` is deprecated for this model.", {"temperature": 0}, {}),
        (
            "max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens for m",
            {},
            {"max_tokens": 8192},
        ),
        ("This model does not support the effort parameter.", {"output_config": {"effort": "high"}}, {}),
        (
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive"',
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"thinking": {"type": "adaptive"}},
        ),
        ("adaptive thinking is not supported on this model", {"thinking": {"type": "adaptive"}}, {}),
    ],
)
def test_a_native_request_goes_on_without_what_its_server_does_not_know(
    error: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    request = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 64_000}
    correction = corrected("messages", error, {**request, **body})
    assert correction is not None
    assert correction.body == {**request, **expected}
    assert len(correction.changed) == 1


@pytest.mark.parametrize(
    ("most", "thinking"),
    [(8192, {"thinking": {"type": "enabled", "budget_tokens": 8191}}), (1024, {})],
)
def test_a_lowered_output_limit_stays_above_the_budget_for_thinking(most: int, thinking: dict[str, Any]) -> None:
    body = {"messages": [], "max_tokens": 64_000, "thinking": {"type": "enabled", "budget_tokens": 20_000}}
    error = f"max_tokens: 64000 > {most}, which is the maximum allowed number of output tokens for m"
    correction = corrected("messages", error, body)
    assert correction is not None
    assert correction.body == {"messages": [], "max_tokens": most, **thinking}


@pytest.mark.parametrize("error", ["messages.0.foo: Extra inputs are not permitted", "prompt is too long", ""])
def test_an_error_about_anything_else_changes_no_native_request(error: str) -> None:
    assert corrected("messages", error, {"messages": [], "max_tokens": 5}) is None


def test_the_output_limit_gets_the_name_that_the_server_knows() -> None:
    openai = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    learned = learned_dialect(openai, BODY, Dialect())
    assert learned is not None
    assert learned.output_limit == "max_completion_tokens"

    mistral = '{"detail":[{"type":"extra_forbidden","loc":["body","max_completion_tokens"],"msg":"..."}]}'
    learned = learned_dialect(mistral, adapt(BODY, learned).body, learned)
    assert learned is not None
    assert learned.output_limit == "max_tokens"


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        ("System message must be at the beginning.", {"system": "leading"}),
        ("Only the first message can have the system role; it must be first", {"system": "leading"}),
    ],
)
def test_an_error_about_system_messages_asks_for_one_that_leads(error: str, changes: dict[str, Any]) -> None:
    learned = learned_dialect(error, BODY, Dialect())
    assert learned is not None
    assert {name: getattr(learned, name) for name in changes} == changes


def test_reasoning_that_a_server_rejects_is_left_out_of_the_history() -> None:
    error = "'messages.2' : for 'role:assistant' property 'reasoning_content' is unsupported"
    learned = learned_dialect(error, BODY, Dialect())
    turn = {"role": "assistant", "content": "a", "reasoning_content": "b"}
    assert learned is not None
    assert adapt({"messages": [turn]}, learned).body["messages"] == [{"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    "error",
    [
        "",
        "This model's maximum context length is 8192 tokens.",
        "Unknown parameter: 'odd'.",
        '{"detail":[{"loc":["body","messages",0,"role"],"msg":"field required"}]}',
        '{"detail":[{"type":"less_than_equal","loc":["body","temperature"],"msg":"must be at most 2"}]}',
        "Unsupported parameter: 'logprobs'",
        "Unknown parameter: 'seed[0].odd'.",
        "Unknown parameter: 'messages[0].temperature'.",
        "Unsupported parameter: 'seed.odd' is not supported with this model.",
        "property 'messages[0].content[0].seed' is unsupported",
        f"tools.0.function.seed: {EXTRA}",
        '{"detail":[{"type":"extra_forbidden","loc":["body","tools",0,"function","seed"],"msg":"..."}]}',
    ],
)
def test_an_error_about_something_else_shows_nothing(error: str) -> None:
    assert learned_dialect(error, BODY, Dialect()) is None


SIGNATURE_ERRORS = (
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    '{"error":{"message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}',
    "messages.1.content.0.thinking.signature: Field required",
    "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
    "messages.1.content.0: `thinking` blocks in the latest assistant message cannot be modified.",
)


@pytest.mark.parametrize("error", SIGNATURE_ERRORS)
def test_thinking_that_anthropic_did_not_sign_is_left_out(error: str) -> None:
    thinking = {"type": "thinking", "thinking": "t", "signature": "x"}
    turn = {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]}
    enabled = {"thinking": {"type": "enabled", "budget_tokens": 1024}}

    correction = corrected("messages", error, {**enabled, "messages": [turn]})
    assert correction is not None
    assert correction.body == {
        **enabled,
        "messages": [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}],
    }
    learned = without_signed_thinking(error, SERVERS["anthropic"].dialect)
    assert learned is not None
    assert learned.reasoning_fields == frozenset()


def test_thinking_is_off_for_a_turn_whose_running_loop_has_none() -> None:
    error = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`."
    body = {
        "messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "context_management": {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]},
    }

    correction = corrected("messages", error, body)
    assert correction is not None
    assert correction.body == {
        "messages": body["messages"],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    }


@pytest.mark.parametrize(
    "error", ['{"error":{"code":"invalid_encrypted_content"}}', "The encrypted content gAAA could not be verified."]
)
def test_reasoning_that_another_deployment_encrypted_is_left_out(error: str) -> None:
    user = {"role": "user", "content": "hi"}
    body = {"input": [user, {"type": "reasoning", "encrypted_content": "gAAA"}]}

    correction = corrected("responses", error, body)
    assert correction is not None
    assert correction.body == {"input": [user]}
    assert corrected("responses", error, {"input": [user]}) is None


def test_thinking_is_off_where_reasoning_is_missing_that_nobody_has() -> None:
    error, deepseek = "The `reasoning_content` must be passed back to the API.", SERVERS["deepseek"].dialect
    body = {"messages": [{"role": "assistant", "content": "done"}]}
    assert learned_dialect(error, body, deepseek) is None
    now = unthinking(error, deepseek)
    assert now is not None
    assert adapt(body, now) == Fitted({**body, "thinking": {"type": "disabled"}}, ("thinking",))
    assert unthinking(error, now) is None


@pytest.mark.parametrize(
    "error",
    [
        '{"message":"invalid beta flag"}',
        "Unexpected value(s) `context-management-2025-06-27` for the `anthropic-beta` header.",
    ],
)
def test_a_server_may_reject_the_header_of_anthropics_betas(error: str) -> None:
    assert rejects_beta_header(error)
    assert not rejects_beta_header("max_tokens: Field required")
