"""The fault wall of plans: every kind, every member, every fault, whole and streamed.

A client gets a whole right answer or one clear error; every upstream call has ended, and what was delivered is charged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.decide.plans.spec import (
    BestOf,
    Caps,
    Cascade,
    Chain,
    Committee,
    FixedGate,
    Panel,
    PlanSpec,
    Reroute,
    Samples,
    Segments,
    Stage,
    Validators,
)
from router.dispatch import Cooldown, Timeouts
from router.dispatch.bounds.retry_budget import RetryLimits
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.endpoints import completion
from router.types import ComposedPlan
from tests.compose.run.servers import FAULTS, REFUSAL, Planned, Script, events_of, planned, script_server, text_of
from tests.gateway.servers import wait_for

ASKS = FixedGate(0.99)
PROMPT = "Answer the questions below:\n1. What is the capital of France?\n2. What is 6 times 7?"
_CONFIG = GatewayConfig(
    timeouts=Timeouts(connect_s=2, first_token_s=0.2, idle_s=0.2, total_s=6),  # type: ignore[arg-type]
    retries=0,
    cooldown=Cooldown(failures=1_000_000),
    retry_budget=RetryLimits(share=1.0, least=1_000_000),
)

PLANS: Mapping[str, tuple[PlanSpec, ComposedPlan]] = {
    "cascade": (
        Cascade(id="p", description="x", members=("a", "b"), gate=ASKS),
        ComposedPlan("plan/p", "cascade", "a", ("a", "b")),
    ),
    "committee": (
        Committee(id="p", description="x", members=("a", "b", "c"), gate=ASKS),
        ComposedPlan("plan/p", "committee", "a", ("a", "b", "c")),
    ),
    "samples": (
        Samples(id="p", description="x", member="a", n=3),
        ComposedPlan("plan/p", "samples", "a", ("a",), fallbacks=("b",)),
    ),
    "panel": (
        Panel(id="p", description="x", members=("a", "b"), writer="c"),
        ComposedPlan("plan/p", "panel", "c", ("a", "b"), writer="c"),
    ),
    "best_of": (
        BestOf(id="p", description="x", members=("a", "b", "c")),
        ComposedPlan("plan/p", "best_of", "a", ("a", "b", "c")),
    ),
    "best_of-parallel": (
        BestOf(id="p", description="x", members=("a", "b", "c"), parallel=True),
        ComposedPlan("plan/p", "best_of", "a", ("a", "b", "c")),
    ),
    "reroute": (
        Reroute(id="p", description="x", members=("a", "b", "c")),
        ComposedPlan("plan/p", "reroute", "a", ("a", "b", "c")),
    ),
    "segments": (
        Segments(id="p", description="x"),
        ComposedPlan("plan/p", "segments", "a", ("a", "b"), fallbacks=("c",)),
    ),
    "chain": (
        Chain(id="p", description="x", stages=(Stage("text", "text", card="a", prompt="Plan."), Stage("text", "text"))),
        ComposedPlan("plan/p", "chain", "b", ("a", "b"), fallbacks=("c",)),
    ),
}
CELLS = [
    pytest.param(kind, member, fault, stream, id=f"{kind}-{member}-{fault}-{'stream' if stream else 'whole'}")
    for kind, (_, plan) in PLANS.items()
    for member in dict.fromkeys([*plan.members, *((plan.writer,) if plan.writer else ())])
    for fault in FAULTS
    for stream in (False, True)
]


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Script, Planned]]:
    """One gateway for all cells, which never closes a card for its failures."""
    spec, plan = PLANS["cascade"]
    with pytest.MonkeyPatch.context() as patch, script_server() as script:
        patch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
        with planned(script, spec, "a", "b", "c", plan=plan, config=_CONFIG) as gateway:
            yield script, gateway


@pytest.fixture
def patient(script: Script) -> Iterator[Planned]:
    """A gateway that waits longer than a busy machine stands still; `wall` waits 0.2 s for a server that hangs."""
    config = msgspec.structs.replace(_CONFIG, timeouts=Timeouts(total_s=60))  # type: ignore[arg-type]
    with planned(script, PLANS["best_of"][0], "a", "b", "c", plan=PLANS["best_of"][1], config=config) as gateway:
        yield gateway


@pytest.fixture
def wall(shared: tuple[Script, Planned]) -> tuple[Script, Planned]:
    script, gateway = shared
    script.reset()
    gateway.records.clear()
    return script, gateway


@pytest.fixture(autouse=True)
def _scripted_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    of_gateway = completion.brief_of

    def brief_of(*arguments: Any) -> Any:
        brief = of_gateway(*arguments)

        def scores(body: Mapping[str, Any]) -> Mapping[str, float]:
            best = "a" if "France" in body["messages"][-1]["content"] else "b"
            return {card: float(card != best) for card in "ab"}

        def qualities(body: Mapping[str, Any]) -> Mapping[str, float]:
            # With the draft beside the prompt, b is better than a.
            return {"a": 0.5, "b": 0.9, "c": 0.6} if "answer of a" in body["messages"][-1]["content"] else {}

        return None if brief is None else msgspec.structs.replace(brief, scores=scores, qualities=qualities)

    monkeypatch.setattr(completion, "brief_of", brief_of)


def ask(gateway: Planned, *, stream: bool) -> httpx.Response:
    return gateway.ask(messages=[{"role": "user", "content": PROMPT}], stream=stream)


def problems(kind: str, member: str, fault: str, response: httpx.Response, stream: bool) -> Iterator[str]:
    """What is wrong with a response to a request of which one member has a fault."""
    if response.status_code != 200:
        if not response.json()["error"]["message"]:
            yield "an error without a message"
        # Others can answer, apart from the last stage of a chain.
        yield f"HTTP {response.status_code} although others could answer"
        return
    text = text_of(response)
    if stream and "error" in (events_of(response) or [{}])[-1]:
        if response.text.rstrip().endswith("[DONE]"):
            yield "a clean end after an error"
        if not (fault in ("cut", "hang") and is_live(kind, member)):
            yield f"an error in the stream: {response.text[-300:]}"
        return
    if stream and not response.text.endswith("data: [DONE]\n\n"):
        yield "no end"
    healthy = [f"answer of {name}" for name in "abc" if name != member]
    whole = {*healthy, *(f"1. {first}\n2. {second}" for first in healthy for second in healthy)}
    # The refusal of the only card that is asked is its answer.
    is_shown = is_live(kind, member) or kind == "samples"
    if text not in whole and not (fault == "refusal" and is_shown and REFUSAL in text):
        yield f"the text is {text!r}"


def is_live(kind: str, member: str) -> bool:
    """Whether a client sees the member's answer as it comes, before anything is known of it."""
    return (kind, member) in {
        ("cascade", "b"),
        ("panel", "c"),
        ("reroute", "b"),
        ("segments", "a"),
        ("chain", "b"),
    }


