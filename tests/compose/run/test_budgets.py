"""The budget of a key under plans: what is reserved suffices, and what is settled is the exact sum of the calls."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from router.decide.plans.spec import Caps, Cascade, Chain, FixedGate, Panel, PlanSpec, Samples, Segments, Stage
from router.formats.quantities import Dollars
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.store.state.protocol import Claim, Reservation
from router.store.state.sqlite import SqliteState
from router.types import ComposedPlan
from tests.compose.run.servers import SHORT, Planned, Script, planned, text_of
from tests.compose.run.test_write import segmented

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
ASKS = FixedGate(0.99)
MAX_TOKENS = 60
TASKS = "Answer the questions below:\n1. What is the capital of France?\n2. What is 6 times 7?\n3. Who wrote Faust?"
STAGES = (Stage("text", "text", card="a", prompt="Plan."), Stage("text", "text"))
PLANS: Mapping[str, tuple[PlanSpec, ComposedPlan]] = {
    "cascade": (
        Cascade(id="p", description="x", members=("a", "b"), gate=ASKS),
        ComposedPlan("plan/p", "cascade", "a", ("a", "b"), fallbacks=("c",)),
    ),
    "chain": (
        Chain(id="p", description="x", stages=STAGES),
        ComposedPlan("plan/p", "chain", "b", ("a", "b"), fallbacks=("c",)),
    ),
    "panel": (
        Panel(id="p", description="x", members=("a", "b"), writer="c"),
        ComposedPlan("plan/p", "panel", "c", ("a", "b"), writer="c"),
    ),
    "samples": (
        Samples(id="p", description="x", member="a", n=4),
        ComposedPlan("plan/p", "samples", "a", ("a",), fallbacks=("b",)),
    ),
    "segments": (Segments(id="p", description="x"), ComposedPlan("plan/p", "segments", "a", ("a", "b", "c"))),
}


class Watched(SqliteState):
    """A store that keeps what was reserved and settled."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[Claim] = []
        self.settled_usd: list[float] = []

    async def reserve(self, claim: Claim, now_s: float) -> Reservation:
        self.claims.append(claim)
        return await super().reserve(claim, now_s)

    async def settle(self, reservation: Reservation, cost_usd: float) -> None:
        self.settled_usd.append(cost_usd)
        await super().settle(reservation, cost_usd)

    def spent(self) -> float:
        """What the key has spent today, in dollars."""
        return asyncio.run(self.spent_usd("team", time.time()))


@pytest.fixture
def state() -> Watched:
    return Watched()


