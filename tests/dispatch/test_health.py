from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.cards.servers import RateLimits
from router.dispatch import Cooldown
from router.dispatch.health import Health, Unready

FREE = RateLimits()
RULE = Cooldown(failures=3, window_s=30.0, time_s=10.0)


def failed(*at_s: float) -> Health:
    health = Health()
    for now_s in at_s:
        health.record_failure(RULE, now_s)
    return health


def test_a_deployment_cools_down_after_consecutive_failures() -> None:
    assert failed(1, 2).unready(FREE, 2) is None
    assert failed(1, 2, 3).unready(FREE, 4) == Unready("cooling_down", 9)


def test_a_success_between_failures_prevents_a_cooldown() -> None:
    health = failed(1, 2)
    health.record_success()
    health.record_failure(RULE, 3)
    assert health.unready(FREE, 3) is None


def test_failures_far_apart_do_not_add_up() -> None:
    assert failed(1, 2, 40).unready(FREE, 40) is None


def test_after_the_cooldown_one_call_probes_the_deployment() -> None:
    health = failed(1, 2, 3)
    assert health.unready(FREE, 14) is None
    health.begin(FREE, 14)
    problem = health.unready(FREE, 14)
    assert problem is not None
    assert problem.kind == "cooling_down"
    health.end()
    health.record_success()
    assert health.unready(FREE, 14) is None


def test_a_failed_probe_doubles_the_cooldown() -> None:
    health = failed(1, 2, 3)
    health.begin(FREE, 14)
    health.record_failure(RULE, 15)
    health.end()
    assert health.unready(FREE, 15) == Unready("cooling_down", 20)


@given(st.lists(st.floats(0, 100), min_size=4, max_size=20).map(sorted))
def test_a_failure_never_shortens_a_cooldown(times: list[float]) -> None:
    health = failed(*times[:3])
    for now_s in times[3:]:
        before = health.unready(FREE, now_s)
        health.record_failure(RULE, now_s)
        after = health.unready(FREE, now_s)
        assert before is None or (after is not None and after.seconds >= before.seconds)


def test_a_shorter_retry_after_does_not_shorten_a_longer_one() -> None:
    health = Health()
    health.back_off(30, 0)
    health.back_off(5, 1)
    assert health.unready(FREE, 10) == Unready("rate_limited", 20)


def test_no_more_calls_run_than_the_concurrency_limit() -> None:
    health, limits = Health(), RateLimits(concurrency=2)
    health.begin(limits, 0)
    health.begin(limits, 0)
    assert health.unready(limits, 0) == Unready("at_capacity", 1.0)
    health.end()
    assert health.unready(limits, 0) is None


def test_requests_per_minute_are_counted_over_the_last_minute() -> None:
    health, limits = Health(), RateLimits(rpm=2)
    for now_s in (0.0, 10.0):
        health.begin(limits, now_s)
        health.end()
    assert health.unready(limits, 20) == Unready("rate_limited", 40)
    assert health.unready(limits, 60) is None


def test_tokens_per_minute_are_counted_when_they_are_known() -> None:
    health, limits = Health(), RateLimits(tpm=100)
    health.spend(limits, 60, 0)
    assert health.unready(limits, 1) is None
    health.spend(limits, 60, 5)
    assert health.unready(limits, 10) == Unready("rate_limited", 50)
