"""The shipped gate on single requests: what raises and lowers P(right), and when one more member is worth asking."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.compose.answers import Answer
from router.compose.gate import Asked, TextSignals
from router.compose.learned import LearnedGate, Rule
from router.compose.learned.gate import observed
from router.compose.learned.rule import NO_ANSWER, rights
from router.loading import load_plan_gate

USUAL = 0.55
GATE = load_plan_gate()


def asked(letter: str | None, prior: float = 0.6, *, failed: str = "", wants: bool = True, length: int = 800) -> Asked:
    """A member that answered with this option, or with a text without one."""
    answer = None if letter is None else Answer("option", letter)
    signals = TextSignals(letter is not None, length, 9, 20, 0)
    return Asked("card", prior, answer, signals, failed, wants)


MEMBERS = st.builds(
    asked,
    st.sampled_from([None, "A", "B", "C"]),
    st.floats(0.0, 1.0),
    failed=st.sampled_from(["", "", "refusal"]),
    wants=st.booleans(),
    length=st.integers(0, 10**6),
)


@given(st.lists(MEMBERS, min_size=1, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_rights_are_probabilities_and_gains_never_exceed_what_is_missing(
    members: list[Asked], prior_of_next: float, usual: float
) -> None:
    right = GATE.rights(members, usual)
    assert right.shape == (len(members),)
    assert np.isfinite(right).all()
    assert ((right >= 0) & (right <= 1)).all()
    gain = GATE.gains(members, (prior_of_next,), usual)[0]
    assert 0 <= gain <= 1 - right.max() + 1e-12


@given(st.lists(MEMBERS, min_size=2, max_size=5), st.randoms())
def test_the_order_of_members_does_not_matter(members: list[Asked], random: object) -> None:
    order = list(range(len(members)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = GATE.rights([members[each] for each in order], USUAL)
    assert shuffled == pytest.approx(GATE.rights(members, USUAL)[order])


@given(st.lists(MEMBERS, min_size=2, max_size=5))
def test_members_that_give_the_same_answer_are_equally_right(members: list[Asked]) -> None:
    right = GATE.rights(members, USUAL)
    for one, other in itertools.combinations(range(len(members)), 2):
        first, second = members[one], members[other]
        if first.answer is not None and first.answer == second.answer and not first.failed and not second.failed:
            assert right[one] == pytest.approx(right[other])


def test_an_answer_that_another_model_gives_too_is_more_probably_right_than_one_that_it_does_not_give() -> None:
    alone = GATE.rights([asked("A")], USUAL)[0]
    agreed = GATE.rights([asked("A"), asked("A")], USUAL)[0]
    disputed = GATE.rights([asked("A"), asked("B")], USUAL)[0]
    assert disputed < alone < agreed


def test_a_second_supporter_is_worth_less_than_independent_votes_would_be() -> None:
    odds = [right / (1 - right) for right in (GATE.rights([asked("A")] * count, USUAL)[0] for count in (1, 2))]
    # Independent votes among ten options would multiply the odds by 9 · p / q.
    assert odds[1] / odds[0] < 9 * odds[0]


def test_an_answer_that_cannot_be_read_is_hardly_ever_right_where_the_prompt_asks_for_one() -> None:
    assert GATE.rights([asked(None)], USUAL)[0] < 0.15


def test_a_text_without_a_final_answer_keeps_its_forecast_where_the_prompt_asks_for_none() -> None:
    assert GATE.rights([asked(None, 0.7, wants=False)], USUAL)[0] == pytest.approx(0.7)


def test_where_answers_cannot_be_compared_only_a_better_forecast_is_worth_asking_for() -> None:
    essay = [asked(None, 0.7, wants=False)]
    assert GATE.gains(essay, (0.6,), USUAL)[0] == 0
    assert GATE.gains(essay, (0.8,), USUAL)[0] == pytest.approx(0.1)


def test_a_failed_answer_is_never_right_and_has_no_vote() -> None:
    right = GATE.rights([asked("A"), asked("A", failed="refusal")], USUAL)
    assert right[1] == 0
    assert right[0] < GATE.rights([asked("A"), asked("A")], USUAL)[0]


def test_asking_on_gains_less_after_agreement_than_after_a_dispute() -> None:
    agreed, disputed = [asked("A"), asked("A")], [asked("A"), asked("B")]
    assert GATE.gains(agreed, (0.75,), USUAL)[0] < GATE.gains(disputed, (0.75,), USUAL)[0]


def test_a_better_next_member_gains_more() -> None:
    gains = [GATE.gains([asked("A", 0.5)], (prior,), USUAL)[0] for prior in (0.5, 0.65, 0.8)]
    assert gains == sorted(gains)
    assert gains[0] < gains[-1]


def test_nobody_asked_yet_gains_the_forecast_of_the_first() -> None:
    assert GATE.gains([], (0.4,), USUAL)[0] == 0.4
    assert GATE.rights([], USUAL).shape == (0,)


def test_logprobs_count_only_where_every_member_has_them() -> None:
    member = asked("A")
    known = member._replace(signals=member.signals._replace(logprobs=(-1.0, -0.1, -4.0)))
    lost = member._replace(signals=member.signals._replace(logprobs=(-1.0, -math.inf, -4.0)))
    assert observed([known, known], USUAL).logprobs is not None
    assert observed([known, member], USUAL).logprobs is None
    assert observed([known, lost], USUAL).logprobs is None


def test_a_kind_of_answers_with_weights_of_its_own_uses_them() -> None:
    own = GATE.weights.general
    pessimist = Rule((-9.0, *own.own[1:]), own.joined, own.gain, own.unreadable)
    gate = LearnedGate("gate", type(GATE.weights)(own, {"number": pessimist}))
    number = asked("A")._replace(answer=Answer("number", "7"))
    assert gate.rights([asked("A")], USUAL) == GATE.rights([asked("A")], USUAL)
    assert gate.rights([number], USUAL)[0] < 0.1


def test_one_request_is_judged_as_in_a_batch() -> None:
    members = [asked("A"), asked(None), asked("B", 0.3)]
    single = observed(members, USUAL)
    batch = type(single)(*(None if each is None else np.concatenate([each] * 3) for each in single))
    assert single.answers.tolist() == [[0, NO_ANSWER, 1]]
    assert rights(GATE.weights.general, batch)[2] == pytest.approx(GATE.rights(members, USUAL))
