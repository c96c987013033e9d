"""Plans of kind reroute: with the first answer beside the prompt, the request may be handed over to a better card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.compose.run import Brief, Forecasts
from router.compose.run.kinds.reroute import with_draft
from router.decide.plans.spec import Caps, Reroute
from router.gateway.endpoints import completion
from router.types import ComposedPlan
from tests.compose.run.servers import Script, events_of, planned, text_of

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
PROMPT = "What is 6 times 7?"
CODE = "That needs code: print(6 * 7)"

Qualities = Callable[[Mapping[str, Any]], Mapping[str, float]]


def reroute(*members: str, **facts: Any) -> Reroute:
    return Reroute(id="again", description="x", members=members or ("a", "b"), **facts)


@pytest.fixture
def forecast(monkeypatch: pytest.MonkeyPatch) -> Callable[[Qualities], list[str]]:
    """Forecasts by this function from now on; what it was asked about is in the returned list."""

    def use(qualities: Qualities, cost_usd: float = 0.001) -> list[str]:
        of_gateway, read = completion.brief_of, list[str]()

        def noted(body: Mapping[str, Any]) -> Mapping[str, float]:
            read.append(body["messages"][-1]["content"])
            return qualities(body)

        def brief_of(*arguments: Any) -> Brief | None:
            brief = of_gateway(*arguments)
            costs = Forecasts(cost_usd=dict.fromkeys("abc", cost_usd))
            return None if brief is None else msgspec.structs.replace(brief, qualities=noted, forecasts=costs)

        monkeypatch.setattr(completion, "brief_of", brief_of)
        return read

    return use


def better_for_code(body: Mapping[str, Any]) -> Mapping[str, float]:
    is_code = "print(" in body["messages"][-1]["content"]
    return {"a": 0.5, "b": 0.7 if is_code else 0.49, "c": 0.6 if is_code else 0.48}


@STREAM
def test_a_request_is_handed_over_to_the_card_that_is_better_for_the_draft(
    script: Script, forecast: Any, stream: bool
) -> None:
    script.answers["a"] = CODE
    read = forecast(better_for_code)
    with planned(script, reroute("a", "c", "b"), "a", "c", "b") as gateway:
        response = gateway.ask(stream=stream)
        assert text_of(response) == "answer of b"
        assert "code" not in response.text, "nothing of the draft"
        assert read == [f"{PROMPT}\n\n{CODE}"]
        assert [body["messages"][-1]["content"] for body in script.seen] == [PROMPT, PROMPT], "no card reads the draft"
        assert response.headers["x-route-card"] == "b"
        assert response.headers["x-route-calls"] == "2"
        calls = gateway.record.outcome.calls
        assert [(call.card, call.role, call.verdict, call.reason) for call in calls] == [
            ("a", "draft", "rejected", "reroute"),
            ("b", "handover", "shown", ""),
        ]
        assert calls[0].right == pytest.approx(0.5)


@STREAM
def test_a_draft_is_kept_where_no_card_is_better_by_more_than_the_margin(
    script: Script, forecast: Any, stream: bool
) -> None:
    script.answers["a"] = CODE
    forecast(better_for_code)
    with planned(script, reroute(margin=0.2), "a", "b") as gateway:
        response = gateway.ask(stream=stream)
        assert text_of(response) == CODE
        assert script.models == ["a"]
        assert "x-route-degraded" not in response.headers
        if stream:
            assert {event["id"] for event in events_of(response)} == {"id-a"}


@pytest.mark.parametrize(("quality_per_usd", "asked"), [(100.0, ["a", "b"]), (300.0, ["a"])])
def test_a_handover_must_be_worth_its_price(
    script: Script, forecast: Any, quality_per_usd: float, asked: list[str]
) -> None:
    script.answers["a"] = CODE
    forecast(better_for_code, cost_usd=0.001)
    plan = ComposedPlan("plan/again", "reroute", "a", ("a", "b"), quality_per_usd=quality_per_usd)
    with planned(script, reroute(), "a", "b", plan=plan) as gateway:
        gateway.ask()
        assert script.models == asked


@STREAM
def test_the_usage_of_a_handover_is_that_of_both_calls(script: Script, forecast: Any, stream: bool) -> None:
    script.answers["a"] = CODE
    forecast(better_for_code)
    options = {"include_usage": True} if stream else None
    with planned(script, reroute(), "a", "b") as gateway:
        response = gateway.ask(stream=stream, stream_options=options)
        usage = events_of(response)[-1]["usage"] if stream else response.json()["usage"]
        assert usage["prompt_tokens"] == 20
        assert gateway.record.outcome.usage is not None
        assert gateway.record.outcome.usage.input_tokens == 20


@STREAM
def test_a_second_handover_goes_to_a_card_that_was_not_asked(script: Script, forecast: Any, stream: bool) -> None:
    # After every answer, the card that wrote it is the worst and the first one the best.
    def worst_of_all(body: Mapping[str, Any]) -> Mapping[str, float]:
        text = body["messages"][-1]["content"]
        return {name: 0.1 if f"answer of {name}" in text else value for name, value in zip("abc", (0.9, 0.8, 0.7))}  # noqa: B905

    forecast(worst_of_all)
    with planned(script, reroute("a", "b", "c", handovers=2), "a", "b", "c") as gateway:
        assert text_of(gateway.ask(stream=stream)) == "answer of c"
        assert script.models == ["a", "b", "c"]
        script.reset()
        gateway.spec = reroute("a", "b", "c", handovers=1)
        assert text_of(gateway.ask(stream=stream)) == "answer of b"
        assert script.models == ["a", "b"]


values = st.fixed_dictionaries({name: st.floats(0, 1) for name in "abc"})


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forecasts=st.lists(values, min_size=2, max_size=2), handovers=st.integers(1, 2), stream=st.booleans())
def test_asking_ends_after_the_handovers_and_no_card_is_asked_twice(
    script: Script, forecast: Any, forecasts: list[dict[str, float]], handovers: int, stream: bool
) -> None:
    script.reset()
    following = iter(forecasts)
    forecast(lambda _: next(following))
    with planned(script, reroute("a", "b", "c", handovers=handovers), "a", "b", "c") as gateway:
        response = gateway.ask(stream=stream)
        assert len(script.models) == len(set(script.models)) <= 1 + handovers
        assert text_of(response) == f"answer of {script.models[-1]}"
        assert not any(f"answer of {name}" in response.text for name in script.models[:-1])


@STREAM
def test_the_first_draft_is_shown_where_the_handover_fails(script: Script, forecast: Any, stream: bool) -> None:
    script.answers["a"], script.faults["b"] = CODE, "500"
    forecast(better_for_code)
    with planned(script, reroute(), "a", "b") as gateway:
        response = gateway.ask(stream=stream)
        assert text_of(response) == CODE
        assert response.headers["x-route-degraded"] == "members"


@STREAM
def test_after_a_refusal_the_next_card_by_forecast_is_asked(script: Script, forecast: Any, stream: bool) -> None:
    script.faults["a"] = "refusal"
    read = forecast(better_for_code)
    with planned(script, reroute("a", "c", "b"), "a", "c", "b") as gateway:
        response = gateway.ask(stream=stream)
        assert text_of(response) == "answer of c"
        assert "sorry" not in response.text
        assert read == []


def test_a_call_of_a_tool_is_kept_as_it_is(script: Script, forecast: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": "print(1)"}'}}
    script.messages["a"] = {"role": "assistant", "content": None, "tool_calls": [call]}
    read = forecast(better_for_code)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with planned(script, reroute(), "a", "b", facts={"capabilities": ("tools",)}) as gateway:
        assert gateway.ask(tools=tools).json()["choices"][0]["message"]["tool_calls"] == [call]
        assert read == []


@pytest.mark.parametrize("spec", [reroute("a"), reroute(caps=Caps(calls=1))], ids=["one member", "one call"])
def test_a_card_after_which_no_other_may_be_asked_is_relayed_live(script: Script, forecast: Any, spec: Reroute) -> None:
    script.delays_s["a"] = 0.3
    read = forecast(better_for_code)
    with planned(script, spec, *spec.members) as gateway:  # type: ignore[arg-type]
        body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
        with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
            open_calls = [script.open for _ in response.iter_raw()]
        assert open_calls[0] == 1, "the first bytes come while the upstream still writes"
        assert read == []


def test_the_router_forecasts_with_the_draft_and_reads_no_flags_in_it(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    briefs, of_gateway = list[Brief](), completion.brief_of

    def brief_of(request: Any, selection: Any, request_id: str) -> Brief | None:
        reads_flags = msgspec.structs.replace(selection.policy, prompt_flags=True)
        brief = of_gateway(request, msgspec.structs.replace(selection, policy=reads_flags), request_id)
        assert brief is not None
        briefs.append(brief)
        return brief

    monkeypatch.setattr(completion, "brief_of", brief_of)
    with planned(script, reroute(), "a", "b") as gateway:
        assert gateway.ask().status_code == 200
        qualities = briefs[0].qualities
        assert qualities is not None
        body = {"messages": [{"role": "user", "content": PROMPT}]}
        found = qualities(with_draft(body, "One way is:\n[Flag: price<0.5$]"))
        assert set(found) == {"a", "b"}
        assert all(0.0 <= quality <= 1.0 for quality in found.values())
