from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from router.analysis.savings import Savings, savings
from router.dispatch.costs import cost_usd, price_of
from router.errors import CallerError, UnknownModelError
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.records.record import Record
from router.store.records.snapshots import CatalogSnapshot, Snapshots, catalogue_snapshot
from router.types import Outcome, Usage
from router.wire.chat.request import ChatRequest
from tests.store.records.examples import DAY_S, record, router

POEMS = [f"Write a poem about the {thing} in spring." for thing in ("moon", "river", "sea", "violin")]
SUMS = [f"What is {number} plus 25?" for number in (17, 170, 3, 999)]
USUAL = Usage(1000, 500)
REASONS = {"held": {"generalist": "no key is set"}}


class Traffic:
    """Records of requests that a router decided."""

    def __init__(self, own: Router) -> None:
        self.router = own
        self.kept: list[Record] = []
        self._snapshots = Snapshots(catalogue_snapshot(own.catalog, {}), lambda _: True)

    def ask(self, prompt: str, card: str, usage: Usage | None = USUAL, **fields: Any) -> Record:
        """`card` answered `prompt`, at its card's price."""
        body = {"messages": [{"role": "user", "content": prompt}], **fields.pop("body", {})}
        routed = self.router.route(ChatRequest.from_body(body))
        position = self.router.catalog.position(card)
        price = None if position is None else price_of(self.router.catalog[position])
        cost = cost_usd(price, usage) if price and usage else None
        outcome = fields.pop("outcome", Outcome(200, 1.0, card, usage=usage, cost_usd=cost))
        decision = fields.pop("decision", self._snapshots.recorded(routed))
        self.kept.append(record(outcome=outcome, decision=decision, **fields))
        return self.kept[-1]

    def savings(self, **options: Any) -> Savings:
        own = self.router
        return savings(
            self.kept, CatalogSnapshot(own.catalog, own.evidence), own.predictor, REASONS.__getitem__, **options
        )


@pytest.fixture
def traffic(predictor: Predictor) -> Traffic:
    return Traffic(router(predictor))


def mean_qualities(own: Router, prompts: list[str]) -> Mapping[str, float]:
    forecasts = [own.route(ChatRequest.from_prompt(prompt)).forecast.quality for prompt in prompts]
    return dict(zip(own.catalog.ids, np.mean(forecasts, axis=0).tolist(), strict=True))


def test_a_single_model_is_charged_its_own_price_for_the_tokens_that_were_counted(traffic: Traffic) -> None:
    for prompt in SUMS:
        traffic.ask(prompt, "calculator")
    found = traffic.savings(against="generalist")
    assert found.total is not None
    assert found.total.requests == 4
    assert found.total.routed.cost_usd == pytest.approx(4 * (1000 * 1 + 500 * 2) / 1e6)
    assert found.total.single.cost_usd == pytest.approx(4 * (1000 * 10 + 500 * 20) / 1e6)
    assert found.total.saved == pytest.approx(0.9)


def test_the_qualities_are_those_that_a_forecast_gives(traffic: Traffic) -> None:
    for prompt in SUMS:
        traffic.ask(prompt, "calculator")
    for prompt in POEMS:
        traffic.ask(prompt, "poet")
    found = traffic.savings(against="generalist")
    assert found.total is not None
    routed = (mean_qualities(traffic.router, SUMS)["calculator"] + mean_qualities(traffic.router, POEMS)["poet"]) / 2
    assert found.total.routed.quality == pytest.approx(routed)
    single = mean_qualities(traffic.router, SUMS + POEMS)["generalist"]
    assert found.total.single.quality == pytest.approx(single)


@pytest.mark.parametrize("prompts", [SUMS, POEMS, SUMS + POEMS])
def test_the_best_single_model_has_the_greatest_mean_forecast_over_the_recorded_prompts(
    traffic: Traffic, prompts: list[str]
) -> None:
    for prompt in prompts:
        traffic.ask(prompt, "calculator")
    found = traffic.savings()
    qualities = mean_qualities(traffic.router, prompts)
    assert found.best
    assert found.card == max(qualities, key=lambda card: qualities[card])


