"""Implicit signals, and how little they say."""

from __future__ import annotations

import msgspec

from router.learn.online.outcomes import JudgedAnswer
from router.learn.online.signals import Signals
from router.store.records.record import DecisionRecord, Record
from router.types import Outcome

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
