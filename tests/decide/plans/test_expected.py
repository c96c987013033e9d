"""The closed forms, against simulation and at their ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decide.plans.forecast.expected import (
    CONSTANTS,
    Constants,
    acceptance,
    best_of,
    cascade,
    chain,
    committee,
    conditional,
    panel,
    reroute,
    samples,
    segments,
)
from router.decide.plans.forecast.vote import asked_at_once, chances_of_samples, is_decided, joint_of_cards, sampled

ALL_READABLE = Constants(readable=1.0)
D = CONSTANTS.separation
chances = st.floats(0.02, 0.98)


def test_the_separation_of_signals_follows_from_their_auc() -> None:
    assert Constants(auc=0.5).separation == pytest.approx(0.0)
    assert pytest.approx(math.sqrt(2) * 0.6744898, abs=1e-6) == Constants(auc=0.75).separation


def test_a_perfect_signal_gives_the_oracle_cascade() -> None:
    first, second = 0.6, 0.8
    _, wrong = conditional(first, second, CONSTANTS.correlation)
    found = cascade([[first, second]], [0.0, 0.01], CONSTANTS, separation=9.0)
    assert found.quality[0] == pytest.approx(first + (1 - first) * wrong, abs=1e-3)
    assert found.reach[1] == pytest.approx(1 - first, abs=1e-3)


def test_without_a_signal_the_better_of_both_members_answers() -> None:
    asks_on = cascade([[0.6, 0.8]], [0.0, 0.1], CONSTANTS, separation=0.0)
    stays = cascade([[0.6, 0.8]], [0.0, 0.3], CONSTANTS, separation=0.0)
    assert (asks_on.quality, asks_on.reach) == ([pytest.approx(0.8)], [1.0, 1.0])
    assert (stays.quality, stays.reach) == ([pytest.approx(0.6)], [1.0, 0.0])


@given(chances, chances, st.floats(0.0, 0.5))
def test_the_pair_agrees_with_a_simulation(first: float, second: float, price: float) -> None:
    random = np.random.default_rng(7)
    right, wrong = conditional(first, second, CONSTANTS.correlation)
    is_right = random.random(60_000) < first
    signal = random.standard_normal(60_000) + D * is_right
    odds = first / (1 - first) * np.exp(D * signal - D * D / 2)
    posterior = odds / (1 + odds)
    asks = posterior * right + (1 - posterior) * wrong - posterior > price
    # A text that looks wrong says that the prompt is hard, for the second member too.
    chance, surprise = np.where(is_right, right, wrong), signal - D * is_right
    after = random.random(60_000) < chance + CONSTANTS.hardness * np.sqrt(chance * (1 - chance)) * surprise
    found = cascade([[first, second]], [0.0, price], CONSTANTS, separation=D)
    assert found.reach[1] == pytest.approx(asks.mean(), abs=0.012)
    assert found.quality[0] == pytest.approx(np.where(asks, after, is_right).mean(), abs=0.012)


@given(st.lists(chances, min_size=2, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_a_greater_price_never_makes_a_call_more_probable(members: list[float], low: float, more: float) -> None:
    for form in (cascade, lambda *given, **named: committee(*given, **named, agree=2)):
        reaches = [
            form([members], [0.0, *[price] * (len(members) - 1)], CONSTANTS, separation=D).reach
            for price in (low, low + more)
        ]
        assert all(dear <= cheap + 1e-12 for cheap, dear in zip(*reaches, strict=True))


@given(st.lists(chances, min_size=2, max_size=5))
def test_the_patterns_of_a_vote_are_probabilities_with_the_members_as_margins(members: list[float]) -> None:
    joint = joint_of_cards(np.array([members]), 0.4)[0]
    assert joint.sum() == pytest.approx(1.0, abs=1e-9)
    assert (joint >= 0).all()
    for number, member in enumerate(members):
        right = [pattern for pattern in range(len(joint)) if not pattern >> (len(members) - 1 - number) & 1]
        assert joint[right].sum() == pytest.approx(member, abs=2e-3)


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95])
def test_two_equal_members_are_correlated_as_measured(p: float) -> None:
    both = joint_of_cards(np.array([[p, p]]), 0.4)[0, 0]
    assert (both - p * p) / (p * (1 - p)) == pytest.approx(0.4, abs=0.02)


@given(chances, st.integers(2, 5))
def test_the_answers_of_one_card_are_right_as_often_as_the_card(p: float, n: int) -> None:
    by_count = chances_of_samples(p, n, 0.75)
    patterns = [math.comb(n, count) * chance for count, chance in enumerate(by_count)]
    assert sum(patterns) == pytest.approx(1.0)
    assert sum(count * chance for count, chance in enumerate(patterns)) / n == pytest.approx(p)


def test_answers_that_cannot_be_compared_leave_the_first_one() -> None:
    none = Constants(readable=0.0)
    assert committee([[0.6, 0.7, 0.8]], [0, 0, 0], none, agree=2, separation=D) == ([pytest.approx(0.6)], [1, 0, 0])
    assert samples([[0.6]], 5, none, confidence=0.95) == ([pytest.approx(0.6)], [1, 1, 1, 0, 0])


def test_a_vote_of_equal_members_is_better_than_one_of_them_and_asks_the_third_only_where_two_differ() -> None:
    found = committee([[0.7, 0.7, 0.7]], [0, 0, 0], ALL_READABLE, agree=2, separation=D)
    assert 0.7 < found.quality[0] < 0.85
    assert found.reach[2] < 0.6 < found.reach[1]


@given(st.lists(chances, min_size=2, max_size=5), st.floats(0, 1))
def test_validators_never_lower_the_quality_of_equal_members(members: list[float], caught: float) -> None:
    equal = [members[0]] * len(members)
    found = best_of([equal], CONSTANTS, caught=caught, parallel=False)
    assert found.quality[0] >= members[0] - 1e-9
    assert best_of([equal], CONSTANTS, caught=caught, parallel=True).reach == [1.0] * len(members)


def test_panel_chain_and_segments_are_the_greatest_the_product_and_the_mean() -> None:
    members = [[0.5, 0.8]]
    assert panel(members) == ([0.8], [1.0, 1.0, 1.0])
    assert chain(members) == ([pytest.approx(0.4)], [1.0, 1.0])
    assert segments(members) == ([pytest.approx(0.65)], [1.0, 1.0])


@given(st.lists(chances, min_size=2, max_size=5), st.floats(0, 0.3), st.floats(0, 1), st.floats(0, 1))
def test_a_reroute_is_as_good_as_its_first_member_and_a_greater_price_never_adds_calls(
    members: list[float], margin: float, low: float, more: float
) -> None:
    members = sorted(members, reverse=True)
    for handovers in (1, 2):
        cheap, dear = (
            reroute([members], [price] * len(members), CONSTANTS, margin=margin, handovers=handovers)
            for price in (low, low + more)
        )
        assert cheap.quality == dear.quality == [members[0]]
        assert sum(dear.reach) <= sum(cheap.reach) + 1e-9
        assert 1.0 <= sum(cheap.reach) <= 1.0 + handovers
        assert all(0.0 <= each <= 1.0 for each in cheap.reach)


@pytest.mark.parametrize(("n", "confidence", "needed"), [(5, 0.95, 3), (5, 0.8, 2), (2, 0.99, 2), (4, 0.95, 3)])
def test_sampling_stops_where_the_leader_stays_ahead(n: int, confidence: float, needed: int) -> None:
    assert asked_at_once(n, confidence) == needed


@given(st.integers(2, 5), st.floats(0.5, 0.999))
def test_fewer_samples_than_are_asked_at_once_never_decide_and_as_many_equal_ones_do(n: int, confidence: float) -> None:
    at_once = asked_at_once(n, confidence)
    assert not any(is_decided([count], n - count, confidence) for count in range(2, at_once))
    assert is_decided([at_once], n - at_once, confidence)


def test_samples_are_expected_to_go_on_where_the_runner_goes_on() -> None:
    # Two of three equal answers leave 0.69 for the leader: less than 0.8, so a fourth one is asked for.
    assert asked_at_once(5, 0.8) == 2
    assert not is_decided([2, 1], 2, 0.8)
    # By number of right answers: of one wrong pattern in two, the fourth call is made.
    assert sampled(5, 0.8, 1.0).made[3][3] > 0


def test_a_fixed_threshold_takes_the_place_of_gain_and_price() -> None:
    assert acceptance(0.6, 0.9, 0.5, 99.0, D, threshold=1.0) == (0.0, 0.0, 0.0, 0.0)
    assert acceptance(0.6, 0.9, 0.5, 0.0, D, threshold=1e-9)[0] == pytest.approx(1.0)
