"""A picked answer on every surface, whole and streamed: the text, the end, and the usage of all calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.decide.plans.spec import Cascade, FixedGate
from router.formats.quantities import OptionalSeconds
from router.gateway.config.gateway_yaml import GatewayConfig
from tests.compose.run.servers import SHORT, Script, events_of, planned
from tests.compose.run.test_write import ask_by, read_by

PATHS = ("/v1/messages", "/v1/responses", "/api/chat")
ASKS = Cascade(id="casc", description="x", members=("a", "b", "c"), gate=FixedGate(0.99))
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def used(path: str, response: Any) -> tuple[int, int]:
    """The tokens that a client counts: of the input and of the output."""
    kind = response.headers["content-type"]
    if kind.startswith("application/x-ndjson"):
        last = json.loads(response.text.splitlines()[-1])
        return last["prompt_eval_count"], last["eval_count"]
    if path == "/api/chat":
        return response.json()["prompt_eval_count"], response.json()["eval_count"]
    if not kind.startswith("text/event-stream"):
        usage = response.json()["usage"]
        return usage["input_tokens"], usage["output_tokens"]
    events = events_of(response)
    if path == "/v1/responses":
        usage = events[-1]["response"]["usage"]
        return usage["input_tokens"], usage["output_tokens"]
    # As Anthropic's own clients do: the last count of each kind.
    total: dict[str, int] = {}
    for event in events:
        total |= event.get("usage") or event.get("message", {}).get("usage") or {}
    return total["input_tokens"], total["output_tokens"]


@STREAM
@pytest.mark.parametrize("path", PATHS)
def test_a_rejected_draft_is_charged_and_not_shown(script: Script, path: str, stream: bool) -> None:
    script.faults["a"] = "refusal"
    script.answers["b"] = ""
    with planned(script, ASKS, "a", "b", "c") as gateway:
        response = ask_by(gateway, path, "What is 6 times 7?", stream=stream)
        assert read_by(path, response) == "answer of c"
        assert "sorry" not in response.text
        assert used(path, response)[0] == 30
        assert used(path, response)[1] >= 8 + 3
        assert response.headers["x-route-calls"] == "3"


@STREAM
@pytest.mark.parametrize("path", PATHS)
def test_an_accepted_draft_is_an_answer_of_its_surface(script: Script, path: str, stream: bool) -> None:
    spec = Cascade(id="casc", description="x", members=("a", "b"), gate=FixedGate(0.01))
    with planned(script, spec, "a", "b") as gateway:
        response = ask_by(gateway, path, "What is 6 times 7?", stream=stream)
        assert read_by(path, response) == "answer of a"
        assert used(path, response) == (10, 3)


def test_the_client_gets_keep_alives_while_drafts_are_read(script: Script) -> None:
    script.delays_s["a"] = 0.2
    spec = Cascade(id="casc", description="x", members=("a", "b"), gate=FixedGate(0.01))
    config = GatewayConfig(timeouts=SHORT, keepalive_s=OptionalSeconds(0.05))
    with planned(script, spec, "a", "b", config=config) as gateway:
        response = gateway.ask(stream=True)
        assert response.text.startswith(": keep-alive\n\n")
        assert response.text.endswith("data: [DONE]\n\n")


def test_text_completions_are_answered_by_plans_too(script: Script) -> None:
    spec = Cascade(id="casc", description="x", members=("a", "b"), gate=FixedGate(0.01))
    with planned(script, spec, "a", "b", facts={"apis": ("chat",)}) as gateway:
        response = gateway.ask("/v1/completions", messages=None, prompt="What is 6 times 7?")
        assert response.json()["choices"][0]["text"] == "answer of a"
