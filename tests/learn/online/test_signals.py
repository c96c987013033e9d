"""Implicit signals, and how little they say."""

from __future__ import annotations

import msgspec
import pytest

from router.learn.online.outcomes import JudgedAnswer
from router.learn.online.signals import Signals, signal_in
from router.store.records.record import DecisionRecord, Record
from router.types import Outcome
from router.wire.reading.whole_answers import WholeAnswer

_NOW_S = 1_790_000_000.0


def _record(number: int, card: str = "a", text: str | None = None, **changes: object) -> Record:
    decision = msgspec.structs.replace(_DECISION, vector=(text or f"prompt {number}").encode())
    outcome = Outcome(status=200, total_ms=1_000.0, card=card, ttft_ms=100.0)
    record = Record(f"r{number}", _NOW_S + number, "chat", "auto", True, outcome, key="ann", decision=decision)
    return msgspec.structs.replace(record, **changes)


_DECISION = msgspec.convert(
    {
        **dict.fromkeys(("policy", "settings", "flags", "artifact", "catalogue", "unavailable", "day", "card"), ""),
        "fallbacks": (),
        "guard": "off",
        "quality": 0.5,
        "quality_std": 0.1,
        "cost_usd": None,
        "latency_ms": None,
        "vector": b"",
        "input_tokens": 1,
    },
    DecisionRecord,
)


def _left(number: int, card: str) -> Record:
    return _record(number, card, outcome=Outcome(status=499, total_ms=1_000.0, card=card, ttft_ms=100.0))


def test_a_finished_request_is_no_signal() -> None:
    assert Signals().read(_record(1)) == []


def test_a_stream_that_is_left_early_speaks_against_its_answer() -> None:
    [(record, judged)] = Signals().read(_left(1, "a"))
    assert (record.id, judged.value, judged.source, judged.kind) == ("r1", 0.0, "signal.left", "implicit")
    assert 0 <= judged.weight <= 0.1


def test_a_client_that_leaves_before_anything_came_says_nothing() -> None:
    waiting = Outcome(status=499, total_ms=9_000.0, card="a")
    assert Signals().read(_record(1, outcome=waiting)) == []


def test_the_same_prompt_again_within_a_minute_speaks_against_the_first_answer() -> None:
    signals = Signals()
    signals.read(_record(0, text="same"))
    [(record, judged)] = signals.read(_record(40, "b", text="same"))
    assert (record.id, judged.source) == ("r0", "signal.repeated")
    assert signals.read(_record(200, text="same")) == []


def test_the_same_prompt_before_its_answer_was_there_says_nothing() -> None:
    """Who asks several times at once has not read an answer yet."""
    slow = Outcome(status=200, total_ms=30_000.0, card="a", ttft_ms=100.0)
    signals = Signals()
    signals.read(_record(0, text="same", outcome=slow))
    assert signals.read(_record(5, text="same")) == []


def test_another_key_may_ask_the_same() -> None:
    signals = Signals()
    signals.read(_record(0, text="same"))
    assert signals.read(_record(1, text="same", key="bob")) == []


def _weight_after(signals: Signals, card: str, left_every: int, requests: int = 400) -> float:
    """The weight of the last signal of a card whose streams are left so often, beside another card."""
    last = JudgedAnswer(0.0, "", "implicit")
    for number in range(requests):
        other = _left(number, "other") if number % 20 == 0 else _record(number, "other")
        signals.read(other)
        mine = _left(10_000 + number, card) if number % left_every == 0 else _record(10_000 + number, card)
        for _, judged in signals.read(mine):
            last = judged
    return last.weight


def test_signals_that_are_as_usual_weigh_nearly_nothing_and_unusual_ones_a_tenth_at_most() -> None:
    assert _weight_after(Signals(), "usual", left_every=20) < 0.02
    assert 0.07 < _weight_after(Signals(), "bad", left_every=2) <= 0.1


def test_what_is_remembered_is_bounded() -> None:
    signals = Signals()
    for number in range(3_000):
        signals.read(_record(number))
    assert len(signals._last) == 1_000


_SCHEMA = {"type": "object", "required": ["city"]}


@pytest.mark.parametrize(
    ("answer", "schema", "signal"),
    [
        (WholeAnswer("I'm sorry, but I can’t assist with that.", "whole"), None, "refused"),
        (WholeAnswer("I cannot help with that request. Is there something else?", "whole"), None, "refused"),
        (WholeAnswer("", "refused"), None, "refused"),
        (
            WholeAnswer("I can't provide live data, but " + "the usual weather is mild and wet. " * 5, "whole"),
            None,
            None,
        ),
        (WholeAnswer("I can't help but admire the proof.", "whole"), None, None),
        (WholeAnswer("Paris", "whole"), None, None),
        (WholeAnswer("Paris", "whole"), _SCHEMA, "schema"),
        (WholeAnswer('{"town": "Paris"}', "whole"), _SCHEMA, "schema"),
        (WholeAnswer('{"city": "Paris"}', "whole"), _SCHEMA, None),
        (WholeAnswer('{"city": "Par', "cut"), _SCHEMA, None),
        (WholeAnswer("", "calls", has_calls=True), _SCHEMA, None),
        (WholeAnswer("I'm sorry, but I can't assist with that.", "whole"), _SCHEMA, "refused"),
    ],
)
def test_an_answer_shows_that_it_refuses_or_misses_the_schema_of_its_request(
    answer: WholeAnswer, schema: dict[str, object] | None, signal: str | None
) -> None:
    assert signal_in(answer, schema) == signal


def test_a_card_is_compared_with_others_on_requests_for_a_schema() -> None:
    signals = Signals()
    for number in range(300):
        # Card b has as many other requests, which ask for no schema.
        signals.read(_record(number, "a"))
        signals.read(_record(number + 1_000, "b"))
        signals.of_answer(_record(number, "a"), None, has_schema=True)
        if number % 10 == 0:
            judged = signals.of_answer(_record(number + 1_000, "b"), "schema", has_schema=True)
    assert judged is not None
    assert judged.share > 0.8
    usual = signals.of_answer(_record(1, "a"), "schema", has_schema=True)
    assert usual is not None
    assert usual.share == 0.0


def test_a_refusal_that_the_model_reports_counts_once() -> None:
    record = _record(1, outcome=Outcome(status=200, total_ms=1.0, card="a", refused=True))
    signals = Signals()
    assert len(signals.read(record)) == 1
    assert signals.of_answer(record, "refused", has_schema=False) is None
