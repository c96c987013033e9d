from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards.servers import RateLimits
from router.dispatch import Cooldown
from router.dispatch.health import FAILURE, Evidence, Health, Unready

FREE = RateLimits()
RULE = Cooldown(failures=3, window_s=30.0, time_s=10.0)
OF_REQUEST = Evidence("failure", "request")
OF_PROVIDER = Evidence("cooldown", "provider")
PAUSE = Evidence("pause", pause_s=100)


def fail(health: Health, now_s: float, key: str = "", evidence: Evidence = FAILURE) -> None:
    ticket = health.begin(FREE, now_s, key)
    health.record(ticket, evidence, RULE, now_s)
    health.end(ticket)


def succeed(health: Health, now_s: float, key: str = "") -> None:
    ticket = health.begin(FREE, now_s, key)
    health.record_success(ticket, now_s)
    health.end(ticket)


def failed(*at_s: float, key: str = "") -> Health:
    health = Health()
    for now_s in at_s:
        fail(health, now_s, key)
    return health


def failed_for_all(*at_s: float) -> Health:
    """Keys a and b fail in turn."""
    health = Health()
    for number, now_s in enumerate(at_s):
        fail(health, now_s, "ab"[number % 2])
    return health


def test_a_deployment_cools_down_after_consecutive_failures() -> None:
    assert failed(1, 2).unready(FREE, 2) is None
    assert failed(1, 2, 3).unready(FREE, 4) == Unready("cooling_down", 9)


def test_a_success_between_failures_prevents_a_cooldown() -> None:
    health = failed(1, 2)
    succeed(health, 2)
    fail(health, 3)
    assert health.unready(FREE, 3) is None


def test_failures_far_apart_do_not_add_up() -> None:
    assert failed(1, 2, 40).unready(FREE, 40) is None


def test_after_the_cooldown_one_call_probes_the_deployment() -> None:
    health = failed(1, 2, 3)
    assert health.unready(FREE, 14) is None
    probe = health.begin(FREE, 14)
    assert health.unready(FREE, 14) == Unready("cooling_down", 1.0)
    health.end(probe)
    health.record_success(probe, 14)
    assert health.unready(FREE, 14) is None


def test_a_failed_probe_doubles_the_cooldown() -> None:
    health = failed(1, 2, 3)
    fail(health, 15)
    assert health.unready(FREE, 15) == Unready("cooling_down", 20)


def test_failures_of_calls_that_began_before_the_cooldown_do_not_extend_it() -> None:
    health = Health()
    tickets = [health.begin(FREE, 0) for _ in range(40)]
    for ticket in tickets:
        health.record(ticket, FAILURE, RULE, 1)
        health.end(ticket)
    assert health.unready(FREE, 1) == Unready("cooling_down", 10)
    assert health.unready(FREE, 11) is None


def test_a_call_that_began_before_the_cooldown_and_fails_after_it_does_not_start_another() -> None:
    health = Health()
    slow = health.begin(FREE, 0)
    for now_s in (1, 2, 3):
        fail(health, now_s)
    health.record(slow, FAILURE, RULE, 14)
    assert health.unready(FREE, 14) is None


def test_the_end_of_another_call_leaves_the_probe_running() -> None:
    health = Health()
    slow = health.begin(FREE, 0)
    for now_s in (1, 2, 3):
        fail(health, now_s)
    health.begin(FREE, 14)
    health.end(slow)
    assert health.unready(FREE, 14) == Unready("cooling_down", 1.0)


def test_a_probe_whose_answer_has_begun_lets_the_others_in() -> None:
    health = failed(1, 2, 3)
    probe = health.begin(FREE, 14)
    health.record_answer(probe)
    assert health.unready(FREE, 14) is None
    health.begin(FREE, 14)
    assert health.unready(FREE, 14) is None


