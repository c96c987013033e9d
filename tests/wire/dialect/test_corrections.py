"""What errors of servers show about their dialects."""

from __future__ import annotations

from typing import Any

import pytest

from router.wire import Dialect
from router.wire.dialect import SERVERS, adapt
from router.wire.dialect.corrections import corrected_body, is_lasting, learned_dialect, without_signed_thinking

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

    assert corrected_body("messages", error, {**enabled, "messages": [turn]}) == {
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

    assert corrected_body("messages", error, body) == {
        "messages": body["messages"],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    }


@pytest.mark.parametrize(
    "error", ['{"error":{"code":"invalid_encrypted_content"}}', "The encrypted content gAAA could not be verified."]
)
def test_reasoning_that_another_deployment_encrypted_is_left_out(error: str) -> None:
    user = {"role": "user", "content": "hi"}
    body = {"input": [user, {"type": "reasoning", "encrypted_content": "gAAA"}]}

    assert corrected_body("responses", error, body) == {"input": [user]}
    assert corrected_body("responses", error, {"input": [user]}) is None
