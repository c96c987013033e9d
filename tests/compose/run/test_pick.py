"""Plans that pick one of several answers: cascade, committee, samples, best_of."""

from __future__ import annotations

import pytest

from router.decide.plans.spec import BestOf, Cascade, Committee, FixedGate, Samples, Validators
from router.gateway.config.gateway_yaml import GatewayConfig
from tests.compose.run.servers import SHORT, Script, events_of, planned, text_of

ALWAYS_ASKS, NEVER_ASKS = FixedGate(0.99), FixedGate(0.01)
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def cascade(gate: FixedGate = ALWAYS_ASKS) -> Cascade:
    return Cascade(id="casc", description="x", members=("a", "b"), gate=gate)


@STREAM
def test_a_cascade_stops_at_an_accepted_answer(script: Script, stream: bool) -> None:
    with planned(script, cascade(NEVER_ASKS), "a", "b") as gateway:
        response = gateway.ask(stream=stream)
        assert text_of(response) == "answer of a"
        assert script.models == ["a"]
        assert response.headers["x-route-plan"] == "plan/casc"
        assert response.headers["x-route-calls"] == "1"
        assert response.headers["x-route-card"] == "a"


@STREAM
def test_a_cascade_shows_nothing_of_a_rejected_draft(script: Script, stream: bool) -> None:
    script.faults["a"] = "refusal"
    with planned(script, cascade(), "a", "b") as gateway:
        response = gateway.ask(stream=stream)
        assert text_of(response) == "answer of b"
        assert "sorry" not in response.text
        assert response.headers["x-route-card"] == "b"
        assert response.headers["x-route-calls"] == "2"


@STREAM
def test_the_usage_of_an_answer_is_what_all_calls_used(script: Script, stream: bool) -> None:
    script.faults["a"] = "refusal"
    options = {"include_usage": True} if stream else None
    with planned(script, cascade(), "a", "b") as gateway:
        response = gateway.ask(stream=stream, stream_options=options)
        usage = events_of(response)[-1]["usage"] if stream else response.json()["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (20, 8 + 3, 31)
        outcome = gateway.record.outcome
        assert outcome.usage is not None
        assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (20, 11)
        assert outcome.cost_usd == pytest.approx(31e-6)
        assert [(call.card, call.verdict) for call in outcome.calls] == [("a", "rejected"), ("b", "shown")]


def test_the_last_possible_step_of_a_cascade_is_relayed_live(script: Script) -> None:
    script.delays_s["b"] = 0.3
    script.faults["a"] = "refusal"
    with planned(script, cascade(), "a", "b") as gateway:
        arrived = []
        body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
            for piece in response.iter_raw():
                arrived.append((piece, script.open))
        assert arrived[0][1] == 1, "the first bytes come while the upstream still writes"


def test_a_live_step_that_fails_gives_way_to_the_draft(script: Script) -> None:
    script.faults["b"] = "500"
    with planned(script, cascade(), "a", "b") as gateway:
        response = gateway.ask(stream=True)
        assert text_of(response) == "answer of a"
        assert response.headers["x-route-degraded"] == "members"


@STREAM
def test_an_accepted_stream_has_one_id_one_role_and_one_end(script: Script, stream: bool) -> None:
    with planned(script, cascade(NEVER_ASKS), "a", "b") as gateway:
        response = gateway.ask(stream=True)
        events = events_of(response)
        assert {event["id"] for event in events} == {"id-a"}
        assert sum("role" in choice["delta"] for event in events for choice in event["choices"]) == 1
        assert response.text.endswith("data: [DONE]\n\n")


@STREAM
def test_a_committee_stops_where_two_agree(script: Script, stream: bool) -> None:
    script.answers |= {"a": "The answer is 42.", "b": "The answer is 42", "c": "The answer is 7"}
    spec = Committee(id="com", description="x", members=("a", "b", "c"), gate=ALWAYS_ASKS)
    with planned(script, spec, "a", "b", "c") as gateway:
        assert "42" in text_of(gateway.ask(stream=stream))
        assert script.models == ["a", "b"]


@STREAM
def test_a_committee_shows_what_the_majority_says(script: Script, stream: bool) -> None:
    script.answers |= {"a": "The answer is 7.", "b": "The answer is 42.", "c": "The answer is 42"}
    spec = Committee(id="com", description="x", members=("a", "b", "c"), gate=ALWAYS_ASKS)
    with planned(script, spec, "a", "b", "c") as gateway:
        response = gateway.ask(stream=stream)
        assert "42" in text_of(response)
        assert "7" not in text_of(response)
        assert script.models == ["a", "b", "c"]


@STREAM
@pytest.mark.parametrize("parallel", [False, True])
def test_best_of_shows_the_member_that_passes(script: Script, stream: bool, parallel: bool) -> None:
    script.answers |= {"a": "no JSON here", "b": '{"n": 42}', "c": "none either"}
    spec = BestOf(
        id="best",
        description="x",
        members=("a", "b", "c"),
        validators=Validators(json_schema={"type": "object", "required": ["n"]}),
        parallel=parallel,
    )
    with planned(script, spec, "a", "b", "c") as gateway:
        assert text_of(gateway.ask(stream=stream)) == '{"n": 42}'


def test_best_of_checks_the_schema_of_the_request(script: Script) -> None:
    script.answers |= {"a": '{"n": "42"}', "b": '{"n": 42}'}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    spec = BestOf(id="best", description="x", members=("a", "b"), validators=Validators(json_schema="request"))
    with planned(script, spec, "a", "b", facts={"capabilities": ("json_schema",)}) as gateway:
        wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        assert text_of(gateway.ask(response_format=wanted)) == '{"n": 42}'


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"response_format": {"type": "json_object"}}),
        ("/api/chat", {"format": "json", "stream": False}),
    ],
)
def test_best_of_checks_whether_an_answer_is_json_where_the_request_states_no_schema(
    script: Script, path: str, fields: dict[str, object]
) -> None:
    script.answers |= {"a": "Here you are: 42", "b": '{"n": 42}'}
    validators = Validators(json_schema="request", syntax="json")
    spec = BestOf(id="best", description="x", members=("a", "b"), validators=validators)
    with planned(script, spec, "a", "b") as gateway:
        response = gateway.ask(path, **fields)
        assert "degraded" not in str(response.headers)
        assert script.models == ["a", "b"]
        assert '{\\"n\\": 42}' in response.text


