from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from router.analysis.savings import Savings, savings
from router.dispatch.costs import cost_usd, price_of
from router.errors import CallerError, UnknownModelError
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.records.record import Record, ShadowRecord, Side
from router.store.records.snapshots import CatalogSnapshot, Snapshots, catalogue_snapshot
from router.types import CallOutcome, Outcome, Usage
from router.wire.chat.request import ChatRequest
from tests.store.records.examples import DAY_S, record, router

POEMS = [f"Write a poem about the {thing} in spring." for thing in ("moon", "river", "sea", "violin")]
SUMS = [f"What is {number} plus 25?" for number in (17, 170, 3, 999)]
TYPICAL_USAGE = Usage(1000, 500)
UNAVAILABLE = {"no generalist": {"generalist": "no key is set"}}


class Traffic:
    """The records of requests that a router decided."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.records: list[Record] = []
        self._snapshots = Snapshots(catalogue_snapshot(router.catalog, {}), lambda _: True)

    def answer(self, prompt: str, card: str, usage: Usage | None = TYPICAL_USAGE, **fields: Any) -> Record:
        """Record that `card` answered `prompt`, at its card's price."""
        body = {"messages": [{"role": "user", "content": prompt}], **fields.pop("body", {})}
        routed = self.router.route(ChatRequest.from_body(body))
        position = self.router.catalog.position(card)
        price = None if position is None else price_of(self.router.catalog[position])
        cost = cost_usd(price, usage) if price and usage else None
        outcome = fields.pop("outcome", Outcome(200, 1.0, card, usage=usage, cost_usd=cost))
        decision = fields.pop("decision", self._snapshots.decision_record(routed))
        self.records.append(record(outcome=outcome, decision=decision, **fields))
        return self.records[-1]

    def savings(self, **options: Any) -> Savings:
        cards = CatalogSnapshot(self.router.catalog, self.router.evidence)
        return savings(self.records, cards, self.router.predictor, UNAVAILABLE.__getitem__, **options)


@pytest.fixture
def traffic(predictor: Predictor) -> Traffic:
    return Traffic(router(predictor))


def mean_qualities(router: Router, prompts: list[str]) -> Mapping[str, float]:
    forecasts = [router.route(ChatRequest.from_prompt(prompt)).forecast.quality for prompt in prompts]
    return dict(zip(router.catalog.ids, np.mean(forecasts, axis=0).tolist(), strict=True))


def test_a_single_model_costs_its_price_times_the_recorded_tokens(traffic: Traffic) -> None:
    for prompt in SUMS:
        traffic.answer(prompt, "calculator")
    result = traffic.savings(against="generalist")
    assert result.total is not None
    assert result.total.requests == 4
    assert result.total.routed.cost_usd == pytest.approx(4 * (1000 * 1 + 500 * 2) / 1e6)
    assert result.total.single.cost_usd == pytest.approx(4 * (1000 * 10 + 500 * 20) / 1e6)
    assert result.total.saved == pytest.approx(0.9)


def test_a_plan_is_compared_with_one_card_that_reads_once_and_writes_what_was_shown(traffic: Traffic) -> None:
    calls = (
        CallOutcome("calculator", "draft", "rejected", Usage(1000, 300), 0.0016),
        CallOutcome("poet", "answer", "shown", Usage(1000, 500), 0.006),
    )
    outcome = Outcome(200, 1.0, "poet", usage=Usage(2000, 800), cost_usd=0.0076, plan="plan/cheap-first", calls=calls)
    traffic.answer(SUMS[0], "poet", outcome=outcome)
    total = traffic.savings(against="generalist").total
    assert total is not None
    assert total.routed.cost_usd == pytest.approx(0.0076)
    assert total.single.cost_usd == pytest.approx((1000 * 10 + 500 * 20) / 1e6)


def test_qualities_equal_the_routers_forecasts(traffic: Traffic) -> None:
    for prompt in SUMS:
        traffic.answer(prompt, "calculator")
    for prompt in POEMS:
        traffic.answer(prompt, "poet")
    result = traffic.savings(against="generalist")
    assert result.total is not None
    routed = (mean_qualities(traffic.router, SUMS)["calculator"] + mean_qualities(traffic.router, POEMS)["poet"]) / 2
    assert result.total.routed.quality == pytest.approx(routed)
    single = mean_qualities(traffic.router, SUMS + POEMS)["generalist"]
    assert result.total.single.quality == pytest.approx(single)


