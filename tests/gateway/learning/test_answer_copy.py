"""Which answers are read at all."""

from __future__ import annotations

import json

import pytest

from router.gateway.learning.answer_copy import AnswerCopy
from router.perceive.predictor import Predictor
from router.pipeline import Routed
from router.types import Api
from router.wire.chat.request import ChatRequest
from tests.gateway.learning.conftest import active_with

_FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


@pytest.fixture(scope="module")
def routed(predictor: Predictor) -> Routed:
    return active_with(predictor, learning="observe").router.route(ChatRequest.from_prompt("Where is Paris?"))


def _event(text: str) -> bytes:
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


_WHOLE: list[tuple[Api, str]] = [
    ("chat", '{"choices": [{"message": {"role": "assistant", "content": "TEXT"}}]}'),
    ("messages", '{"type": "message", "content": [{"type": "text", "text": "TEXT"}]}'),
    ("responses", '{"output": [{"type": "message", "content": [{"type": "output_text", "text": "TEXT"}]}]}'),
    ("messages", 'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"TEXT"}}'),
    ("responses", 'data: {"type":"response.output_text.delta","delta":"TEXT"}'),
    ("ollama_generate", '{"model":"m","response":"TEXT"}'),
]


@pytest.mark.parametrize(("api", "body"), _WHOLE)
def test_an_answer_that_begins_as_a_refusal_is_read_in_every_protocol(routed: Routed, api: Api, body: str) -> None:
    long = "and whoever wants to know more of it finds that in every book about Europe."
    texts = (
        ("I\u2019m sorry, but I can't help.", True),
        (f"... Unfortunately, I cannot help with that, {long}", True),
        (f"Lo siento, {long}", True),
        ("Paris is in France.", False),
        (f"Paris is in France, {long} I'm sorry.", False),
        (f"{'-' * 30} I'm sorry, {long}", True),
    )
    for text, is_read in texts:
        copy = AnswerCopy(api, routed)
        copy.add(body.replace("TEXT", text).encode())
        assert copy.is_worth_reading is is_read


def test_a_refusal_in_pieces_is_read_and_a_long_answer_is_not_kept(routed: Routed) -> None:
    refusal, long = AnswerCopy("chat", routed), AnswerCopy("chat", routed)
    for piece in ("I", "'m", " sorry", ",", " I", " can't", " assist", "."):
        refusal.add(_event(piece))
    for _ in range(1_000):
        long.add(_event("I think. "))
    assert refusal.is_worth_reading
    assert (long.is_worth_reading, long.pieces) == (False, [])


def test_an_answer_to_a_schema_is_read_and_nothing_is_where_the_policy_does_not_learn(predictor: Predictor) -> None:
    body = {"messages": [{"role": "user", "content": "Where is Paris?"}], "response_format": _FORMAT}
    for learning, is_read in (("observe", True), ("off", False)):
        routed = active_with(predictor, learning=learning).router.route(ChatRequest.from_body(body))
        copy = AnswerCopy("chat", routed)
        copy.add(_event("Paris"))
        assert copy.is_worth_reading is is_read