def test_a_stream_that_breaks_after_its_start_cools_the_deployment_down_again() -> None:
    health = failed(1, 2, 3)
    probe = health.begin(FREE, 14)
    health.record_answer(probe)
    health.record(probe, FAILURE, RULE, 15)
    assert health.unready(FREE, 15) == Unready("cooling_down", 20)


def test_a_probe_that_takes_long_lets_another_begin() -> None:
    health = failed(1, 2, 3)
    health.begin(FREE, 14)
    assert health.unready(FREE, 23.9) is not None
    assert health.unready(FREE, 24) is None


@given(st.lists(st.floats(0, 100), min_size=4, max_size=20).map(sorted))
def test_a_failure_never_shortens_a_cooldown(times: list[float]) -> None:
    health = failed(*times[:3])
    for now_s in times[3:]:
        before = health.unready(FREE, now_s)
        fail(health, now_s)
        after = health.unready(FREE, now_s)
        assert before is None or (after is not None and after.seconds >= before.seconds)


class TestKeys:
    """What the requests of one key cause concerns no other."""

    @pytest.mark.parametrize("evidence", [FAILURE, OF_REQUEST, Evidence("cooldown"), PAUSE])
    def test_failures_of_one_key_close_the_deployment_for_that_key_alone(self, evidence: Evidence) -> None:
        health = Health()
        for now_s in (1, 2, 3):
            fail(health, now_s, "a", evidence)
        assert health.unready(FREE, 4, "a") is not None
        assert health.unready(FREE, 4, "b") is None

    def test_failures_of_two_keys_close_it_for_all(self) -> None:
        assert failed_for_all(1, 2, 3).unready(FREE, 4, "c") == Unready("cooling_down", 9)

    def test_failures_that_may_be_the_requests_close_it_for_nobody_else(self) -> None:
        health = Health()
        for key in "ababababab":
            fail(health, 1, key, OF_REQUEST)
        assert health.unready(FREE, 1, "c") is None

    def test_an_error_that_names_the_provider_closes_it_for_all_at_once(self) -> None:
        health = Health()
        fail(health, 1, "a", OF_PROVIDER)
        assert health.unready(FREE, 1, "b") == Unready("cooling_down", 10)

    def test_a_stream_that_began_before_the_key_was_refused_shows_nothing_about_it(self) -> None:
        health = Health()
        stream = health.begin(FREE, 0, "a")
        fail(health, 1, "a", OF_PROVIDER)
        health.record_success(stream, 2)
        assert health.unready(FREE, 2, "a") == Unready("cooling_down", 9)

    def test_a_pause_that_a_second_key_meets_is_for_all(self) -> None:
        health = Health()
        fail(health, 1, "a", PAUSE)
        fail(health, 2, "b", Evidence("pause", pause_s=20))
        assert health.unready(FREE, 2, "c") == Unready("rate_limited", 20)

    def test_a_pause_that_the_server_asks_of_all_is_for_all(self) -> None:
        health = Health()
        fail(health, 1, "a", Evidence("pause", "provider", 20))
        assert health.unready(FREE, 1, "b") == Unready("rate_limited", 20)

    def test_after_a_failed_probe_another_key_probes_first(self) -> None:
        health = failed_for_all(1, 2, 3)
        fail(health, 14, "c")
        assert health.unready(FREE, 34, "c") is not None
        assert health.unready(FREE, 34, "d") is None

    def test_a_probe_that_the_request_itself_made_fail_leaves_the_next_to_another(self) -> None:
        health = failed_for_all(1, 2, 3)
        fail(health, 14, "c", OF_REQUEST)
        assert health.unready(FREE, 14, "d") is None

    def test_where_too_many_are_closed_already_each_key_finds_out_by_itself(self) -> None:
        health = Health(lambda: False)
        for number, now_s in enumerate((1, 2, 3, 4, 5, 6)):
            fail(health, now_s, "ab"[number % 2])
        assert health.unready(FREE, 6, "a") is not None
        assert health.unready(FREE, 6, "c") is None


