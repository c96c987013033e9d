"""What another policy would have been worth: closed forms, coverage, and what cannot be known."""

from __future__ import annotations

import numpy as np
import pytest

from router.analysis.off_policy.estimators import (
    Log,
    corrected_forecasts,
    difference,
    doubly_robust,
    effective_size,
    estimate,
    known_shares,
    t_quantile,
)
from router.analysis.off_policy.policy_value import Logged, PolicyValue, Target, evaluate, values_of
from router.store.records.feedback import Feedback

NAN = float("nan")


def log_of(agrees: list[bool], propensity: list[float], value: list[float], forecast: float = 0.5) -> Log:
    chosen = np.array([share > 0.5 for share in propensity])
    size = len(agrees)
    known = np.ones(size)
    return Log(np.array(agrees), chosen, np.array(propensity), np.array(value), known, np.full(size, forecast))


def test_ips_weighs_by_one_over_the_propensity() -> None:
    found = estimate(log_of([True, True, False, False], [0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 1.0, 1.0]))
    assert found.ips.value == pytest.approx((4 * 1 + 4 * 0) / 4)
    assert found.self_normalised.value == pytest.approx(0.5)
    assert found.direct == 0.5
    assert (found.effective, found.compared, found.deviating) == (2.0, 2, 2)


def test_what_is_not_judged_has_no_weight() -> None:
    log = log_of([True, True, True], [0.5, 0.5, 0.5], [1.0, NAN, NAN])
    assert log.weights.tolist() == [2.0, 0.0, 0.0]


def test_the_doubly_robust_estimate_corrects_what_the_forecasts_are_off() -> None:
    values = [1.0] * 900 + [0.0] * 100
    found = doubly_robust(log_of([True] * 1000, [0.98] * 1000, values, forecast=0.2))
    assert found.value == pytest.approx(0.9)
    assert 0.85 < found.low < 0.9 < found.high < 0.95


def test_right_forecasts_make_the_interval_shorter() -> None:
    rng = np.random.default_rng(1)
    ability = rng.random(4000)
    values = (rng.random(4000) < ability).astype(float)
    used = rng.random(4000) < 0.1
    log = Log(used, np.zeros(4000, dtype=bool), np.full(4000, 0.1), values, np.ones(4000), ability)
    blind = Log(used, np.zeros(4000, dtype=bool), np.full(4000, 0.1), values, np.ones(4000), np.full(4000, 0.5))
    one, two = doubly_robust(log), doubly_robust(blind)
    assert one.high - one.low < two.high - two.low


def test_without_a_value_that_tells_everything_is_possible() -> None:
    found = doubly_robust(log_of([False] * 50, [0.02] * 50, [1.0] * 50))
    assert (found.low, found.high) == (0.0, 1.0)


def test_few_equal_values_prove_little() -> None:
    found = doubly_robust(log_of([True] * 3, [0.02] * 3, [1.0] * 3))
    assert found.low < 0.4


def test_few_equal_values_prove_little_by_any_method() -> None:
    found = estimate(log_of([True] * 3, [0.98] * 3, [1.0] * 3))
    assert max(found.ips.low, found.self_normalised.low, found.doubly_robust.low) < 0.4