@pytest.mark.parametrize("prompts", [SUMS, POEMS, SUMS + POEMS])
def test_the_best_single_model_has_the_highest_mean_forecast_over_the_recorded_prompts(
    traffic: Traffic, prompts: list[str]
) -> None:
    for prompt in prompts:
        traffic.answer(prompt, "calculator")
    result = traffic.savings()
    qualities = mean_qualities(traffic.router, prompts)
    assert result.best
    assert result.card == max(qualities, key=lambda card: qualities[card])


def test_the_best_model_within_budget_costs_no_more_than_was_spent(traffic: Traffic) -> None:
    for prompt in POEMS:
        traffic.answer(prompt, "calculator")
    result = traffic.savings()
    assert result.total is not None
    assert result.best_within_budget is not None
    card, side = result.best_within_budget
    assert (result.card, card) == ("poet", "calculator")
    assert side.cost_usd <= result.total.routed.cost_usd


def test_each_request_is_compared_with_the_model_that_its_client_asked_for(traffic: Traffic) -> None:
    traffic.answer(SUMS[0], "calculator", asked="generalist")
    traffic.answer(POEMS[0], "poet", asked="poet", key="k")
    result = traffic.savings(against="client", by="key")
    assert (result.baseline, result.card) == ("the model that the client asked for", "")
    assert result.total is not None
    named = {
        name: cost_usd(price_of(traffic.router.catalog.named(name)), TYPICAL_USAGE) for name in ("generalist", "poet")
    }
    assert result.total.single.cost_usd == pytest.approx(named["generalist"] + named["poet"])
    asked = mean_qualities(traffic.router, SUMS[:1])["generalist"] + mean_qualities(traffic.router, POEMS[:1])["poet"]
    assert result.total.single.quality == pytest.approx(asked / 2)
    assert [(group.group, group.saved) for group in result.groups] == [("k", 0.0), ("none", pytest.approx(0.9))]


def test_requests_whose_client_asked_for_no_card_have_no_such_baseline(predictor: Predictor) -> None:
    traffic = Traffic(router(predictor, poet={"price": None}))
    for asked in ("auto", "auto/cheap[size<9B]", "", "gpt-5", "poet", "generalist"):
        traffic.answer(SUMS[0], "calculator", asked=asked)
    result = traffic.savings(against="client")
    assert result.left_out == {
        "the client asked for auto, so there is no model to compare with": 3,
        "the client asked for gpt-5, which is no card of the catalogue": 1,
        "poet has no price": 1,
    }
    assert result.total is not None
    assert result.total.requests == 1


def test_answers_of_shadows_are_no_requests(traffic: Traffic) -> None:
    traffic.answer(POEMS[0], "generalist")
    before = traffic.savings()
    pair = ShadowRecord("r", "default", Side("generalist", 5, 9.0))
    traffic.answer(POEMS[1], "generalist", decision=None, surface="shadow", shadow=pair)
    assert traffic.savings() == before


def test_the_baseline_is_named(traffic: Traffic) -> None:
    traffic.answer(POEMS[0], "calculator")
    assert traffic.savings().baseline == "always poet, the best single model"
    assert traffic.savings(against="generalist").baseline == "always generalist"


def test_cached_input_has_its_own_price(predictor: Predictor) -> None:
    price = {"price": {"input": 10, "output": 20, "cached_input": 1}}
    traffic = Traffic(router(predictor, generalist=price))
    traffic.answer(SUMS[0], "calculator", Usage(1000, 0, cached_input_tokens=900))
    result = traffic.savings(against="generalist")
    assert result.total is not None
    assert result.total.single.cost_usd == pytest.approx((100 * 10 + 900 * 1) / 1e6)
    # The calculator's card has no price for cached input, so the full price applies.
    assert result.total.routed.cost_usd == pytest.approx(1000 * 1 / 1e6)


