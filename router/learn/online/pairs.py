"""Two answers to one request beside each other, of which only what is compared is kept. Pure and bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.compose.answers import read_answer
from router.compose.validators import is_refusal, schema_problem
from router.decide.policy import Grader, JudgeGrader
from router.learn.online.graders import judge
from router.store.records.record import Side
from router.wire.reading.whole_answers import WholeAnswer


def side_of(
    card: str,
    answer: WholeAnswer,
    graders: Sequence[Grader],
    prompt: str,
    schema: Mapping[str, Any] | None,
    *,
    total_ms: float,
    output_tokens: int | None,
    cost_usd: float | None,
) -> Side:
    """What is kept of an answer to the newest human turn `prompt`. `schema` is the JSON schema of the request; cards
    that judge are not asked.
    """
    # A judge would cost as much again for each of the two answers.
    of_code = [grader for grader in graders if not isinstance(grader, JudgeGrader)]
    grades = [judged.value for grader in of_code if (judged := judge(grader, answer, prompt, schema)) is not None]
    return Side(
        card,
        len(answer.text),
        total_ms,
        output_tokens,
        cost_usd,
        refused=answer.ending == "refused" or is_refusal(answer.text.strip()),
        schema=None if schema is None else _meets(answer, schema),
        grade=sum(grades) / len(grades) if grades else None,
    )


def _meets(answer: WholeAnswer, schema: Mapping[str, Any]) -> bool | None:
    """Whether an answer meets the schema, as a call of a tool does; None where that cannot be checked."""
    problem = "" if answer.has_calls else schema_problem(answer.text.strip(), schema)
    return None if problem is None else not problem


def is_same(first: WholeAnswer, second: WholeAnswer) -> bool | None:
    """Whether both have the same final answer; None where either has none that can be compared."""
    one, two = read_answer(first.text), read_answer(second.text)
    return None if one is None or two is None else one == two
