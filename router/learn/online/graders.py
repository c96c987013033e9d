"""Graders that the operator configures in a policy: code that judges the answers of live requests. Pure and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.compose.validators import pattern_problem, schema_problem
from router.decide.policy import ExactGrader, JsonSchemaGrader, RegexGrader
from router.learn.online.outcomes import JudgedAnswer
from router.wire.reading.whole_answers import WholeAnswer


def judge(
    grader: RegexGrader | JsonSchemaGrader | ExactGrader,
    answer: WholeAnswer,
    prompt: str,
    asked_schema: Mapping[str, Any] | None,
) -> JudgedAnswer | None:
    """What a grader says about an answer to the newest human turn `prompt`; None where it does not apply, or cannot
    check this answer.

    It applies to answers in words only: calls of tools are none yet. `asked_schema` is the JSON schema of the request.
    """
    if answer.has_calls:
        return None
    if isinstance(grader, ExactGrader):
        answers = grader.answers.get(prompt.strip())
        if answers is None:
            return None
        # Imported here because it compiles long patterns, which the other graders have no use for.
        from router.learn.onboarding.graders import grade

        return JudgedAnswer(grade(grader.read, answer.text, answers).score, "grader.exact", "grader")
    if isinstance(grader, JsonSchemaGrader) and grader.schema == "request" and asked_schema is None:
        return None
    text = answer.text.strip()
    if isinstance(grader, RegexGrader):
        name, problem = "grader.regex", pattern_problem(text, grader.pattern) if text else "empty"
    else:
        schema = asked_schema if grader.schema == "request" else grader.schema
        name, problem = "grader.json_schema", schema_problem(text, schema)
    return None if problem is None else JudgedAnswer(float(not problem), name, "grader")
