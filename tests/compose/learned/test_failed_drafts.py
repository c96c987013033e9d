"""Drafts that failed: they are no evidence, so only the forecast of the next member says what it may gain."""

from __future__ import annotations

import pytest

from router.compose.answers import Answer
from router.compose.gate import Asked, TextSignals
from router.loading import load_plan_gate

USUAL = 0.55
GATE = load_plan_gate()
FORTY_TWO, SEVEN = Answer("number", "42"), Answer("number", "7")


def asked(answer: Answer | None, failed: str = "", *, wants: bool = True) -> Asked:
    return Asked("card", 0.6, answer, TextSignals(answer is not None, 800, 9, 20, 0), failed, wants)


REFUSED, EMPTY = asked(None, "refusal"), asked(None, "empty")
CUT_OFF = asked(FORTY_TWO, "cut off")


@pytest.mark.parametrize("prior_of_next", [0.3, 0.9])
@pytest.mark.parametrize(
    "members", [[REFUSED], [EMPTY, REFUSED], [CUT_OFF], [asked(None, "refusal", wants=False), CUT_OFF]]
)
def test_where_all_failed_the_next_member_gains_what_is_forecast_of_it(
    members: list[Asked], prior_of_next: float
) -> None:
    assert GATE.rights(members, USUAL).tolist() == [0.0] * len(members)
    assert GATE.gains(members, (prior_of_next,), USUAL)[0] == pytest.approx(prior_of_next)


def test_a_failed_draft_is_never_right_nor_delivered() -> None:
    right = GATE.rights([CUT_OFF, asked(SEVEN), REFUSED], USUAL)
    assert (right[0], right[2]) == (0.0, 0.0)
    assert right[1] > 0


@pytest.mark.parametrize("failed", [REFUSED, CUT_OFF])
def test_a_failed_draft_beside_a_text_that_cannot_be_compared_is_no_evidence(failed: Asked) -> None:
    essay = asked(None, wants=False)
    assert GATE.gains([essay, failed], (0.9,), USUAL)[0] == pytest.approx(GATE.gains([essay], (0.9,), USUAL)[0])
    assert GATE.gains([failed, essay], (0.9,), USUAL)[0] == pytest.approx(0.9 - 0.6)


@pytest.mark.parametrize("failed", [REFUSED, EMPTY, CUT_OFF])
def test_a_failed_draft_changes_neither_the_rights_of_others_nor_the_gain(failed: Asked) -> None:
    others = [asked(FORTY_TWO), asked(SEVEN)]
    assert GATE.rights([*others, failed], USUAL)[:2] == pytest.approx(GATE.rights(others, USUAL))
    assert GATE.gains([*others, failed], (0.7,), USUAL)[0] == pytest.approx(GATE.gains(others, (0.7,), USUAL)[0])
