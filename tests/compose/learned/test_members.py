"""The gate of members whose answers it was learned from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from router.compose.answers import Answer
from router.compose.gate import Asked, TextSignals
from router.compose.learned import LearnedGate
from router.compose.learned.members import MembersRule
from router.compose.learned.rule import GAIN_WEIGHTS, JOINED_WEIGHTS, OWN_WEIGHTS
from router.loading import load_plan_gate

OF_ALL = load_plan_gate()
USUAL = 0.6
GENERAL = OF_ALL.weights.general


def constant(size: int, value: float) -> tuple[float, ...]:
    """Weights of which only the constant is not 0."""
    return (value, *[0.0] * (size - 1))


RULE = MembersRule(
    members=("weak", "also-weak", "strong"),
    own=tuple(constant(OWN_WEIGHTS, value) for value in (-1.0, 0.0, 2.0)),
    joined=(
        tuple(constant(JOINED_WEIGHTS + 1, value) for value in (-1.0, 1.0)),
        tuple(constant(JOINED_WEIGHTS + 2, value) for value in (-1.0, 1.0, 2.0)),
    ),
    gain=((constant(GAIN_WEIGHTS, 0.01), constant(GAIN_WEIGHTS, 0.3)), (constant(GAIN_WEIGHTS, 0.3),)),
    unreadable=(0.1, 0.2, 0.3),
)
GATE = LearnedGate("gate-1", OF_ALL.weights, [RULE])


def asked(card: str, answer: str | None, failed: str = "") -> Asked:
    read = None if answer is None else Answer("option", answer)
    return Asked(card, 0.5, read, TextSignals(read is not None, 400, 4, 3, 0), failed, asks_for_answer=True)


def test_a_rule_of_the_right_sizes_has_no_problem() -> None:
    assert RULE.problem() is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"members": ("weak", "weak", "strong")}, "different"),
        ({"members": ("weak", "strong")}, "2 members"),
        ({"own": (*RULE.own[:2], (1.0,))}, "own has 1 weights"),
        ({"gain": RULE.gain[:1]}, "3 members"),
        ({"unreadable": (0.1, 0.2, 1.3)}, "unreadable"),
        ({"gain": ((constant(GAIN_WEIGHTS, float("inf")),) * 2, RULE.gain[1])}, "not finite"),
    ],
)
def test_a_rule_of_other_sizes_is_refused(changes: dict[str, object], problem: str) -> None:
    assert problem in (msgspec.structs.replace(RULE, **changes).problem() or "")


def test_each_member_has_weights_of_its_own() -> None:
    gate = GATE.of(RULE.members)
    assert gate.rights([asked("weak", "A")], USUAL) == pytest.approx([0.269], abs=1e-3)
    apart = gate.rights([asked("weak", "A"), asked("also-weak", "B")], USUAL)
    assert apart == pytest.approx([0.269, 0.731], abs=1e-3)


def test_members_that_agree_are_equally_right() -> None:
    together = GATE.of(RULE.members).rights([asked("weak", "A"), asked("also-weak", "A")], USUAL)
    assert together == pytest.approx([0.5, 0.5])


def test_an_answer_that_cannot_be_read_is_as_right_as_those_of_its_member_were() -> None:
    assert GATE.of(RULE.members).rights([asked("weak", None)], USUAL) == pytest.approx([0.1])


def test_the_gains_of_all_members_that_are_left_are_known() -> None:
    gate = GATE.of(RULE.members)
    assert gate.gains([asked("weak", "A")], (0.5, 0.9), USUAL) == pytest.approx([0.01, 0.3])
    assert gate.gains([asked("weak", "A"), asked("also-weak", "B")], (0.9,), USUAL) == pytest.approx([0.269], abs=1e-3)


@pytest.mark.parametrize("members", [("weak", "strong"), ("also-weak", "weak", "strong"), ("weak", "also-weak")])
def test_other_members_have_the_gate_of_all_cards(members: Sequence[str]) -> None:
    assert GATE.of(members) is GATE


@pytest.mark.parametrize(
    "answers",
    [
        [asked("weak", "A", "refused"), asked("also-weak", "B")],
        # The second member did not answer.
        [asked("weak", "A"), asked("strong", "B")],
        [asked("weak", None)._replace(asks_for_answer=False)],
    ],
)
def test_where_a_member_failed_or_nothing_can_be_compared_the_gate_of_all_cards_judges(answers: list[Asked]) -> None:
    own = GATE.of(RULE.members)
    assert list(own.rights(answers, USUAL)) == list(GATE.rights(answers, USUAL))
    assert list(own.gains(answers, (0.8,), USUAL)) == list(GATE.gains(answers, (0.8,), USUAL))
