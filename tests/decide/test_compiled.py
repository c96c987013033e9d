"""The compiled choice, and the compiled forecast of cascades, give the bits of the numpy and Python code."""

from __future__ import annotations

import random

import numpy as np
import pytest

from router.cards import Card, Catalog
from router.decide.fields import DecisionInputs
from router.decide.goals import parts_of
from router.decide.guard import scores_of, totals_of
from router.decide.plans.forecast.expected import CONSTANTS, Constants, cascade
from router.decide.ranking import Order, best_of, first_of
from router.perceive import kernel
from router.types import Doubles, Forecast

pytestmark = pytest.mark.skipif(kernel.extension() is None, reason="the kernel is not built")


def _forecast(rng: np.random.Generator, cards: int, unknown: float) -> Forecast:
    def column(scale: float = 1.0) -> Doubles:
        values = rng.random(cards) * scale
        values[rng.random(cards) < unknown] = np.nan
        return values

    rows = [column() for _ in range(4)]
    return Forecast(*rows, column(500), column(900), column(0.02), column(400), column(9_000))


@pytest.mark.parametrize("unknown", [0.0, 0.1])
@pytest.mark.parametrize("goals", [{}, {"best": 0.7, "cheapest": 2.0}, {"fastest": 1.0, "concise": 0.25}])
@pytest.mark.parametrize("cards", [1, 7, 300])
def test_parts_and_totals_are_the_same_to_the_bit(cards: int, goals: dict[str, float], unknown: float) -> None:
    catalog = Catalog(Card(id=f"{number:04}", provider="openai", model=f"m{number}") for number in range(cards))
    inputs = DecisionInputs(catalog, _forecast(np.random.default_rng(cards), cards, unknown), None, 100)

    def found() -> list[str | bytes]:
        parts = parts_of(inputs, goals, 0.8)
        totals = totals_of(parts, inputs.forecast, 1.0 + goals.get("best", 0.0))
        return [*parts.keys(), *(array.tobytes() for array in (*parts.values(), *totals))]

    compiled = found()
    with kernel.without_extension():
        assert compiled == found()


@pytest.mark.parametrize("unknown", [0.0, 0.1])
@pytest.mark.parametrize("goals", [{}, {"best": 0.7, "cheapest": 2.0}, {"fastest": 1.0, "private": 0.25}])
@pytest.mark.parametrize(("cards", "rejected"), [(1, 0.0), (7, 0.5), (300, 0.0), (300, 0.5), (300, 0.98)])
def test_scores_in_one_call_are_the_same_to_the_bit(
    cards: int, rejected: float, goals: dict[str, float], unknown: float
) -> None:
    rng = np.random.default_rng(cards)
    catalog = Catalog(Card(id=f"{number:04}", provider="openai", model=f"m{number}") for number in range(cards))
    forecast = _forecast(rng, cards, 0.0)
    # A cost that is unknown is assumed, which the kernel leaves to numpy.
    forecast.cost_usd[rng.random(cards) < unknown] = np.nan
    inputs = DecisionInputs(catalog, forecast, None, 100)
    mask = rng.random(cards) < rejected
    mask[cards // 2] = False
    compiled = scores_of(inputs, goals, 0.8, mask)
    with kernel.without_extension():
        specified = scores_of(inputs, goals, 0.8, mask)
        best, safest = Order(specified.totals.score, mask).ahead, best_of(specified.totals.safe_score, mask)
    assert specified.best is None
    for one, other in ((compiled.parts, specified.parts), (compiled.totals._asdict(), specified.totals._asdict())):
        assert {name: array.tobytes() for name, array in one.items()} == {
            name: array.tobytes() for name, array in other.items()
        }
    assert list(compiled.parts) == list(specified.parts)
    assert (compiled.best is None) == bool(np.isnan(forecast.cost_usd).any())
    if compiled.best is not None:
        assert (compiled.best, compiled.safest) == (best, safest)


@pytest.mark.parametrize("seed", range(20))
def test_the_first_of_an_order_are_those_of_a_stable_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few different values, so that there are many equal ones.
    values = rng.integers(0, 12, 200) / 7
    values[rng.random(200) < 0.1] = np.nan
    rejected = rng.random(200) < rng.choice([0.0, 0.5, 0.97])
    candidates = np.flatnonzero(~rejected)
    ranked = candidates[np.argsort(values[candidates], kind="stable")].tolist()
    assert first_of(values, rejected, 40) == ranked[:40]
    first = ranked[-1]
    order = Order(values, rejected, first)
    assert order.whole.tolist() == [first, *ranked[:-1]]
    assert order.ahead == order.whole.tolist()[: len(order.ahead)]


def test_cascades_are_the_same_to_the_bit() -> None:
    chance = random.Random(3)
    for _ in range(500):
        members = chance.randrange(1, 6)
        columns = [tuple(chance.choice((chance.random(), 0.0, 1.0)) for _ in range(members)) for _ in range(3)]
        prices = [chance.choice((0.0, chance.random() * 0.1)) for _ in range(members)]
        separation, threshold = chance.choice((0.0, 0.47)), chance.choice((None, chance.random()))
        compiled = cascade(columns, prices, CONSTANTS, separation=separation, threshold=threshold)
        with kernel.without_extension():
            assert compiled == cascade(columns, prices, CONSTANTS, separation=separation, threshold=threshold)


def test_a_cascade_of_impossible_constants_is_an_error_with_and_without_the_kernel() -> None:
    def found() -> None:
        cascade([[0.1, 0.1]], [0.0, 0.01], Constants(correlation=-0.9), separation=0.47, threshold=0.5)

    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        found()
    with kernel.without_extension(), pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        found()
