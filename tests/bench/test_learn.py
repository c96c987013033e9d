"""Streams of judged requests."""

import numpy as np

from bench.learn.streams import HOSTILE, Outcomes, Scenario, stream_of


def _outcomes() -> Outcomes:
    rng = np.random.default_rng(0)
    forecasts = rng.random((50, 3))
    scores = (rng.random((50, 3)) < forecasts).astype(np.float64)
    cells, projected = np.zeros((50, 4), dtype=np.intp), np.zeros((50, 8))
    return Outcomes("set", ("a", "b", "c"), forecasts, forecasts, forecasts, scores, cells, projected, ("d",) * 50)


def test_false_votes_are_those_of_the_hostile_tenant_alone() -> None:
    for scenario in (Scenario("poisoned", poisoned_votes=20), Scenario("hostile", hostile=0.5)):
        stream = stream_of(_outcomes(), scenario, seed=0, requests=600)
        is_hostile = np.array(stream.tenants) == HOSTILE
        assert is_hostile.any()
        assert (is_hostile == np.isfinite(stream.false_values)).all()
