"""Another weight of cost: what it changes in a policy."""

from __future__ import annotations

import pytest

from router.analysis.what_if import weighing_cost
from router.decide.policy import Policy


def test_money_twice_as_dear_halves_what_a_mistake_costs() -> None:
    policy = Policy(id="p", description="d", mistake_usd=1.0, goals={"cheapest": 0.5, "fastest": 0.25})
    changed = weighing_cost(policy, 2.0)
    assert (changed.mistake_usd, changed.goals) == (0.5, {"cheapest": 1.0, "fastest": 0.25})


def test_a_policy_that_weighs_no_money_stays_as_it_is() -> None:
    policy = Policy(id="p", description="d", goals={"best": 1.0})
    assert weighing_cost(policy, 4.0) == policy


@pytest.mark.parametrize("factor", [0.1, 100.0])
def test_the_changed_weights_are_valid_in_a_policy(factor: float) -> None:
    policy = Policy(id="p", description="d", goals={"cheapest": 1000.0})
    assert 0 < weighing_cost(policy, factor).goals["cheapest"] <= 1000.0
