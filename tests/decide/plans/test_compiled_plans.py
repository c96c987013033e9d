"""The compiled members and figures of plans are those of the Python and numpy code, to the bit."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.cards import Catalog
from router.decide.fields import DecisionInputs
from router.decide.flags import parse_flags
from router.decide.goals import parts_of
from router.decide.limits import LimitResult, evaluate
from router.decide.plans.catalog import SelectedPlans
from router.decide.plans.members import Chooser
from router.decide.plans.rows import PlanRows, Row, Weights
from router.decide.plans.spec import (
    Best,
    BestOf,
    Caps,
    Cascade,
    Committee,
    FixedGate,
    Member,
    Panel,
    PlanSpec,
    Reroute,
    Samples,
    Validators,
)
from router.perceive import kernel
from router.types import Doubles, Features, Forecast
from tests.decide.cards import card

pytestmark = pytest.mark.skipif(kernel.extension() is None, reason="the kernel is not built")

CATALOG = Catalog(
    card(f"m{number:02}", size=f"{1 + number % 7}B", efforts={"low": {}, "high": {}}) for number in range(15)
)
CARDS = len(CATALOG)
PLAIN = Features(np.zeros(4, dtype=np.float32), 100, frozenset({"text"}), frozenset())
NAMED = st.sampled_from(CATALOG.ids)
BEST = st.builds(
    Best,
    st.sampled_from((1, 1, 2, 3)),
    st.sampled_from(((), (), ("size<4B",), ("quality>0.9",), ("size<3B", "cost<1$"))),
)
GATES = st.one_of(st.sampled_from(("learned", "prior")), st.builds(FixedGate, st.floats(0.05, 0.95)))
CAPS = st.builds(Caps, parallel=st.sampled_from((1, 2, 4)), usd=st.sampled_from((None, 0.01)))


def _few(members: Sequence[Member]) -> bool:
    return 2 <= sum(member.best if isinstance(member, Best) else 1 for member in members) <= 5


MEMBERS = st.lists(st.one_of(NAMED, BEST), min_size=1, max_size=4).filter(_few).map(tuple)
_common: dict[str, Any] = {"id": st.just("p"), "description": st.just("x"), "caps": CAPS}
PLANS: st.SearchStrategy[PlanSpec] = st.one_of(
    st.builds(Cascade, members=MEMBERS, gate=GATES, **_common),
    st.builds(Committee, members=MEMBERS, gate=GATES, agree=st.just(2), **_common),
    st.builds(
        Samples,
        member=st.one_of(NAMED, st.just(Best())),
        n=st.integers(2, 5),
        confidence=st.sampled_from((0.6, 0.9, 0.95)),
        **_common,
    ),
    st.builds(Panel, members=MEMBERS, writer=st.one_of(NAMED, st.just(Best())), quorum=st.just(1), **_common),
    st.builds(
        BestOf,
        members=MEMBERS,
        parallel=st.booleans(),
        validators=st.builds(Validators, regex=st.sampled_from((None, "a"))),
        **_common,
    ),
    st.builds(
        Reroute, members=MEMBERS, margin=st.sampled_from((0.0, 0.02, 0.5)), handovers=st.sampled_from((1, 2)), **_common
    ),
)


def _forecast(seed: int, unknown: float, *, compares: bool) -> Forecast:
    rng = np.random.default_rng(seed)

    def column(scale: float = 1.0) -> Doubles:
        # Some equal values, and some that are not known.
        values = np.where(rng.random(CARDS) < 0.3, 0.5, rng.random(CARDS)) * scale
        values[rng.random(CARDS) < unknown] = np.nan
        return values

    rows: list[Any] = [column(), column(0.3), column(0.3), column()]
    amounts: list[Any] = [column(500), column(900), column(0.02), column(400), column(9_000)]
    return msgspec.structs.replace(Forecast(*rows, *amounts), compared=column() if compares else None)


def _rows(plans: SelectedPlans, forecast: Forecast, goals: dict[str, float], limits: str) -> tuple[Row, ...]:
    inputs = DecisionInputs(CATALOG, forecast, None, 100)
    parts = parts_of(inputs, goals, 0.8)
    results: list[LimitResult] = [
        evaluate(limit, inputs, unknown_passes=False) for limit in parse_flags(limits or "size>0B").limits
    ]
    chooser = Chooser(
        inputs,
        results,
        lambda: functools.reduce(np.add, parts.values()),
        lambda part: part.quality,
        unknown_passes=False,
    )
    return PlanRows(plans, PLAIN, inputs, Weights(goals, 0.8), chooser, first=None, unknown_passes=False).rows


@settings(max_examples=60, deadline=None)
@given(
    plans=st.lists(PLANS, min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
    unknown=st.sampled_from((0.0, 0.05, 0.3)),
    compares=st.booleans(),
    goals=st.sampled_from(({}, {"cheapest": 2.0}, {"best": 1.0, "cheapest": 0.1, "fastest": 1.0})),
    limits=st.sampled_from(("", "size>2B", "quality>0.4")),
)
def test_rows_are_the_same_to_the_bit(
    plans: list[PlanSpec], seed: int, unknown: float, compares: bool, goals: dict[str, float], limits: str
) -> None:
    selected, forecast = SelectedPlans(plans), _forecast(seed, unknown, compares=compares)
    compiled = _rows(selected, forecast, goals, limits)
    with kernel.without_extension():
        # NaN is no reason to differ.
        assert repr(compiled) == repr(_rows(selected, forecast, goals, limits))


def test_every_kind_that_is_compiled_is_forecast_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    members = (Best(2),)
    common: dict[str, Any] = {"id": "p", "description": "x"}
    plans: list[PlanSpec] = [
        Cascade(members=members, **common),
        Committee(members=members, **common),
        Samples(member=Best(), **common),
        Panel(members=members, writer=Best(), **common),
        BestOf(members=members, **common),
        Reroute(members=members, margin=0.9, **common),
    ]

    def of_python(*_: object) -> None:
        raise AssertionError("Python forecast a plan")

    monkeypatch.setattr("router.decide.plans.rows.figures_of", of_python)
    monkeypatch.setattr(Chooser, "members", of_python)
    rows = _rows(SelectedPlans(plans), _forecast(1, 0.0, compares=False), {}, "")
    assert [row.figures is not None for row in rows] == [True] * len(plans)


def test_members_beyond_the_first_cards_of_the_order_are_found() -> None:
    efforts: dict[str, Any] = {name: {} for name in ("none", "minimal", "low", "medium", "high", "xhigh", "max")}
    catalog = Catalog(card(f"m{number}", efforts=efforts) for number in range(6))
    score, column = np.arange(float(len(catalog))), np.linspace(0.2, 0.9, len(catalog))
    of_cards: list[Any] = [column] * 9
    inputs = DecisionInputs(catalog, Forecast(*of_cards), None, 100)
    plan = SelectedPlans([Cascade(id="p", description="x", members=(Best(5),))])

    def members() -> list[str]:
        chooser = Chooser(inputs, [], lambda: score, lambda part: part.quality, unknown_passes=False)
        weights = Weights({}, 0.8)
        rows = PlanRows(plan, PLAIN, inputs, weights, chooser, first=None, unknown_passes=False).rows
        return [catalog.ids[position] for position in rows[0].members.calls]

    assert len(catalog) == 48
    assert members() == ["m0", "m1", "m2", "m3", "m4"]
    with kernel.without_extension():
        assert members() == ["m0", "m1", "m2", "m3", "m4"]