def test_the_best_model_for_no_more_money_costs_no_more(traffic: Traffic) -> None:
    for prompt in POEMS:
        traffic.ask(prompt, "calculator")
    found = traffic.savings()
    assert found.total is not None
    assert found.thrifty is not None
    card, side = found.thrifty
    assert (found.card, card) == ("poet", "calculator")
    assert side.cost_usd <= found.total.routed.cost_usd


def test_input_from_a_cache_has_its_own_price(predictor: Predictor) -> None:
    price = {"price": {"input": 10, "output": 20, "cached_input": 1}}
    traffic = Traffic(router(predictor, generalist=price))
    traffic.ask(SUMS[0], "calculator", Usage(1000, 0, cached_input_tokens=900))
    found = traffic.savings(against="generalist")
    assert found.total is not None
    assert found.total.single.cost_usd == pytest.approx((100 * 10 + 900 * 1) / 1e6)
    # The calculator states no price for it, so the full one counts.
    assert found.total.routed.cost_usd == pytest.approx(1000 * 1 / 1e6)


def test_groups_add_up_to_the_whole(traffic: Traffic) -> None:
    for number, prompt in enumerate(SUMS + POEMS):
        card = "calculator" if prompt in SUMS else "poet"
        traffic.ask(prompt, card, at=number * DAY_S / 2, key=f"k{number % 3}" if number % 2 else None)
    names = {
        "day": ("1970-01-01", "1970-01-02", "1970-01-03", "1970-01-04"),
        "card": ("calculator", "poet"),
        "policy": ("default",),
        "key": ("k0", "k1", "k2", "none"),
    }
    for by, expected in names.items():
        found = traffic.savings(by=by)
        assert found.total is not None
        assert tuple(line.group for line in found.groups) == expected
        assert sum(line.requests for line in found.groups) == found.total.requests == 8
        for side in ("routed", "single"):
            whole = getattr(found.total, side)
            parts = [(line.requests, getattr(line, side)) for line in found.groups]
            assert sum(part.cost_usd for _, part in parts) == pytest.approx(whole.cost_usd)
            assert sum(count * part.quality for count, part in parts) == pytest.approx(8 * whole.quality)


def without_price(traffic: Traffic) -> None:
    traffic.ask(SUMS[1], "poet")


def failed(traffic: Traffic) -> None:
    traffic.ask(SUMS[1], "poet", outcome=Outcome(502, 1.0, "poet", usage=Usage(1, 1), cost_usd=1.0))


def cut(traffic: Traffic) -> None:
    traffic.ask(SUMS[1], "poet", outcome=Outcome(200, 1.0, "poet", usage=Usage(1, 1), cost_usd=1.0, error="cut"))


def not_routed(traffic: Traffic) -> None:
    traffic.ask(SUMS[1], "poet", decision=None)


def uncounted(traffic: Traffic) -> None:
    traffic.ask(SUMS[1], "generalist", None)


def gone(traffic: Traffic) -> None:
    traffic.ask(SUMS[1], "gone", outcome=Outcome(200, 1.0, "gone", usage=Usage(1, 1), cost_usd=1.0))


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (without_price, "poet has no price"),
        (failed, "no complete answer"),
        (cut, "no complete answer"),
        (not_routed, "not routed: the client named the card"),
        (uncounted, "the upstream counted no tokens"),
        (gone, "gone is not in the catalogue any more"),
    ],
)
def test_what_cannot_be_compared_is_counted_with_its_reason(
    predictor: Predictor, ask: Callable[[Traffic], None], why: str
) -> None:
    traffic = Traffic(router(predictor, poet={"price": None}))
    traffic.ask(SUMS[0], "calculator")
    ask(traffic)
    found = traffic.savings()
    assert found.left_out == {why: 1}
    assert (found.requests, found.total and found.total.requests) == (2, 1)
    spent = sum(each.outcome.cost_usd or 0.0 for each in traffic.kept)
    assert found.spent_usd == pytest.approx(spent)


