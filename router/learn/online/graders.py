"""Graders that the operator configures in a policy: code that judges the answers of live requests. Pure and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.compose.validators import failure_of
from router.decide.plans.spec import Validators
from router.decide.policy import ExactGrader, JsonSchemaGrader, RegexGrader
from router.learn.online.outcomes import JudgedAnswer
from router.wire.reading.whole_answers import WholeAnswer


def judge(
    grader: RegexGrader | JsonSchemaGrader | ExactGrader,
    answer: WholeAnswer,
    prompt: str,
    asked_schema: Mapping[str, Any] | None,
) -> JudgedAnswer | None:
    """What a grader says about an answer to the newest human turn `prompt`; None where it does not apply.

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
    checks = (
        Validators(regex=grader.pattern, no_refusal=False, finished=False)
        if isinstance(grader, RegexGrader)
        else Validators(json_schema=grader.schema, no_refusal=False, finished=False)
    )
    failure = failure_of(checks, answer, asked_schema, prompt)
    name = "grader.regex" if isinstance(grader, RegexGrader) else "grader.json_schema"
    return JudgedAnswer(float(not failure), name, "grader")