def test_groups_add_up_to_the_total(traffic: Traffic) -> None:
    for number, prompt in enumerate(SUMS + POEMS):
        card = "calculator" if prompt in SUMS else "poet"
        traffic.answer(prompt, card, at=number * DAY_S / 2, key=f"k{number % 3}" if number % 2 else None)
    names = {
        "day": ("1970-01-01", "1970-01-02", "1970-01-03", "1970-01-04"),
        "card": ("calculator", "poet"),
        "policy": ("default",),
        "key": ("k0", "k1", "k2", "none"),
    }
    for by, expected in names.items():
        result = traffic.savings(by=by)
        assert result.total is not None
        assert tuple(line.group for line in result.groups) == expected
        assert sum(line.requests for line in result.groups) == result.total.requests == 8
        for side in ("routed", "single"):
            total = getattr(result.total, side)
            parts = [(line.requests, getattr(line, side)) for line in result.groups]
            assert sum(part.cost_usd for _, part in parts) == pytest.approx(total.cost_usd)
            assert sum(count * part.quality for count, part in parts) == pytest.approx(8 * total.quality)


def without_price(traffic: Traffic) -> None:
    traffic.answer(SUMS[1], "poet")


def failed(traffic: Traffic) -> None:
    traffic.answer(SUMS[1], "poet", outcome=Outcome(502, 1.0, "poet", usage=Usage(1, 1), cost_usd=1.0))


def cut_off(traffic: Traffic) -> None:
    traffic.answer(SUMS[1], "poet", outcome=Outcome(200, 1.0, "poet", usage=Usage(1, 1), cost_usd=1.0, error="cut"))


def not_routed(traffic: Traffic) -> None:
    traffic.answer(SUMS[1], "poet", decision=None)


def without_usage(traffic: Traffic) -> None:
    traffic.answer(SUMS[1], "generalist", None)


def deleted_card(traffic: Traffic) -> None:
    traffic.answer(SUMS[1], "gone", outcome=Outcome(200, 1.0, "gone", usage=Usage(1, 1), cost_usd=1.0))


def of_another_artifact(traffic: Traffic) -> None:
    traffic.answer(SUMS[1], "generalist")
    decision = traffic.records[-1].decision
    assert decision is not None
    other = replace(decision, artifact="older", vector=decision.vector[:-4])
    traffic.records[-1] = replace(traffic.records[-1], decision=other)


@pytest.mark.parametrize(
    ("add", "reason"),
    [
        (without_price, "poet has no price"),
        (failed, "no complete answer"),
        (cut_off, "no complete answer"),
        (not_routed, "not routed: the client named the card"),
        (without_usage, "the upstream reported no usage"),
        (deleted_card, "gone is no longer in the catalogue"),
    ],
)
def test_requests_that_cannot_be_compared_are_counted_by_reason(
    predictor: Predictor, add: Callable[[Traffic], None], reason: str
) -> None:
    traffic = Traffic(router(predictor, poet={"price": None}))
    traffic.answer(SUMS[0], "calculator")
    add(traffic)
    result = traffic.savings()
    assert result.left_out == {reason: 1}
    assert (result.requests, result.total and result.total.requests) == (2, 1)
    spent = sum(request.outcome.cost_usd or 0.0 for request in traffic.records)
    assert result.spent_usd == pytest.approx(spent)


def test_cards_without_a_price_are_named_and_not_compared(predictor: Predictor) -> None:
    traffic = Traffic(router(predictor, poet={"price": None}))
    traffic.answer(POEMS[0], "calculator")
    result = traffic.savings()
    assert result.unpriced == ("poet",)
    assert result.card != "poet"
    with pytest.raises(CallerError, match="poet has no price, so its cost is unknown; add `price` to its card"):
        traffic.savings(against="poet")


def test_a_model_that_could_not_be_called_at_most_requests_is_not_the_best_single_one(traffic: Traffic) -> None:
    results: dict[int, Savings] = {}
    for without_generalist in (0, 1, 2, 3):
        traffic.records.clear()
        for number in range(4):
            routed = traffic.answer(SUMS[0] if number % 2 else POEMS[0], "calculator")
            assert routed.decision is not None
            if number < without_generalist:
                traffic.records[-1] = with_generalist_unavailable(routed)
        results[without_generalist] = traffic.savings()
    assert [results[count].uncallable for count in (0, 1, 2, 3)] == [0, 0, 0, 1]
    assert results[0].card == "generalist" != results[3].card


