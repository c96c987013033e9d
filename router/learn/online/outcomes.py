"""Outcomes: judgements of answers, where they come from, and how much they count. Pure: times are arguments.

A finished HTTP request is none: servers answer nonsense with status 200.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from router.decide.policy import Policy
from router.perceive.explanation import families_of
from router.perceive.memory.card import Vote
from router.perceive.memory.fast_head import projected
from router.perceive.memory.sketch import cells_of
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.records.record import DecisionRecord, Record
from router.types import Features

Kind = Literal["operator", "grader", "judge", "client", "implicit"]
"""Who judged: the operator, a grader that the operator configured, code or a card that judges, a client, or nobody: the
client's behaviour.
"""

WEIGHTS: dict[Kind, float] = {"operator": 1.0, "grader": 1.0, "judge": 0.5, "client": 0.5, "implicit": 0.1}
"""What a judgement of each kind weighs."""
MAX_AGE_S = 30 * 86_400.0
"""Judgements of older answers teach nothing: the model behind the name may be another one by now."""
VOTES_AN_HOUR = 240.0
"""How many judgements of clients count for one key in one hour."""


class JudgedAnswer(Struct, frozen=True):
    """A judgement of one answer: `value` in [0, 1], by `source`, a name, of `kind`.

    `share` of its weight counts: less than 1 for a signal that also appears without a fault of the model. `propensity`
    is the probability with which the answer was drawn to be judged.
    """

    value: float
    source: str
    kind: Kind
    share: float = 1.0
    propensity: float = 1.0

    @property
    def weight(self) -> float:
        """In [0, 1]."""
        return WEIGHTS[self.kind] * self.share


class Lesson(Struct, frozen=True):
    """A vote on the forecast of a card. `is_limited`: the key has `VOTES_AN_HOUR` of such votes.

    `expected` is the forecast, None for an implicit signal, and `kind` the family of tasks of the prompt, empty where
    the predictor reads none. `policy` and `features` are those of the request.
    """

    card: str
    vote: Vote
    is_limited: bool = True
    expected: float | None = None
    kind: str = ""
    policy: str = ""
    features: Features | None = None


def lesson_of(judged: JudgedAnswer, record: Record, features: Features, router: Router, now_s: float) -> Lesson | str:
    """What an outcome says about a forecast of `router`; where it says nothing, why, in one word.

    `features` are those of the record. The forecast is made again, without corrections: by the cards of today, and for
    the card that answered, which may be a fallback.
    """
    decision, card = record.decision, record.outcome.card
    policy = None if decision is None else router.policies.get(decision.policy)
    if decision is None or card is None:
        return "unrouted"
    if policy is None or policy.learning == "off":
        return "off"
    position = router.catalog.position(card)
    if position is None or decision.artifact != router.predictor.id:
        return "changed"
    if reason := _silent(record, card in router.believed(policy), now_s):
        return reason
    expected = float(router.forecast_of(features, policy).quality[position])
    # A client can ask so that any answer fails a grader, so a grader's judgement is a vote of the key that asked.
    tenant = None if judged.kind == "operator" else record.key or ""
    topic = router.predictor.topics(features.vector[None])[0]
    vote = Vote(tenant, judged.value - expected, judged.weight, cells_of(topic), projected(topic))
    families = families_of(router.predictor, features.vector[None])
    return Lesson(
        card,
        vote,
        is_limited=judged.kind in ("client", "implicit"),
        expected=None if judged.kind == "implicit" else expected,
        kind="" if families is None else families[0],
        policy=policy.id,
        features=features,
    )


def _silent(record: Record, is_believed: bool, now_s: float) -> str:
    """Why the answer says nothing about the forecast of a card that is known and was routed; empty where it does."""
    if record.outcome.plan is not None:
        # Several models made the answer.
        return "plan"
    if now_s - record.at > MAX_AGE_S:
        return "late"
    return "believed" if is_believed else ""


def may_teach(record: Record, policy: Policy | None) -> bool:
    """Whether judgements of the answer could teach anything, as far as a glance shows."""
    return policy is not None and policy.learning != "off" and record.decision is not None


def readable(recorded: DecisionRecord, predictor: Predictor) -> bool:
    """Whether the recorded features are those that `predictor` reads."""
    reader = "" if predictor.reader is None else predictor.reader.id
    return len(recorded.vector) == 4 * predictor.width and recorded.reader == reader