@pytest.fixture(autouse=True)
def _scripted_choice(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    segmented(monkeypatch, script, choices={"France": "a", "times": "b", "Faust": "c"})


@contextlib.contextmanager
def budgeted(script: Script, kind: str, state: Watched, budget_usd: float = 1.0, **parts: Any) -> Iterator[Planned]:
    """A gateway whose only key has this budget, and which answers by the plan of this kind."""
    spec, plan = PLANS[kind]
    script.counts_prompts = True
    keys = Keys([Key(id="team", hash=hash_of("pv-team"), budget_usd_per_day=Dollars(budget_usd))])
    with planned(script, spec, "a", "b", "c", plan=plan, keys=keys, state=state, **parts) as gateway:
        gateway.client.headers["authorization"] = "Bearer pv-team"
        yield gateway


def words(count: int, name: str) -> str:
    """An answer of this many words, which differ between models."""
    return " ".join(f"{name}{number}" for number in range(count))


@STREAM
@pytest.mark.parametrize("kind", PLANS)
def test_a_key_is_charged_the_exact_sum_of_the_calls_and_never_more_than_was_reserved(
    script: Script, state: Watched, kind: str, stream: bool
) -> None:
    script.answers |= {name: words(MAX_TOKENS, name) for name in "abc"}
    fields = {"max_tokens": MAX_TOKENS, "stream": stream}
    with budgeted(script, kind, state) as gateway:
        response = gateway.ask(messages=[{"role": "user", "content": TASKS}], **fields)
        assert text_of(response)
        calls = gateway.record.outcome.calls
        begun = int(response.headers["x-route-calls"])
        # Parts after the first one begin when that has begun to write.
        assert (begun == 1 < len(calls)) if stream and kind == "segments" else (begun == len(calls) > 1)
        priced = [(call.cost_usd, call.usage) for call in calls]
        assert all(cost == pytest.approx(usage.total_tokens / 1e6) for cost, usage in priced if usage)  # type: ignore[misc]
        total = sum(cost for cost, _ in priced if cost is not None)
        assert state.spent() == pytest.approx(total)
    assert state.settled_usd == [pytest.approx(total)]
    assert total <= state.claims[0].reserved_usd <= state.claims[0].worst_usd


def test_a_stage_that_writes_more_than_the_client_allows_is_reserved_for(script: Script, state: Watched) -> None:
    script.answers |= {"a": words(170, "a"), "b": "yes"}
    with budgeted(script, "chain", state) as gateway:
        gateway.ask(max_tokens=2)
        first, last = gateway.record.outcome.calls
    assert (first.role, first.usage.output_tokens) == ("stage", 170)  # type: ignore[union-attr]
    # What the stage wrote is read once more.
    assert last.usage.input_tokens > 170  # type: ignore[union-attr]
    assert state.settled_usd[0] <= state.claims[0].reserved_usd


def test_a_fallback_after_all_members_is_reserved_for(script: Script, state: Watched) -> None:
    script.faults |= {"a": "refusal", "b": "500"}
    script.answers["c"] = words(MAX_TOKENS, "c")
    config = GatewayConfig(timeouts=SHORT, retries=0)
    with budgeted(script, "chain", state, config=config) as gateway:
        response = gateway.ask(max_tokens=MAX_TOKENS)
        assert response.headers["x-route-card"] == "c"
    assert 0 < state.settled_usd[0] <= state.claims[0].reserved_usd


@pytest.mark.parametrize("kind", PLANS)
def test_a_plan_whose_calls_exceed_the_budget_together_is_refused_before_any_call(
    script: Script, state: Watched, kind: str
) -> None:
    with budgeted(script, kind, state, budget_usd=5e-5) as gateway:
        said = [{"role": "user", "content": TASKS}]
        assert gateway.ask(messages=said, max_tokens=MAX_TOKENS).status_code == 429
        assert script.seen == []
        assert state.spent() == 0


def test_a_plan_of_one_call_reserves_for_one_call(script: Script, state: Watched) -> None:
    config = GatewayConfig(timeouts=SHORT, plans=Caps(calls=1))
    with budgeted(script, "cascade", state, config=config) as gateway:
        gateway.ask(max_tokens=MAX_TOKENS)
        assert [call.card for call in gateway.record.outcome.calls] == ["a"]
    assert state.settled_usd[0] <= state.claims[0].reserved_usd


def test_the_shown_answer_of_a_plan_is_read_on_to_its_usage_after_the_client_has_left(
    script: Script, state: Watched
) -> None:
    script.answers |= {"a": words(30, "a"), "b": words(50, "b")}
    script.delays_s["b"] = 0.3
    with budgeted(script, "cascade", state) as gateway:
        body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "How many?"}]}
        with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
            next(text for text in response.iter_text() if "b0" in text)
        deadline = time.monotonic() + 3.0
        while not gateway.records and time.monotonic() < deadline:
            time.sleep(0.02)
        outcome = gateway.record.outcome
        assert outcome.error == "client_left"
        last = outcome.calls[-1]
        assert last.usage is not None
        assert (last.usage.output_tokens, last.usage.estimated) == (50, False)


def test_drafts_end_at_once_where_the_client_leaves(script: Script, state: Watched) -> None:
    script.delays_s["a"] = 30
    with budgeted(script, "cascade", state) as gateway:
        body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "How many?"}]}
        with contextlib.suppress(httpx.TimeoutException):
            gateway.client.post("/v1/chat/completions", json=body, timeout=0.3)
        deadline = time.monotonic() + 1.0
        while script.open and time.monotonic() < deadline:
            time.sleep(0.02)
        assert script.open == 0