def with_generalist_unavailable(routed: Record) -> Record:
    assert routed.decision is not None
    return replace(routed, decision=replace(routed.decision, unavailable="no generalist"))


def test_requests_that_the_single_model_could_not_have_served_are_counted(predictor: Predictor) -> None:
    facts = {"context": "600", "max_output": "100", "capabilities": ["logprobs"]}
    traffic = Traffic(router(predictor, generalist=facts))
    tool = {"type": "function", "function": {"name": "clock"}}
    for body in ({}, {"max_tokens": 50}, {"max_tokens": 200}):
        traffic.answer(SUMS[0], "calculator", body=body)
    traffic.answer("word " * 900, "calculator")
    assert traffic.savings(against="generalist").incapable == 2
    with_tools = Traffic(router(predictor, generalist={"capabilities": ["logprobs"]}, poet={"capabilities": ["tools"]}))
    with_tools.answer(SUMS[0], "poet", body={"tools": [tool]})
    assert with_tools.savings(against="generalist").incapable == 1
    assert with_tools.savings(against="poet").incapable == 0


def test_many_records_are_compared_in_batches(traffic: Traffic) -> None:
    one = traffic.answer(SUMS[0], "calculator")
    few = traffic.savings()
    traffic.records.extend([one] * 2500)
    many = traffic.savings()
    assert few.total is not None
    assert many.total is not None
    assert many.total.requests == 2501
    assert many.total.single.quality == pytest.approx(few.total.single.quality)


def test_without_records_there_is_nothing_to_compare(traffic: Traffic) -> None:
    result = traffic.savings()
    assert (result.requests, result.total, result.left_out) == (0, None, {})


def test_savings_against_a_free_model_have_no_share(predictor: Predictor) -> None:
    traffic = Traffic(router(predictor, poet={"price": {"input": 0, "output": 0}}))
    traffic.answer(POEMS[0], "calculator")
    result = traffic.savings(against="poet")
    assert result.total is not None
    assert result.total.saved is None


def test_the_baseline_pays_for_the_caches_at_its_own_rates(predictor: Predictor) -> None:
    prices = {"input": 3, "output": 15, "cached_input": 0.3, "cache_write": 3.75, "cache_write_1h": 6}
    traffic = Traffic(router(predictor, poet={"price": prices}))
    usage = Usage(4_000_000, 1_000_000, 1_000_000, 2_000_000, cache_write_1h_tokens=1_000_000)
    traffic.answer(SUMS[0], "calculator", outcome=Outcome(200, 1.0, "calculator", usage=usage, cost_usd=1.0))
    result = traffic.savings(against="poet")
    assert result.total is not None
    assert result.total.single.cost_usd == pytest.approx(3 + 0.3 + 3.75 + 6 + 15)


def test_a_local_model_costs_nothing(predictor: Predictor) -> None:
    traffic = Traffic(router(predictor, poet={"price": None, "privacy": "local"}))
    traffic.answer(POEMS[0], "calculator")
    result = traffic.savings()
    assert result.unpriced == ()
    assert result.total is not None
    assert (result.card, result.total.single.cost_usd) == ("poet", 0.0)


def test_an_unknown_grouping_or_card_is_a_caller_error(traffic: Traffic) -> None:
    traffic.answer(SUMS[0], "calculator")
    with pytest.raises(CallerError, match='--by takes day, card, policy, key; got "week"'):
        traffic.savings(by="week")
    with pytest.raises(UnknownModelError, match='did you mean "poet"'):
        traffic.savings(against="pot")


def test_requests_of_an_artifact_that_reads_other_features_are_left_out(predictor: Predictor) -> None:
    traffic = Traffic(router(predictor))
    traffic.answer(SUMS[0], "calculator")
    of_another_artifact(traffic)
    result = traffic.savings()
    assert result.left_out == {f"decided by artifact older, whose features {predictor.id} does not read": 1}
    assert result.total is not None
    assert result.total.requests == 1