@pytest.mark.parametrize(("kind", "member", "fault", "stream"), CELLS)
def test_a_fault_of_one_member_leaves_a_whole_answer_or_one_error(
    wall: tuple[Script, Planned], kind: str, member: str, fault: str, stream: bool
) -> None:
    script, gateway = wall
    gateway.spec, gateway.plan = PLANS[kind]
    script.faults[member] = fault
    response = ask(gateway, stream=stream)
    assert list(problems(kind, member, fault, response, stream)) == []
    assert wait_for(lambda: script.open == 0, 1.5), "every call has ended"
    assert wait_for(lambda: bool(gateway.records))
    usage = gateway.record.outcome.usage
    assert usage is not None
    assert usage.output_tokens >= len(text_of(response).split()) - 2
    assert usage.input_tokens >= 10


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", PLANS)
def test_faults_of_all_members_are_one_clear_error(
    wall: tuple[Script, Planned], kind: str, fault: str, stream: bool
) -> None:
    script, gateway = wall
    gateway.spec, gateway.plan = PLANS[kind]
    script.faults |= dict.fromkeys("abc", fault)
    response = ask(gateway, stream=stream)
    if fault == "refusal":
        assert REFUSAL in text_of(response)
    elif response.status_code == 200:
        assert stream
        assert "error" in events_of(response)[-1]
        assert "[DONE]" not in response.text
    else:
        assert response.status_code in (500, 502, 503, 504)
        assert response.json()["error"]["message"]
    assert wait_for(lambda: script.open == 0, 1.5)


TEXTS = st.sampled_from(["PASS one", "PASS two", "fails", "", REFUSAL])


@pytest.mark.parametrize("parallel", [False, True])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answers=st.tuples(TEXTS, TEXTS, TEXTS),
    faults=st.tuples(*[st.sampled_from(["", "", "500", "cut"])] * 3),
    stream=st.booleans(),
)
def test_the_winner_of_best_of_passes_whenever_any_member_does(
    script: Script,
    patient: Planned,
    parallel: bool,
    answers: tuple[str, ...],
    faults: tuple[str, ...],
    stream: bool,
) -> None:
    script.reset()
    script.answers |= dict(zip("abc", answers, strict=True))
    script.faults |= {name: fault for name, fault in zip("abc", faults, strict=True) if fault}
    checks = Validators(regex="^PASS")
    patient.spec = BestOf(id="p", description="x", members=("a", "b", "c"), validators=checks, parallel=parallel)
    passes = [text for text, fault in zip(answers, faults, strict=True) if text.startswith("PASS") and not fault]
    response = ask(patient, stream=stream)
    if passes:
        assert text_of(response) in passes
        rejected = {text for text in answers if text and text not in passes}
        assert not any(text in response.text for text in rejected)


def test_the_end_of_its_time_gives_the_best_answer_so_far(script: Script) -> None:
    spec = msgspec.structs.replace(PLANS["cascade"][0], caps=Caps(seconds=0.5))
    script.delays_s["b"] = 5
    config = GatewayConfig(timeouts=Timeouts(total_s=6))  # type: ignore[arg-type]
    with planned(script, spec, "a", "b", config=config) as gateway:
        response = gateway.ask()
        assert text_of(response) == "answer of a"
        assert response.headers["x-route-degraded"] in ("deadline", "members")
        assert wait_for(lambda: script.open == 0, 1.0)


def test_without_any_answer_the_end_of_its_time_is_a_504(script: Script) -> None:
    spec = msgspec.structs.replace(PLANS["cascade"][0], caps=Caps(seconds=0.4))
    script.delays_s |= {"a": 5, "b": 5}
    with planned(script, spec, "a", "b", config=GatewayConfig()) as gateway:
        assert gateway.ask().status_code == 504


def test_members_that_are_given_up_are_charged(script: Script) -> None:
    script.answers["b"] = "a long answer of many words that are written slowly"
    script.delays_s["b"] = 0.3
    script.delays_s["a"] = 0.4
    spec = BestOf(id="p", description="x", members=("a", "b"), parallel=True)
    with planned(script, spec, "a", "b") as gateway:
        response = gateway.ask()
        assert text_of(response)
        calls = gateway.record.outcome.calls
        assert sorted(call.verdict for call in calls) == ["cancelled", "shown"]
        assert all(call.usage is not None and call.usage.input_tokens for call in calls)
