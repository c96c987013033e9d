"""Which judgements teach, and which are refused."""

from __future__ import annotations

import msgspec
import pytest

from router.analysis.replay import features_of
from router.cards.catalog import Catalog
from router.decide.policy import Policies, Policy
from router.learn.online.outcomes import JudgedAnswer, Lesson, lesson_of
from router.loading import load_predictor
from router.pipeline import Router
from router.store.records.record import Record, Snapshot
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.types import Outcome
from router.wire.chat.request import ChatRequest
from tests.decide.cards import card

_NOW_S = 1_790_000_000.0
_CLIENT = JudgedAnswer(0.0, "client", "client")


@pytest.fixture(scope="module")
def router() -> Router:
    cards = [card("gpt-4o-mini"), card("claude-opus-4-5")]
    policies = [
        Policy(id="default", description="d"),
        Policy(id="silent", description="d", learning="off"),
    ]
    return Router(Catalog(cards), Policies(policies), load_predictor())


def _record(router: Router, policy: str = "default", **changes: object) -> Record:
    routed = router.route(ChatRequest.from_prompt("What is the capital of France?"), policy=policy)

    def kept(_: Snapshot) -> bool:
        return True

    decision = Snapshots(catalogue_snapshot(router.catalog, {}), kept).decision_record(routed)
    outcome = Outcome(200, 10.0, card=routed.decision.card)
    record = Record("r", _NOW_S, "chat", "auto", False, outcome, key="ann", decision=decision)
    return msgspec.structs.replace(record, **changes)


def _lesson(router: Router, record: Record, judged: JudgedAnswer = _CLIENT, now_s: float = _NOW_S) -> Lesson | str:
    assert record.decision is not None
    return lesson_of(judged, record, features_of(record.decision, router.predictor), router, now_s)


def test_a_judgement_is_compared_with_the_forecast_of_the_card_that_answered(router: Router) -> None:
    record = _record(router)
    lesson = _lesson(router, record)
    assert isinstance(lesson, Lesson)
    assert record.decision is not None
    assert (lesson.card, lesson.vote.tenant, lesson.vote.weight) == (record.outcome.card, "ann", 0.5)
    assert lesson.vote.residual == pytest.approx(-record.decision.quality)
    fallback = _record(router, outcome=Outcome(200, 10.0, card="gpt-4o-mini"))
    other = _lesson(router, fallback)
    assert isinstance(other, Lesson)
    assert other.card == "gpt-4o-mini"


def test_the_operator_is_trusted(router: Router) -> None:
    lesson = _lesson(router, _record(router), JudgedAnswer(1.0, "x", "operator"))
    assert isinstance(lesson, Lesson)
    assert (lesson.vote.tenant, lesson.vote.weight, lesson.is_limited) == (None, 1.0, False)


def test_a_graders_judgement_is_a_vote_of_the_key_that_asked(router: Router) -> None:
    """Who asks chooses the prompt and its JSON schema, and so can make any answer of a card fail."""
    lesson = _lesson(router, _record(router), JudgedAnswer(0.0, "grader.json_schema", "grader"))
    assert isinstance(lesson, Lesson)
    assert (lesson.vote.tenant, lesson.vote.weight, lesson.is_limited) == ("ann", 1.0, False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"outcome": Outcome(200, 10.0, card="claude-opus-4-5", plan="plan/two")}, "plan"),
        ({"outcome": Outcome(200, 10.0, card="deleted")}, "changed"),
        ({"outcome": Outcome(503, 10.0)}, "unrouted"),
        ({"at": _NOW_S - 31 * 86_400}, "late"),
    ],
)
def test_what_says_nothing_about_a_forecast_is_refused(router: Router, changes: dict[str, object], reason: str) -> None:
    assert _lesson(router, _record(router, **changes)) == reason


def test_another_predictor_and_a_policy_that_is_off_learn_nothing(router: Router) -> None:
    record = _record(router)
    assert record.decision is not None
    older = msgspec.structs.replace(record.decision, artifact="skills-older")
    assert _lesson(router, msgspec.structs.replace(record, decision=older)) == "changed"
    assert _lesson(router, _record(router, "silent")) == "off"
