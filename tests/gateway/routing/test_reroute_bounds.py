"""What the calls of a plan may cost together."""

from __future__ import annotations

import pytest

from router.decide.plans.spec import Caps, Reroute
from router.dispatch.costs import Bounds
from router.gateway.routing.composed import PlannedCall, bounds_of_plan, calls_of_plan
from router.types import ComposedPlan

PRICES = {"a": 0.01, "b": 0.02, "c": 0.3, "d": 0.04, "e": 0.5}


def bounds(handovers: int, caps: Caps = Caps(), fallbacks: tuple[str, ...] = ()) -> Bounds:  # noqa: B008 - frozen
    spec = Reroute(id="p", description="x", members=("a", "b", "c", "d"), handovers=handovers)
    plan = ComposedPlan(spec.name, spec.kind, "a", ("a", "b", "c", "d"), fallbacks=fallbacks)

    def of_call(call: PlannedCall) -> Bounds:
        return Bounds(PRICES[call.card], 2 * PRICES[call.card], 3 * PRICES[call.card])

    return bounds_of_plan(plan, spec, caps, calls_of_plan(plan, spec, {}), of_call)


@pytest.mark.parametrize(
    ("handovers", "fallbacks", "most"),
    [
        (1, (), 0.01 + 0.3 + 0.04),
        (2, (), 0.01 + 0.3 + 0.04 + 0.02),
        (2, ("e",), 0.01 + 0.3 + 0.04 + 0.5),
    ],
)
def test_a_reroute_reserves_its_first_call_the_dearest_handovers_and_a_fallback(
    handovers: int, fallbacks: tuple[str, ...], most: float
) -> None:
    found = bounds(handovers, fallbacks=fallbacks)
    assert found.likely_usd == pytest.approx(0.01), "only the first call is sure"
    assert found.reserved_usd == pytest.approx(2 * most)
    assert found.worst_usd == pytest.approx(3 * most)


def test_a_reroute_that_may_make_no_further_call_reserves_no_fallback() -> None:
    assert bounds(1, Caps(calls=2), ("e",)).reserved_usd == pytest.approx(2 * (0.01 + 0.3))
