"""Graders of live answers."""

import msgspec
import pytest

from router.decide.policy import ExactGrader, Grader, JsonSchemaGrader, Policy, RegexGrader
from router.learn.online.graders import judge
from router.wire.reading.whole_answers import WholeAnswer

_SCHEMA = {"type": "object", "required": ["a"]}


def _value(grader: Grader, text: str, prompt: str = "hi", schema: dict[str, object] | None = None) -> float | None:
    judged = judge(grader, WholeAnswer(text, "whole"), prompt, schema)
    assert judged is None or (judged.kind, judged.weight) == ("grader", 1.0)
    return None if judged is None else judged.value


@pytest.mark.parametrize(
    ("grader", "text", "value"),
    [
        (RegexGrader(r"\bSELECT\b"), "SELECT 1", 1.0),
        (RegexGrader(r"\bSELECT\b"), "I cannot", 0.0),
        (RegexGrader("x"), "", 0.0),
        (JsonSchemaGrader(_SCHEMA), '{"a": 1}', 1.0),
        (JsonSchemaGrader(_SCHEMA), '```json\n{"b": 1}\n```', 0.0),
        (JsonSchemaGrader(_SCHEMA), "sorry", 0.0),
    ],
)
def test_code_judges_the_text_of_an_answer(grader: Grader, text: str, value: float) -> None:
    assert _value(grader, text) == value


def test_the_schema_of_a_request_applies_where_it_has_one() -> None:
    grader = JsonSchemaGrader()
    assert _value(grader, "no json") is None
    assert _value(grader, "no json", schema=_SCHEMA) == 0.0
    assert _value(grader, '{"a": 2}', schema=_SCHEMA) == 1.0


def test_exact_answers_apply_to_prompts_that_are_known() -> None:
    grader = ExactGrader({"What is 17 × 23?": ("391",)}, read="number")
    assert _value(grader, "That is **391**.", " What is 17 × 23?\n") == 1.0
    assert _value(grader, "The answer is 390.", "What is 17 × 23?") == 0.0
    assert _value(grader, "391", "What is 17 × 24?") is None


def test_an_answer_that_cannot_be_checked_is_not_judged() -> None:
    assert _value(RegexGrader(r"(?:a|aa)+(?:b|bb)+x|yes$"), "a" * 30_000 + "yes") is None
    assert _value(JsonSchemaGrader({"$ref": "#"}), "{}") is None


def test_a_call_of_a_tool_is_not_judged() -> None:
    assert judge(RegexGrader("x"), WholeAnswer("", "calls", has_calls=True), "hi", None) is None


def test_a_policy_states_its_graders() -> None:
    raw = {"id": "p", "description": "d", "graders": [{"kind": "regex", "pattern": "x"}, {"kind": "json_schema"}]}
    assert msgspec.convert(raw, Policy).graders == (RegexGrader("x"), JsonSchemaGrader())
    with pytest.raises(msgspec.ValidationError, match="kind"):
        msgspec.convert({**raw, "graders": [{"kind": "regexp", "pattern": "x"}]}, Policy)
