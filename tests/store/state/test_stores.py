"""What every store of the shared state does, in SQLite and in Redis."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.errors import BudgetError, RateLimitError
from router.store.state.protocol import Claim, LastAnswer
from tests.store.state.states import NOW, Open, State, is_granted, is_taken

# A store of its own is opened for every example.
of_every_store = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# Requests a minute


def test_a_burst_of_rpm_requests_is_allowed_and_no_more(state: State) -> None:
    assert [is_taken(state, 3, NOW) for _ in range(5)] == [True, True, True, False, False]


def test_a_request_is_allowed_after_the_wait_in_the_error_and_not_before(state: State) -> None:
    for _ in range(3):
        state.take_request("ci", 3, NOW)
    with pytest.raises(RateLimitError) as rejected:
        state.take_request("ci", 3, NOW + 5)
    assert str(rejected.value) == 'rate limit of 3 requests a minute exceeded for the key "ci"; retry in 15.0 s'
    assert rejected.value.retry_after_s == pytest.approx(15)
    assert not is_taken(state, 3, NOW + 19.99)
    assert is_taken(state, 3, NOW + 20)
    assert not is_taken(state, 3, NOW + 20)


def test_a_request_that_began_before_the_burst_gets_no_second_burst(state: State) -> None:
    assert [is_taken(state, 3, NOW) for _ in range(3)] == [True, True, True]
    assert not is_taken(state, 3, NOW - 0.001)
    assert not is_taken(state, 3, NOW - 5)


def test_keys_have_separate_rate_limits(state: State) -> None:
    assert is_taken(state, 1, NOW, "a")
    assert is_taken(state, 1, NOW, "b")


def test_setting_the_clock_back_blocks_no_key(state: State) -> None:
    for _ in range(3):
        state.take_request("ci", 3, NOW)
    assert is_taken(state, 3, NOW - 3600)


@given(rpm=st.integers(1, 200), gaps=st.lists(st.floats(0, 5), min_size=1, max_size=120))
@settings(of_every_store, max_examples=40)
def test_any_interval_allows_at_most_a_burst_of_rpm_requests_plus_the_rate_times_its_length(
    open_state: Open, rpm: int, gaps: list[float]
) -> None:
    state, now_s, times = open_state(), NOW, []
    for gap in gaps:
        now_s += gap
        if is_taken(state, rpm, now_s):
            times.append(now_s)
    state.close()
    for first in range(len(times)):
        for last in range(first, len(times)):
            # Times are rounded to microseconds.
            assert last - first + 1 <= rpm + (times[last] - times[first] + 1e-5) * rpm / 60 + 1e-3


# Budgets


def test_reservations_count_against_the_budget(state: State) -> None:
    assert is_granted(state, 1.0, 0.6)
    assert not is_granted(state, 1.0, 0.6)
    assert is_granted(state, 1.0, 0.4)


def test_settling_releases_the_unspent_part_of_a_reservation(state: State) -> None:
    reservation = state.reserve(Claim("ci", 1.0, 0.9), NOW)
    state.settle(reservation, 0.1)
    assert state.spent_usd("ci", NOW) == pytest.approx(0.1)
    assert is_granted(state, 1.0, 0.9)


def test_a_budget_error_names_the_amounts_and_when_the_budget_resets(state: State) -> None:
    state.settle(state.reserve(Claim("ci", 1.0, 0.5), NOW), 0.75)
    state.reserve(Claim("ci", 1.0, 0.125), NOW)
    with pytest.raises(BudgetError) as rejected:
        state.reserve(Claim("ci", 1.0, 0.375), NOW)
    assert rejected.value.is_spent
    assert rejected.value.retry_after_s == 12 * 3600
    assert str(rejected.value) == (
        'daily budget of 1$ exceeded for the key "ci": 0.75$ spent, 0.125$ reserved for running requests, '
        "0.375$ expected for this one; the budget resets in 720 minutes, at 00:00 UTC"
    )


def test_the_budget_resets_at_midnight_utc(state: State) -> None:
    state.settle(state.reserve(Claim("ci", 1.0, 1.0), NOW), 1.0)
    assert not is_granted(state, 1.0, 0.1, NOW + 12 * 3600 - 1)
    assert is_granted(state, 1.0, 1.0, NOW + 12 * 3600)


def test_a_request_counts_for_the_day_on_which_it_began(state: State) -> None:
    reservation = state.reserve(Claim("ci", 1.0, 0.5), NOW)
    tomorrow = state.reserve(Claim("ci", 1.0, 0.5), NOW + 86_400)
    state.settle(reservation, 0.5)
    state.settle(tomorrow, 0.25)
    assert state.spent_usd("ci", NOW) == 0.5
    assert state.spent_usd("ci", NOW + 86_400) == 0.25


def test_a_free_request_is_allowed_when_the_budget_is_spent(state: State) -> None:
    state.settle(state.reserve(Claim("ci", 1.0, 1.0), NOW), 1.5)
    assert is_granted(state, 1.0, 0.0)
    assert not is_granted(state, 1.0, 1e-9)


def test_the_reservation_of_a_killed_worker_is_spent_when_it_expires(state: State) -> None:
    state.reserve(Claim("ci", 1.0, 0.6), NOW)
    assert state.spent_usd("ci", NOW + 59) == 0
    assert state.spent_usd("ci", NOW + 61) == 0.6
    assert not is_granted(state, 1.0, 0.5, NOW + 61)
    assert is_granted(state, 1.0, 0.4, NOW + 61)


def test_the_cost_of_a_request_replaces_its_reservation_even_after_that_has_expired(state: State) -> None:
    reservation = state.reserve(Claim("ci", 1.0, 0.5), NOW)
    state.maintain_once(NOW + 61)
    assert state.spent_usd("ci", NOW + 61) == 0.5
    state.settle(reservation, 0.25)
    assert state.spent_usd("ci", NOW) == 0.25


def test_the_reservation_of_a_running_request_is_renewed(state: State) -> None:
    reservation = state.reserve(Claim("ci", 1.0, 0.5), NOW)
    state.renew(NOW + 55)
    assert state.spent_usd("ci", NOW + 61) == 0
    state.settle(reservation, 0.25)
    state.renew(NOW + 56)
    assert state.spent_usd("ci", NOW + 200) == 0.25


def test_a_request_whose_worst_case_exceeds_the_rest_runs_alone(state: State) -> None:
    first = state.reserve(Claim("ci", 1.0, 0.1, 0.01, 5.0), NOW)
    with pytest.raises(BudgetError) as rejected:
        state.reserve(Claim("ci", 1.0, 0.1, 0.01, 5.0), NOW)
    assert not rejected.value.is_spent
    assert rejected.value.retry_after_s == 1
    state.settle(first, 0.5)
    state.reserve(Claim("ci", 1.0, 0.1, 0.01, 5.0), NOW)


def test_requests_whose_worst_cases_fit_together_run_in_parallel(state: State) -> None:
    for _ in range(10):
        state.reserve(Claim("ci", 5.0, 0.1, 0.01, 0.5), NOW)


def test_a_free_request_of_the_key_does_not_block_one_that_runs_alone(state: State) -> None:
    state.reserve(Claim("ci", 1.0, 0.0), NOW)
    state.reserve(Claim("ci", 1.0, 0.1, 0.01, 5.0), NOW)


def test_a_request_that_waits_for_one_of_a_killed_worker_learns_when_that_expires(
    two: tuple[State, State],
) -> None:
    killed, state = two
    killed.reserve(Claim("ci", 1.0, 0.3, 0.01, 5.0), NOW)
    with pytest.raises(BudgetError) as rejected:
        state.reserve(Claim("ci", 1.0, 0.3, 0.01, 5.0), NOW + 20)
    assert rejected.value.retry_after_s == 40
    state.reserve(Claim("ci", 1.0, 0.3, 0.01, 5.0), NOW + 20 + rejected.value.retry_after_s)
    assert state.spent_usd("ci", NOW + 60) == 0.3


@given(steps=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3)), max_size=40))
@settings(of_every_store, max_examples=50)
def test_parallel_requests_overspend_by_one_worst_case_at_most(
    open_state: Open, steps: list[tuple[float, float, int]]
) -> None:
    """Requests that all cost what they cost at most, some of which end before others begin."""
    state, running, greatest, spent = open_state(), [], 0.0, 0.0
    for reserved, beyond, ending in steps:
        for reservation, worst in running[:ending]:
            state.settle(reservation, worst)
            spent += worst
        del running[:ending]
        with contextlib.suppress(BudgetError):
            worst = reserved + beyond
            running.append((state.reserve(Claim("ci", 1.0, reserved, reserved / 2, worst), NOW), worst))
            greatest = max(greatest, worst)
    assert spent + sum(worst for _, worst in running) <= 1.0 + greatest + 1e-6
    state.close()


@pytest.mark.parametrize("cost", [-1.0, float("nan")])
def test_a_negative_or_undefined_cost_is_a_programming_error(state: State, cost: float) -> None:
    with pytest.raises(ValueError, match="a cost cannot be"):
        state.reserve(Claim("ci", 1.0, cost), NOW)


def test_an_infinite_cost_exceeds_every_budget(state: State) -> None:
    assert not is_granted(state, 1e9, float("inf"))


Step = tuple[float, float | None]


@given(
    budget=st.floats(0, 10),
    steps=st.lists(st.tuples(st.floats(0, 3), st.none() | st.floats(0, 1)), max_size=40),
)
@settings(of_every_store, max_examples=50)
def test_the_budget_is_never_exceeded_if_forecasts_are_not_below_costs(
    open_state: Open, budget: float, steps: list[Step]
) -> None:
    state, spent, unsettled = open_state(), 0.0, 0.0
    for forecast, share in steps:
        with contextlib.suppress(BudgetError):
            reservation = state.reserve(Claim("ci", budget, forecast), NOW)
            if share is None:
                unsettled += forecast
            else:
                state.settle(reservation, forecast * share)
                spent += forecast * share
    assert spent <= budget + 1e-9 * (len(steps) + 1)
    assert state.spent_usd("ci", NOW) == pytest.approx(spent, abs=1e-8)
    # Reservations that were never settled are spent, to the last unit.
    state.maintain_once(NOW + 61)
    assert state.spent_usd("ci", NOW + 61) == pytest.approx(spent + unsettled, abs=1e-7)
    state.close()


# Conversations


def test_the_server_that_answered_is_remembered_with_the_card(state: State) -> None:
    state.remember("talk", "small", NOW, server="first")
    state.remember("talk", "small", NOW + 1, server="second")
    assert state.last_answer("talk", NOW + 2) == LastAnswer("small", "second")


def test_the_last_card_of_a_conversation_is_remembered(state: State) -> None:
    assert state.card_of("talk", NOW) is None
    state.remember("talk", "small", NOW)
    state.remember("talk", "large", NOW + 1)
    assert state.card_of("talk", NOW + 2) == "large"


def test_conversations_of_different_keys_are_separate(state: State) -> None:
    state.remember("1", "small", NOW, "a")
    assert state.card_of("1", NOW, "b") is None
    assert state.card_of("1", NOW) is None
    state.remember("b", "large", NOW, "a")
    assert state.card_of("", NOW, "ab") is None


def test_a_conversation_expires_a_day_after_its_last_answer(state: State) -> None:
    state.remember("talk", "small", NOW)
    state.remember("talk", "small", NOW + 3600)
    assert state.card_of("talk", NOW + 86_400) == "small"
    assert state.card_of("talk", NOW + 86_400 + 3600) is None