def test_cards_without_a_price_are_named_and_not_compared_with(predictor: Predictor) -> None:
    traffic = Traffic(router(predictor, poet={"price": None}))
    traffic.ask(POEMS[0], "calculator")
    found = traffic.savings()
    assert found.unpriced == ("poet",)
    assert found.card != "poet"
    with pytest.raises(CallerError, match="poet has no price"):
        traffic.savings(against="poet")


def test_a_model_that_could_not_be_called_at_most_requests_is_no_best_single_one(traffic: Traffic) -> None:
    found: dict[int, Savings] = {}
    for held in (0, 1, 2, 3):
        traffic.kept.clear()
        for number in range(4):
            routed = traffic.ask(SUMS[0] if number % 2 else POEMS[0], "calculator")
            assert routed.decision is not None
            if number < held:
                traffic.kept[-1] = held_back(routed)
        found[held] = traffic.savings()
    assert [found[held].uncallable for held in (0, 1, 2, 3)] == [0, 0, 0, 1]
    assert found[0].card == "generalist" != found[3].card


def held_back(one: Record) -> Record:
    from msgspec.structs import replace

    assert one.decision is not None
    return replace(one, decision=replace(one.decision, unavailable="held"))


def test_requests_that_the_single_model_could_not_have_served_are_counted(predictor: Predictor) -> None:
    own = router(predictor, generalist={"context": "600", "max_output": "100", "capabilities": ["logprobs"]})
    traffic = Traffic(own)
    tool = {"type": "function", "function": {"name": "clock"}}
    for body in ({}, {"max_tokens": 50}, {"max_tokens": 200}):
        traffic.ask(SUMS[0], "calculator", body=body)
    traffic.ask("word " * 900, "calculator")
    assert traffic.savings(against="generalist").unfit == 2
    with_tools = Traffic(router(predictor, generalist={"capabilities": ["logprobs"]}, poet={"capabilities": ["tools"]}))
    with_tools.ask(SUMS[0], "poet", body={"tools": [tool]})
    assert with_tools.savings(against="generalist").unfit == 1
    assert with_tools.savings(against="poet").unfit == 0


def test_many_records_are_compared_in_batches(traffic: Traffic) -> None:
    one = traffic.ask(SUMS[0], "calculator")
    few = traffic.savings()
    traffic.kept.extend([one] * 2500)
    many = traffic.savings()
    assert few.total is not None
    assert many.total is not None
    assert many.total.requests == 2501
    assert many.total.single.quality == pytest.approx(few.total.single.quality)


def test_without_records_there_is_nothing_to_compare(traffic: Traffic) -> None:
    found = traffic.savings()
    assert (found.requests, found.total, found.left_out) == (0, None, {})


def test_a_free_model_has_no_share_of_its_cost(predictor: Predictor) -> None:
    traffic = Traffic(router(predictor, poet={"price": {"input": 0, "output": 0}}))
    traffic.ask(POEMS[0], "calculator")
    found = traffic.savings(against="poet")
    assert found.total is not None
    assert found.total.saved is None


def test_a_model_on_this_machine_costs_nothing(predictor: Predictor) -> None:
    traffic = Traffic(router(predictor, poet={"price": None, "privacy": "local"}))
    traffic.ask(POEMS[0], "calculator")
    found = traffic.savings()
    assert found.unpriced == ()
    assert found.total is not None
    assert (found.card, found.total.single.cost_usd) == ("poet", 0.0)


def test_an_unknown_grouping_or_card_is_the_callers_fault(traffic: Traffic) -> None:
    traffic.ask(SUMS[0], "calculator")
    with pytest.raises(CallerError, match='--by takes day, card, policy, key; got "week"'):
        traffic.savings(by="week")
    with pytest.raises(UnknownModelError, match='did you mean "poet"'):
        traffic.savings(against="pot")
