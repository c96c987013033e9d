"""What keeps a plan from asking further members: the request's own fault, a cap of dollars, a price that is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pytest

from router.cards import Card, Catalog
from router.compose.gate import Asked
from router.compose.run import Brief, Forecasts, Ledger
from router.compose.run.kinds.asking import is_worth_asking
from router.compose.run.member import Members
from router.decide.plans.spec import BestOf, Caps, Cascade, Committee, FixedGate, Panel, PlanSpec
from router.dispatch import Call, Dispatcher
from router.types import ComposedPlan, Doubles
from tests.compose.run.servers import Script, card, planned

ASKS = FixedGate(0.99)
BODY = {"model": "auto", "messages": [{"role": "user", "content": "What is 6 times 7?"}]}
IN_TURN = [
    Cascade(id="p", description="x", members=("a", "b"), gate=ASKS),
    Committee(id="p", description="x", members=("a", "b"), gate=ASKS),
    BestOf(id="p", description="x", members=("a", "b")),
]
AT_FAULT = "400 We could not parse the JSON body of your request."
UNCLEAR = "400 Something about this is wrong."
T = TypeVar("T")


class Gains:
    """A gate that expects this gain of any further member."""

    def __init__(self, gain: float) -> None:
        self._gain = gain

    def rights(self, asked: Sequence[Asked], usual: float) -> Doubles:
        return np.full(len(asked), 0.5)

    def gains(self, asked: Sequence[Asked], priors: Sequence[float], usual: float) -> list[float]:
        return [self._gain]

    def of(self, members: Sequence[str]) -> Gains:
        return self


def with_members(
    cards: Sequence[Card],
    use: Callable[[Members], Awaitable[T]],
    *,
    caps: Caps = Caps(),  # noqa: B008 - frozen
    forecasts: Forecasts = Forecasts(),  # noqa: B008 - frozen
    gate: Gains = Gains(0.5),  # noqa: B008 - without state
    quality_per_usd: float = 0.0,
) -> T:
    """What `use` returns for the members of a cascade of these cards."""

    async def main() -> T:
        dispatcher, names = Dispatcher(), tuple(each.id for each in cards)
        spec = Cascade(id="p", description="x", members=names, caps=caps)
        plan = ComposedPlan("plan/p", "cascade", names[0], names, quality_per_usd=quality_per_usd)
        brief, call = Brief(spec, forecasts), Call("chat", BODY)
        try:
            members = Members(dispatcher, Catalog(cards), plan, call, brief, Ledger(), gate, lambda: None, None)
            return await use(members)
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("spec", IN_TURN, ids=lambda spec: spec.kind)
def test_a_request_that_is_at_fault_is_sent_to_one_member_only(script: Script, spec: PlanSpec, stream: bool) -> None:
    script.faults |= dict.fromkeys("abc", AT_FAULT)
    plan = ComposedPlan(spec.name, spec.kind, "a", ("a", "b"), fallbacks=("c",))
    with planned(script, spec, "a", "b", "c", plan=plan) as gateway:
        response = gateway.ask(stream=stream)
        assert response.status_code == 400
        assert "could not parse the JSON body" in response.json()["error"]["message"]
        assert script.models == ["a"]


@pytest.mark.parametrize("spec", IN_TURN, ids=lambda spec: spec.kind)
def test_a_request_that_may_be_at_fault_is_sent_to_two_members_only(script: Script, spec: PlanSpec) -> None:
    script.faults |= dict.fromkeys("abc", UNCLEAR)
    plan = ComposedPlan(spec.name, spec.kind, "a", ("a", "b"), fallbacks=("c",))
    with planned(script, spec, "a", "b", "c", plan=plan) as gateway:
        assert gateway.ask().status_code == 400
        assert script.models == ["a", "b"]


def test_a_request_at_fault_is_sent_to_no_writer_and_no_fallback(script: Script) -> None:
    script.faults |= dict.fromkeys("abwc", AT_FAULT)
    spec = Panel(id="p", description="x", members=("a", "b"), writer="w")
    plan = ComposedPlan(spec.name, "panel", "w", ("a", "b"), writer="w", fallbacks=("c",))
    with planned(script, spec, "a", "b", "w", "c", plan=plan) as gateway:
        assert gateway.ask().status_code == 400
        assert set(script.models) <= {"a", "b"}


def test_a_call_without_a_price_is_not_made_under_a_cap_of_dollars(script: Script) -> None:
    unpriced = Card(id="unpriced", provider="openai", model="m", base_url="https://models.example/v1")

    async def use(members: Members) -> Any:
        first = await members.draft("a", "draft")
        second = await members.draft("unpriced", "draft")
        return first, second, members.ledger.degraded, [call.card.id for call in members.ledger.calls]

    first, second, degraded, called = with_members([card("a", script), unpriced], use, caps=Caps(usd=100.0))
    assert first is not None
    assert (second, degraded, called) == (None, "usd", ["a"])


@pytest.mark.parametrize(
    ("unknown", "gain", "asks"),
    [
        pytest.param("c", 0.19, False, id="unknown-dear"),
        pytest.param("c", 0.21, True, id="unknown-worth-it"),
        pytest.param("a", 0.19, True, id="known-cheap"),
    ],
)
def test_an_unknown_price_is_taken_for_the_dearest_that_is_known(
    script: Script, unknown: str, gain: float, asks: bool
) -> None:
    costs = Forecasts(cost_usd={"a": 0.001, "b": 0.02})

    async def use(members: Members) -> bool:
        draft = await members.draft("a", "draft")
        assert draft is not None
        return is_worth_asking(members, "learned", [draft], (unknown,))

    cards = [card(name, script) for name in "abc"]
    # 10 points of quality for a cent.
    assert with_members(cards, use, forecasts=costs, gate=Gains(gain), quality_per_usd=10.0) is asks


class Ahead(Gains):
    """A gate that expects nothing of the next member, and much of the one after it."""

    def gains(self, asked: Sequence[Asked], priors: Sequence[float], usual: float) -> list[float]:
        return [0.0, self._gain][: len(priors)]


@pytest.mark.parametrize(("gain", "asks"), [(0.31, True), (0.29, False)])
def test_a_member_is_asked_for_the_sake_of_the_one_after_it_where_both_are_worth_their_price(
    script: Script, gain: float, asks: bool
) -> None:
    costs = Forecasts(cost_usd={"a": 0.001, "b": 0.01, "c": 0.02})

    async def use(members: Members) -> bool:
        draft = await members.draft("a", "draft")
        assert draft is not None
        return is_worth_asking(members, "learned", [draft], ("b", "c"))

    cards = [card(name, script) for name in "abc"]
    assert with_members(cards, use, forecasts=costs, gate=Ahead(gain), quality_per_usd=10.0) is asks
