"""Factors of estimated latency, fitted to recorded times."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from router.analysis.latency_fit import SHRINK_REQUESTS, fit_latency, speeds_of
from router.cards import Card, Catalog
from router.cards.machine.columns import machines_of
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.store.records.record import Record
from router.types import Attempt, Outcome, Usage
from tests.decide.cards import card

BASE = card("base", size="8B", base_url="http://127.0.0.1:8000/v1")
ADAPTER = card("sql", kind="adapter", base="base")
CATALOG = Catalog([BASE, ADAPTER, card("elsewhere", size="8B")])


def stream(of: Card, first: float, further: float, prompt: int = 500, answer: int = 100, **facts: Any) -> Record:
    """A stream that took these multiples of the roofline's times, and 5 ms in the gateway."""
    machines = machines_of([CATALOG.named(of.id)])
    ttft_ms = 5.0 + first * float(time_to_first_token_ms(machines, prompt)[0])
    each_ms = further * float(time_per_token_ms(machines, prompt + answer / 2)[0])
    outcome = Outcome(
        200,
        ttft_ms + each_ms * (answer - 1),
        card=of.id,
        attempts=(Attempt(of.id, of.id, 200, 1.0),),
        usage=Usage(prompt, answer),
        ttft_ms=ttft_ms,
        overhead_ms=5.0,
    )
    return Record("r", 0.0, "chat", "auto", True, msgspec.structs.replace(outcome, **facts))


def test_the_factors_are_the_median_ratios_of_many_requests() -> None:
    (fit,) = fit_latency([stream(BASE, 3.0, 1.7)] * 2_000 + [stream(BASE, 90.0, 50.0)] * 100, CATALOG)
    assert fit.card == "base"
    assert fit.speed.requests == 2_100
    assert fit.speed.first == pytest.approx(3.0, rel=0.01)
    assert fit.speed.further == pytest.approx(1.7, rel=0.01)
    assert str(fit.speed) == "roofline x 1.7 per token, x 3 to the first, from 2,100 requests"


def test_few_requests_move_the_factors_little() -> None:
    (fit,) = fit_latency([stream(BASE, 4.0, 4.0)], CATALOG)
    own = 1 / (1 + SHRINK_REQUESTS)
    # Both the card's own median and that of its server are shrunk.
    assert fit.speed.further == pytest.approx(4 ** (own + (1 - own) * own), rel=1e-3)


def test_the_error_of_the_whole_time_falls_below_15_percent_on_times_that_scatter() -> None:
    generator = np.random.default_rng(0)
    records = [
        stream(BASE, float(first), float(further), prompt=int(prompt))
        for first, further, prompt in zip(
            3 * np.exp(0.15 * generator.standard_normal(200)),
            1.7 * np.exp(0.1 * generator.standard_normal(200)),
            generator.integers(20, 4_000, 200),
            strict=True,
        )
    ]
    (fit,) = fit_latency(records, CATALOG)
    assert fit.error_before > 0.35
    assert fit.error_after < 0.12


def test_an_adapter_without_requests_has_the_speed_of_its_server_and_no_other_card_has() -> None:
    fits = fit_latency([stream(BASE, 3.0, 1.7)] * 500, CATALOG)
    speeds = speeds_of(fits, CATALOG)
    assert set(speeds) == {"base", "sql"}
    assert speeds["sql"] == speeds["base"]


@pytest.mark.parametrize(
    "facts",
    [
        {"status": 500},
        {"error": "stream_interrupted"},
        {"plan": "plan/panel"},
        {"ttft_ms": None},
        {"usage": None},
        {"usage": Usage(500, 100, estimated=True)},
        {"usage": Usage(500, 3)},
        {"card": "unknown"},
        {"attempts": (Attempt("base", "base", 500, 1.0, "server"), Attempt("base", "base", 200, 1.0))},
    ],
)
def test_requests_whose_times_say_something_else_are_left_out(facts: dict[str, Any]) -> None:
    assert fit_latency([stream(BASE, 3.0, 1.7, **facts)], CATALOG) == []


def test_the_fit_does_not_depend_on_the_order_of_the_records() -> None:
    records = [stream(BASE, 1 + number / 10, 2.0) for number in range(20)]
    assert fit_latency(records, CATALOG) == fit_latency(records[::-1], CATALOG)
