from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.compose.json_schema import _CHECKS, SchemaTooComplexError, violation
from router.compose.language import same_language
from router.compose.validators import failure_of, is_refusal, schema_asked, schema_problem
from router.decide.plans.spec import Validators
from router.wire.reading.whole_answers import WholeAnswer


def failed(text: str, prompt: str = "", **stated: Any) -> str:
    return failure_of(Validators(**stated), WholeAnswer(text, "whole"), None, prompt)


@pytest.mark.parametrize(
    ("text", "stated", "fails"),
    [
        ("42", {}, False),
        ("  ", {}, True),
        ('{"a": 1}', {"json_schema": {"type": "object", "required": ["a"]}}, False),
        ('Here:\n```json\n{"a": 1}\n```', {"json_schema": {"type": "object", "required": ["a"]}}, False),
        ('{"b": 1}', {"json_schema": {"type": "object", "required": ["a"]}}, True),
        ("no JSON", {"json_schema": {}}, True),
        ("order 17", {"regex": r"\border \d+"}, False),
        ("order none", {"regex": r"\border \d+"}, True),
        ("def f():\n    return 1", {"syntax": "python"}, False),
        ("```python\ndef f(): return 1\n```", {"syntax": "python"}, False),
        ("def f(:", {"syntax": "python"}, True),
        ("(" * 5000, {"syntax": "python"}, True),
        ("a: 1\nb: [1, 2]", {"syntax": "yaml"}, False),
        ("a: [1, 2", {"syntax": "yaml"}, True),
        ("I'm sorry, but I can't help with that.", {}, True),
        ("I'm sorry, but I can't help with that.", {"no_refusal": False}, False),
    ],
)
def test_an_answer_is_checked_by_what_its_plan_states(text: str, stated: dict[str, Any], fails: bool) -> None:
    assert bool(failed(text, **stated)) == fails


def test_an_answer_that_was_cut_off_fails() -> None:
    assert failure_of(Validators(), WholeAnswer("The answer is", "cut"), None, "") == "cut off"


def test_a_call_of_a_tool_needs_no_text() -> None:
    assert failure_of(Validators(json_schema={}), WholeAnswer("", "calls", has_calls=True), None, "") == ""


@pytest.mark.parametrize(
    "text",
    [
        "I cannot assist with that request.",
        "I’m sorry, but I can’t help with that.",
        "I am unable to provide medical advice.",
        "Es tut mir leid, ich kann dabei nicht helfen.",
    ],
)
def test_refusals_are_recognised(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Aspirin cannot help against bacteria.",
        "I can't believe it's not butter is a brand.",
        "Sorry is a word in English.",
        "The answer is 42.",
        "I can help with that: the answer is 4.",
    ],
)
def test_answers_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)


def test_a_pattern_that_cannot_be_checked_is_no_reason_to_reject() -> None:
    assert not failed("a" * 30_000 + "yes", regex=r"(?:a|aa)+(?:b|bb)+x|yes$")


def test_a_pattern_of_a_plan_or_a_schema_matches_without_errors() -> None:
    assert failed("y", regex="(x{e})")
    assert violation("y", {"pattern": "(x{e})"})


def test_a_schema_that_refers_to_itself_ends() -> None:
    with pytest.raises(SchemaTooComplexError):
        violation(1, {"$ref": "#"})


def test_a_reference_to_an_address_is_not_followed() -> None:
    assert violation(1, {"$ref": "http://127.0.0.1:1/schema"}) is None


def test_texts_in_two_languages_differ() -> None:
    prompt = "What is the capital of France and which river is it on?"
    assert same_language(prompt, "The capital of France is Paris, which is on the Seine.")
    assert not same_language(prompt, "Die Hauptstadt von Frankreich ist Paris, und der Fluss ist die Seine.")
    assert not same_language(prompt, "Столица Франции — Париж, он стоит на реке Сене.")


def test_the_schema_is_found_in_every_protocol() -> None:
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert schema_asked({"response_format": wanted}) == schema
    assert schema_asked({"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}}) == schema
    assert schema_asked({"format": schema}) == schema
    assert schema_asked({"format": "json"}) == {"type": "object"}
    assert schema_asked({}) is None


@pytest.mark.parametrize(
    ("value", "schema", "meets"),
    [
        ([True], {"const": [1]}, False),
        ({"a": [0]}, {"enum": [{"a": [False]}]}, False),
        ([1], {"const": [1.0]}, True),
        ([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], {"uniqueItems": True}, False),
        ([1, True, [1], [True], "1"], {"uniqueItems": True}, True),
        ([[], {}, None, False, 0, ""], {"uniqueItems": True}, True),
    ],
)
def test_values_are_compared_as_json_compares_them(value: Any, schema: Any, meets: bool) -> None:
    assert (violation(value, schema) is None) == meets
    assert jsonschema.Draft202012Validator(schema).is_valid(value) == meets


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["", "a", "ab", "abc"])
    | st.sampled_from([0.5, 2.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["null", "boolean", "string", "array", "object", "number", "integer"])
SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries({}, optional={"type": TYPES, "minimum": st.integers(-3, 3), "maxLength": st.integers(0, 3)})
    | st.fixed_dictionaries({"enum": st.lists(VALUES, min_size=1, max_size=3)})
    | st.fixed_dictionaries({"const": VALUES}),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "additionalProperties": inner,
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "minItems": st.integers(0, 2),
            "uniqueItems": st.booleans(),
        },
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(value=VALUES, schema=SCHEMAS)
def test_values_meet_a_schema_as_the_reference_says(value: Any, schema: Any) -> None:
    assert (violation(value, schema) is None) == jsonschema.Draft202012Validator(schema).is_valid(value)


KEYWORDS = st.sampled_from([*_CHECKS, "$ref", "a", "b"])
WORDS = st.sampled_from(["#", "#/a", "#/properties/b", "object", "array", "(", "^a", "(x{e})", "\ud800", "a", "b", ""])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=1000, deadline=None)
@given(value=ANY_JSON, schema=st.dictionaries(KEYWORDS, ANY_JSON, max_size=5) | ANY_JSON)
@example(value={"a": 1}, schema={"required": [["a"]]})
@example(value=10**400, schema={"multipleOf": 0.5})
def test_no_schema_of_a_client_raises_an_error(value: Any, schema: Any) -> None:
    problem = schema_problem(json.dumps(value), schema)
    assert not problem or problem.startswith("JSON schema: ")