def test_best_of_keeps_the_calls_of_tools_as_they_are(script: Script) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    script.answers["a"] = ""
    script.messages["b"] = {"role": "assistant", "content": None, "tool_calls": [call]}
    spec = BestOf(id="best", description="x", members=("a", "b"))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with planned(script, spec, "a", "b", facts={"capabilities": ("tools",)}) as gateway:
        message = gateway.ask(tools=tools).json()["choices"][0]["message"]
        assert message["tool_calls"] == [call]


def test_a_request_with_tools_is_not_put_to_a_vote(script: Script) -> None:
    spec = Committee(id="com", description="x", members=("a", "b"), gate=ALWAYS_ASKS)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with planned(script, spec, "a", "b", facts={"capabilities": ("tools",)}) as gateway:
        response = gateway.ask(tools=tools)
        assert script.models == ["a"]
        assert response.headers["x-route-degraded"] == "unfit"


def test_each_sample_has_an_idempotency_key_of_its_own_and_the_same_one_when_the_request_is_repeated(
    script: Script,
) -> None:
    # A server that knows the key would answer every sample with the first one.
    body = {"model": "auto", "messages": [{"role": "user", "content": "What is 6 times 7?"}]}
    with planned(script, Samples(id="sam", description="x", member="a", n=3), "a") as gateway:
        for _ in range(2):
            gateway.client.post("/v1/chat/completions", json=body, headers={"idempotency-key": "k"})
    keys = [headers["idempotency-key"] for headers in script.headers]
    first, again = keys[: len(keys) // 2], keys[len(keys) // 2 :]
    assert len(set(first)) == len(first) > 1
    assert set(again) == set(first)


@STREAM
def test_samples_stop_where_the_leader_cannot_be_overtaken(script: Script, stream: bool) -> None:
    script.answers["a"] = ["The answer is 1", "The answer is 42", "The answer is 42", "The answer is 42", "x"]
    spec = Samples(id="sam", description="x", member="a", n=5)
    with planned(script, spec, "a") as gateway:
        assert "42" in text_of(gateway.ask(stream=stream))
        assert len(script.seen) == 4
        assert {body["temperature"] for body in script.seen} == {0.7}


def test_the_calls_of_a_plan_stay_within_the_cap_of_the_operator(script: Script) -> None:
    from router.decide.plans.spec import Caps

    script.faults |= {"a": "refusal", "b": "refusal"}
    config = GatewayConfig(timeouts=SHORT, plans=Caps(calls=1))
    with planned(script, cascade(), "a", "b", config=config) as gateway:
        response = gateway.ask()
        assert script.models == ["a"]
        assert response.headers["x-route-degraded"]
