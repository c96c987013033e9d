from __future__ import annotations

from collections.abc import Sequence

import pytest

from router.learn.onboarding.result import warnings_of
from router.perceive.ability.evidence import ProbeOutcome


def outcomes(answers: Sequence[str], score: float) -> tuple[ProbeOutcome, ...]:
    """Outcomes with these answers, all of the same score."""
    return tuple(
        ProbeOutcome(f"p{number}", "", f"prompt {number}", "text", score, answer, "m", "2026-01-01T00:00:00Z", 1.0)
        for number, answer in enumerate(answers)
    )


@pytest.mark.parametrize(
    ("answers", "score", "warning"),
    [
        ([""] * 6, 0.0, "All 6 answers are empty: a reasoning model may need more --max-tokens"),
        (["Hello!"] * 5, 0.0, "All 5 answers are the same: the server may ignore the prompt"),
        (["A"] * 5, 1.0, "All 5 answers are the same: the server may ignore the prompt"),
        (["a", "b", "c", "d"], 0.0, "None of 4 answers is right: check the card's model name"),
    ],
)
def test_answers_that_hint_at_a_wrong_set_up_are_a_warning(answers: list[str], score: float, warning: str) -> None:
    (shown,) = warnings_of(outcomes(answers, score))
    assert shown.startswith(warning)


@pytest.mark.parametrize(("answers", "score"), [(["a", "b", "c", "d"], 1.0), (["A", "A"], 0.0), ([], 0.0)])
def test_different_right_answers_and_too_few_answers_are_no_warning(answers: list[str], score: float) -> None:
    assert warnings_of(outcomes(answers, score)) == ()
