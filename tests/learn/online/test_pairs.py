"""Two answers to one request beside each other."""

from __future__ import annotations

from typing import Any

import pytest

from router.learn.online.pairs import side_of
from router.wire.reading.whole_answers import WholeAnswer


def meets(answer: WholeAnswer, schema: dict[str, Any] | None) -> bool | None:
    return side_of("a", answer, (), "hi", schema, total_ms=1.0, output_tokens=None, cost_usd=None).schema


@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ('{"a": 1}', {"required": ["a"]}, True),
        ("{}", {"required": ["a"]}, False),
        ("{}", {"$ref": "#"}, None),
        ("{}", None, None),
    ],
)
def test_whether_an_answer_meets_the_schema_is_unknown_where_there_is_none_or_it_cannot_be_checked(
    text: str, schema: dict[str, Any] | None, expected: bool | None
) -> None:
    assert meets(WholeAnswer(text, "whole"), schema) is expected


def test_a_call_of_a_tool_meets_every_schema() -> None:
    assert meets(WholeAnswer("", "calls", has_calls=True), {"required": ["a"]})
