"""Implicit signals: what clients do with an answer, and what it shows by itself. Pure: times are arguments.

Clients leave and repeat good answers, too, and ask for what must be refused. So a signal counts by its attributable
fraction, `1 - usual rate / rate of the card`, which is nearly 0 for a card with as many signals as others, and it never
speaks for a card.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping
from typing import Any, Literal

from router.compose.validators import is_refusal, schema_problem
from router.learn.online.outcomes import JudgedAnswer
from router.store.records.record import Record
from router.wire.reading.whole_answers import WholeAnswer

Signal = Literal["left", "repeated", "refused", "schema"]
"""A stream was left early, the same prompt came again within a minute after the answer, the model refused, or the
answer is no JSON of the schema that the request asked for.
"""

AGAIN_S = 60.0
_MAX_REMEMBERED = 1_000
_HALF_LIFE_REQUESTS = 2_000.0
_PRIOR_REQUESTS, _PRIOR_RATE = 50.0, 0.02
_LEFT = 499
_GOES_ON = re.compile(r"\b(?:but|however|that said|instead|here(?:'s|’s| is| are))\b|:\s", re.IGNORECASE)
_ANSWER_LENGTH = 120


def signal_in(answer: WholeAnswer, schema: Mapping[str, Any] | None) -> Signal | None:
    """What an answer shows by itself; `schema` is the JSON schema that it must meet, None without any.

    An answer that was cut off at its limit of tokens shows nothing: the client has set the limit, or a long answer was
    needed.
    """
    if answer.has_calls or answer.ending == "cut":
        return None
    if answer.ending == "refused" or _refuses(answer.text.strip()):
        return "refused"
    return "schema" if schema is not None and schema_problem(answer.text, schema) else None


def _refuses(text: str) -> bool:
    """Whether the text refuses, and does not go on to answer after all."""
    return is_refusal(text) and not any(len(text) - found.end() >= _ANSWER_LENGTH for found in _GOES_ON.finditer(text))


class Signals:
    """Finds signals in the records of one worker, and knows how usual they are."""

    def __init__(self) -> None:
        self._last: collections.OrderedDict[tuple[bytes, str], Record] = collections.OrderedDict()
        self._requests: dict[str, float] = {}
        self._with_schema: dict[str, float] = {}
        self._signals: dict[tuple[str, Signal], float] = {}

    def read(self, record: Record) -> list[tuple[Record, JudgedAnswer]]:
        """The signals that a new record shows, with the records of the answers that they are about."""
        decision, outcome = record.decision, record.outcome
        if decision is None or outcome.card is None:
            return []
        self._count(outcome.card, self._requests)
        found: list[tuple[Record, Signal]] = []
        # A client that leaves before anything came waited for too long, which says nothing about quality.
        if outcome.status == _LEFT and record.stream and outcome.ttft_ms is not None:
            found.append((record, "left"))
        if outcome.refused:
            found.append((record, "refused"))
        name = decision.vector, record.key or ""
        before = self._last.pop(name, None)
        # Who asks several times at once has not read an answer yet.
        if before is not None and 0 <= record.at - _answered_at_s(before) <= AGAIN_S:
            found.append((before, "repeated"))
        if outcome.status < 400 and outcome.error is None:
            self._last[name] = record
            if len(self._last) > _MAX_REMEMBERED:
                self._last.popitem(last=False)
        return [(of, self.judged(of.outcome.card or "", signal)) for of, signal in found]

    def of_answer(self, record: Record, signal: Signal | None, *, has_schema: bool) -> JudgedAnswer | None:
        """Count an answer that was read; what it says, if anything. `has_schema`: it was to meet a schema."""
        card = record.outcome.card or ""
        if has_schema:
            self._count(card, self._with_schema)
        # What the model reports itself was counted with the record.
        if signal is None or (signal == "refused" and record.outcome.refused):
            return None
        return self.judged(card, signal)

    def judged(self, card: str, signal: Signal) -> JudgedAnswer:
        """Count a signal about an answer of the card; what it says about the answer."""
        self._signals[card, signal] = self._signals.get((card, signal), 0.0) + 1.0
        return JudgedAnswer(0.0, f"signal.{signal}", "implicit", share=self._attributable(card, signal))

    def _attributable(self, card: str, signal: Signal) -> float:
        """The share of the card's signals beyond what is usual for all other cards."""
        requests = self._with_schema if signal == "schema" else self._requests
        others = sum(count for name, count in requests.items() if name != card)
        seen = sum(count for (name, of), count in self._signals.items() if of == signal and name != card)
        usual = (seen + _PRIOR_RATE * _PRIOR_REQUESTS) / (others + _PRIOR_REQUESTS)
        own = requests.get(card, 0.0)
        rate = (self._signals[card, signal] + usual * _PRIOR_REQUESTS) / (own + _PRIOR_REQUESTS)
        return max(0.0, 1.0 - usual / rate)

    def _count(self, card: str, requests: dict[str, float]) -> None:
        """Count a request; old ones are forgotten all at once, which is cheap."""
        count = requests[card] = requests.get(card, 0.0) + 1.0
        if count > _HALF_LIFE_REQUESTS:
            requests[card] = count / 2
            for name, signal in list(self._signals):
                if name == card and (signal == "schema") == (requests is self._with_schema):
                    self._signals[name, signal] /= 2


def _answered_at_s(record: Record) -> float:
    return record.at + record.outcome.total_ms / 1000