def test_policies_that_agree_everywhere_differ_by_nothing() -> None:
    log = log_of([True] * 20, [0.98] * 20, [1.0] * 20)
    found = difference(log, log, np.zeros(20, dtype=bool))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_the_effective_size_of_equal_weights_is_their_number() -> None:
    assert effective_size(np.array([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3.0)
    assert effective_size(np.zeros(3)) == 0.0


@pytest.mark.parametrize(("freedom", "expected"), [(2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042), (1e6, 1.960)])
def test_quantiles_of_students_t(freedom: float, expected: float) -> None:
    assert t_quantile(freedom) == pytest.approx(expected, abs=0.02)


def test_forecasts_are_corrected_by_the_other_half_only() -> None:
    takes = ["a"] * 40
    residual = np.where(np.arange(40) % 2 == 0, 0.3, np.nan)
    corrected = corrected_forecasts(np.full(40, 0.5), takes, takes, residual)
    assert np.allclose(corrected[::2], 0.5)
    assert np.allclose(corrected[1::2], 0.5 + 0.3 * 20 / 30)


def test_how_often_answers_are_judged_is_estimated_by_card() -> None:
    shares = known_shares(["a"] * 1000 + ["b"] * 1000, np.array([1.0] * 500 + [NAN] * 500 + [1.0] * 100 + [NAN] * 900))
    assert shares[0] == pytest.approx(0.5, abs=0.01)
    assert shares[-1] == pytest.approx(0.1, abs=0.01)


def simulated(seed: int, requests: int = 3000, judged: float = 0.5) -> tuple[list[Logged], list[Target], list[Target]]:
    """Logs of a policy that takes `a` (right in 60 %) and explores `b` (right in 80 %) with 5 %."""
    rng = np.random.default_rng(seed)
    logged = []
    for number in range(requests):
        action = "b" if rng.random() < 0.05 else "a"
        right = float(rng.random() < (0.8 if action == "b" else 0.6))
        value = right if rng.random() < judged else None
        shares = {"a": 0.95, "b": 0.05}
        logged.append(Logged(action, "a", shares, value, 0.001 if action == "a" else 0.003, 0.7, explores=True))
        del number
    return logged, [Target("b", 0.7, 0.003)] * requests, [Target("a", 0.7, 0.001)] * requests


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    covered = [
        found.gain is not None and found.gain.low <= 0.2 <= found.gain.high
        for found in (evaluate(*simulated(seed, requests=1000), {}) for seed in range(60))
    ]
    # 95 % of 60 are 57; fewer than 52 would happen once in 10,000 times.
    assert sum(covered) >= 52


def test_a_better_policy_is_found_with_its_cost() -> None:
    found = evaluate(*simulated(0), {"the client named a plan": 2})
    assert found.verdict == "better"
    assert found.gain is not None
    assert 0.0 < found.gain.low < 0.2 < found.gain.high
    assert found.gain_usd is not None
    assert found.gain_usd.value == pytest.approx(0.002, rel=0.05)
    assert (found.requests, found.changed, found.supported) == (3000, 3000, 3000)
    assert found.left_out == (("the client named a plan", 2),)


def test_logs_without_exploration_say_what_they_cannot_know() -> None:
    logged = [Logged("a", "a", {"a": 1.0}, 1.0, 0.001, 0.7)] * 50
    found = evaluate(logged, [Target("b", 0.8, 0.001)] * 50, [Target("a", 0.7, 0.001)] * 50, {})
    assert (found.verdict, found.supported, found.new) == ("unknown", 0, None)
    assert found.unseen.cards == (("b", 50),)
    assert found.unseen.reasons == (("the policy did not explore", 50),)
    assert found.unseen.forecast_gain == pytest.approx(0.1)
    assert any("nothing was explored" in sentence for sentence in found.sentences)
    assert any("100.0% of the requests" in sentence for sentence in found.sentences)


def test_without_judgements_nothing_is_claimed() -> None:
    logged, new, today = simulated(1, requests=50, judged=0.0)
    found = evaluate(logged, new, today, {})
    assert (found.verdict, found.sentences[0]) == ("unknown", "no answer of these requests was judged")


def test_few_judged_answers_are_no_proof() -> None:
    found = evaluate(*simulated(2, requests=200, judged=0.3), {})
    assert found.verdict == "unclear"
    assert "judged answers are of cards that NEW takes" in found.sentences[0]


def test_the_same_decisions_are_the_same() -> None:
    logged, _, today = simulated(3, requests=100)
    assert evaluate(logged, today, today, {}).verdict == "same"


def test_cards_that_are_judged_more_often_are_corrected_for_and_named() -> None:
    logged, new, today = simulated(4)
    rare = [
        Logged(
            one.action, one.choice, one.propensities, one.value if one.action == "b" or n % 4 == 0 else None, 0.001, 0.7
        )
        for n, one in enumerate(logged)
    ]
    found = evaluate(rare, new, today, {})
    assert found.gain is not None
    assert found.gain.low < 0.2 < found.gain.high
    assert any("judged more than twice as often" in sentence for sentence in found.sentences)


def used_up(found: PolicyValue) -> dict[str, int]:
    return dict(found.left_out)


def test_requests_while_exploration_was_used_up_are_left_out() -> None:
    logged, new, today = simulated(5, requests=300)
    closed = [Logged("a", "a", {"a": 1.0}, 1.0, 0.001, 0.7, explores=True, prevented="the share is used up")] * 40
    found = evaluate([*logged, *closed], [*new, *new[:40]], [*today, *today[:40]], {})
    assert used_up(found) == {"exploration was used up, or could not be counted": 40}
    assert (found.requests, found.supported) == (300, 300)


def test_what_was_drawn_and_could_not_be_paid_tells_nothing() -> None:
    lost = Logged("a", "a", {"a": 0.5, "b": 0.5}, 0.0, 0.001, 0.7, is_lost=True, explores=True)
    paid = Logged("a", "a", {"a": 0.5, "b": 0.5}, 1.0, 0.001, 0.7, explores=True)
    found = evaluate([paid] * 60 + [lost] * 60, [Target("a", 0.7, 0.001)] * 120, [Target("a", 0.7, 0.001)] * 120, {})
    assert found.new is not None
    assert found.new.quality.doubly_robust.value == pytest.approx(1.0)


def test_the_operators_judgement_counts_before_those_of_clients() -> None:
    given = [
        Feedback("r1", 0.0, 1.0),
        Feedback("r1", 1.0, 2.0, source="operator"),
        Feedback("r2", 1.0, 1.0),
        Feedback("r2", 0.0, 1.0, source="other"),
    ]
    assert values_of(given) == {"r1": 1.0, "r2": 0.5}
