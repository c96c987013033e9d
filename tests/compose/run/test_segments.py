"""Segments where a part fails: its answer comes from another card, or the stream ends with an error; never a gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from router.decide.plans.spec import Caps, Segments
from router.types import ComposedPlan
from tests.compose.run.servers import Script, events_of, planned, text_of
from tests.compose.run.test_write import NUMBERED, ask_by, read_by, segmented
from tests.gateway.servers import wait_for

CHOICES: Mapping[str, str] = {"France": "a", "times": "b", "Faust": "c"}
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat")
FAULTS = ("500", "empty", "garbage", "cut", "refusal")


@pytest.fixture
def seg(monkeypatch: pytest.MonkeyPatch, script: Script) -> tuple[Segments, ComposedPlan]:
    script.answers |= {"a": "Paris", "b": "42", "c": "Goethe"}
    return segmented(monkeypatch, script, choices=CHOICES)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", PATHS)
def test_a_part_that_no_card_answers_ends_the_stream_with_an_error(
    script: Script, seg: tuple[Segments, ComposedPlan], path: str, fault: str
) -> None:
    spec, plan = seg
    # Where the card of the part fails, the plan's own is asked, which is the same.
    plan = msgspec.structs.replace(plan, card="b")
    script.faults["b"] = fault
    with planned(script, spec, "a", "b", "c", plan=plan) as gateway:
        response = ask_by(gateway, path, NUMBERED, stream=True)
        # The halves of "Paris" come in two chunks.
        assert "ris" in response.text
        assert "no model answered part 2 of the request" in response.text
        assert "Goethe" not in response.text
        assert not any(end in response.text for end in ("[DONE]", "message_stop", "response.completed", '"done":true'))
        assert wait_for(lambda: script.open == 0)
        assert wait_for(lambda: bool(gateway.records))
        assert gateway.record.outcome.error


@pytest.mark.parametrize("fault", FAULTS)
def test_a_part_that_fails_while_the_first_one_is_written_is_answered_by_another_card(
    script: Script, seg: tuple[Segments, ComposedPlan], fault: str
) -> None:
    spec, plan = seg
    script.faults["b"] = fault
    script.delays_s["a"] = 0.2
    with planned(script, spec, "a", "b", "c", plan=plan) as gateway:
        response = ask_by(gateway, PATHS[0], NUMBERED, stream=True)
        assert text_of(response) == "1. Paris\n2. Paris\n3. Goethe"
        assert response.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_first_part_without_a_text_is_answered_by_another_card(
    script: Script, seg: tuple[Segments, ComposedPlan], stream: bool, path: str
) -> None:
    spec, plan = seg
    script.answers["a"] = ""
    plan = msgspec.structs.replace(plan, card="c")
    with planned(script, spec, "a", "b", "c", plan=plan) as gateway:
        response = ask_by(gateway, path, NUMBERED, stream=stream)
        assert read_by(path, response) == "1. Goethe\n2. 42\n3. Goethe"
        verdicts = {(call.card, call.verdict) for call in gateway.record.outcome.calls}
        assert verdicts == {("a", "rejected"), ("b", "shown"), ("c", "shown")}


def test_a_first_part_without_a_text_from_any_card_is_an_error(
    script: Script, seg: tuple[Segments, ComposedPlan]
) -> None:
    spec, plan = seg
    script.answers["a"] = ""
    with planned(script, spec, "a", "b", "c", plan=plan) as gateway:
        response = ask_by(gateway, PATHS[0], NUMBERED, stream=True)
        last: Any = events_of(response)[-1]
        assert "no model answered part 1" in last["error"]["message"]
        assert "[DONE]" not in response.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_more_parts_than_the_plan_may_make_calls_are_neither_scored_nor_split(
    monkeypatch: pytest.MonkeyPatch, script: Script, stream: bool
) -> None:
    scored: list[str] = []

    class Choices(dict[str, str]):
        def items(self) -> Any:
            scored.append("part")
            return super().items()

    spec, plan = segmented(monkeypatch, script, choices=Choices(CHOICES))
    spec = msgspec.structs.replace(spec, caps=Caps(calls=2))
    with planned(script, spec, "a", "b", "c", plan=plan) as gateway:
        assert text_of(ask_by(gateway, PATHS[0], NUMBERED, stream=stream)) == "answer of a"
        assert (script.models, scored) == (["a"], [])


def test_a_prompt_that_stays_whole_is_answered_by_the_card_of_the_decision(
    monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    # All parts want b, which the decision has not chosen for the whole prompt.
    spec, plan = segmented(monkeypatch, script, choices={"?": "b"})
    plan = msgspec.structs.replace(plan, card="c")
    with planned(script, spec, "a", "b", "c", plan=plan) as gateway:
        response = ask_by(gateway, PATHS[0], NUMBERED, stream=False)
        assert (response.headers["x-route-card"], script.models) == ("c", ["c"])
        assert script.seen[0]["messages"][-1]["content"] == NUMBERED


def test_parts_at_the_server_that_writes_the_first_answer_begin_after_its_first_token(
    script: Script, seg: tuple[Segments, ComposedPlan]
) -> None:
    script.delays_s["a"] = 0.3
    spec, plan = seg
    with planned(script, spec, "a", "b", "c", plan=plan) as gateway:
        response = ask_by(gateway, "/v1/chat/completions", NUMBERED, stream=True)
    assert response.status_code == 200
    assert script.models[0] == "a"
    assert sorted(script.models) == ["a", "b", "c"]