_EVIDENCE = st.builds(
    Evidence,
    st.sampled_from(["failure", "cooldown", "pause", "unchanged"]),
    st.sampled_from(["request", "server"]),
    st.none() | st.floats(0, 1000),
)
_STEPS = st.lists(st.tuples(st.floats(0, 20), st.booleans(), _EVIDENCE | st.none()), max_size=30)


@given(_STEPS)
def test_no_sequence_of_outcomes_of_one_key_changes_what_another_key_can_call(
    steps: list[tuple[float, bool, Evidence | None]],
) -> None:
    health, now_s = Health(), 0.0
    for wait_s, ends, evidence in steps:
        now_s += wait_s
        ticket = health.begin(FREE, now_s, "evil")
        if evidence is None:
            health.record_success(ticket, now_s)
        else:
            health.record(ticket, evidence, RULE, now_s)
        if ends:
            health.end(ticket)
        assert health.unready(FREE, now_s, "victim") is None


@given(_STEPS, st.lists(st.booleans(), max_size=30))
def test_failures_of_requests_never_add_to_those_of_another_key(
    steps: list[tuple[float, bool, Evidence | None]], outcomes: list[bool]
) -> None:
    """The victim's own failures and successes have the same effects with and without the other key's requests."""
    alone, beside, now_s = Health(), Health(), 0.0
    for (wait_s, _, evidence), works in zip(steps, outcomes, strict=False):
        now_s += wait_s
        for health in (alone, beside):
            succeed(health, now_s, "victim") if works else fail(health, now_s, "victim")
        if evidence is not None:
            fail(beside, now_s, "evil", Evidence(evidence.health, "request", evidence.pause_s))
        assert beside.unready(FREE, now_s, "victim") == alone.unready(FREE, now_s, "victim")


def test_a_shorter_retry_after_does_not_shorten_a_longer_one() -> None:
    health = Health()
    fail(health, 0, evidence=Evidence("pause", pause_s=30))
    fail(health, 1, evidence=Evidence("pause", pause_s=5))
    assert health.unready(FREE, 10) == Unready("rate_limited", 20)


def test_no_more_calls_run_than_the_concurrency_limit() -> None:
    health, limits = Health(), RateLimits(concurrency=2)
    health.begin(limits, 0)
    second = health.begin(limits, 0)
    assert health.unready(limits, 0) == Unready("at_capacity", 1.0)
    health.end(second)
    assert health.unready(limits, 0) is None


def test_requests_per_minute_are_counted_over_the_last_minute() -> None:
    health, limits = Health(), RateLimits(rpm=2)
    for now_s in (0.0, 10.0):
        health.end(health.begin(limits, now_s))
    assert health.unready(limits, 20) == Unready("rate_limited", 40)
    assert health.unready(limits, 60) is None


def test_tokens_per_minute_are_counted_when_they_are_known() -> None:
    health, limits = Health(), RateLimits(tpm=100)
    health.spend(limits, 60, 0)
    assert health.unready(limits, 1) is None
    health.spend(limits, 60, 5)
    assert health.unready(limits, 10) == Unready("rate_limited", 50)


def test_a_retry_that_succeeds_ends_the_cooldown_which_its_first_attempt_began() -> None:
    health = Health()
    ticket = health.begin(FREE, 1, "a")
    health.record(ticket, OF_PROVIDER, RULE, 1)
    assert health.unready(FREE, 1, "b") is not None
    retried = health.retry(FREE, ticket, 1)
    # A second failure shows no more than the first.
    health.record(retried, OF_PROVIDER, RULE, 1)
    assert health.unready(FREE, 1, "b") == Unready("cooling_down", 10)
    health.record_success(retried, 2)
    health.end(retried)
    assert (health.unready(FREE, 2, "b"), health.running) == (None, 0)
