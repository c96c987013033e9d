"""Follow-ups stay on a specialist's card, switches and short asks leave it: with prompts made for these tests."""

from __future__ import annotations

import numpy as np
import pytest

from bench.conversations import (
    GUARDED,
    LENGTHS,
    Conversation,
    Results,
    Share,
    chosen_cards,
    conversations,
    read_phrases,
    results,
    specialists,
    split,
)
from router import settings
from router.decide.policy import load_policies
from router.perceive.text.encoder import StaticEncoder
from router.pipeline import Router
from tests.bench.specialist_prompts import specialist_prompts

POLICIES = ("default", GUARDED.id)
PROMPTS, TRAINED, CONVERSATIONS = 150, 1_000, 12


@pytest.fixture(scope="module")
def router(encoder: StaticEncoder) -> Router:
    """A router over eight specialists and their base."""
    trained, _ = split(specialist_prompts(PROMPTS), TRAINED)
    return specialists(trained, encoder, {**load_policies(settings.shipped_policies_folder()), GUARDED.id: GUARDED})


@pytest.fixture(scope="module", params=POLICIES)
def found(request: pytest.FixtureRequest, router: Router) -> Results:
    """The results of a policy on unseen prompts and the half of the phrases that is reported."""
    _, unseen = split(specialist_prompts(PROMPTS), TRAINED)
    return results(router, request.param, list(conversations(unseen, read_phrases("report"), CONVERSATIONS)))


def total(found: Results, kind: str) -> Share:
    shares = [share for (_, of), share in found.conversations.items() if of == kind]
    return Share(sum(share.right for share in shares), sum(share.conversations for share in shares))


def test_most_conversations_begin_with_the_card_of_their_task(found: Results) -> None:
    assert total(found, "follow_up").conversations >= 0.8 * CONVERSATIONS * len(LENGTHS)


def test_follow_ups_stay(found: Results) -> None:
    for share in found.turns.values():
        assert share.value >= 0.95
    assert total(found, "follow_up").value >= 0.9


def test_switches_leave(found: Results) -> None:
    assert total(found, "switch").value >= 0.9


def test_short_asks_about_something_else_leave(found: Results) -> None:
    assert total(found, "off_topic").value >= 0.8


def test_a_switch_reaches_the_card_of_the_new_task(router: Router) -> None:
    _, unseen = split(specialist_prompts(PROMPTS), TRAINED)
    rng = np.random.default_rng(5)
    reached = []
    for _ in range(40):
        first, second = (unseen[int(row)] for row in rng.choice(len(unseen), size=2, replace=False))
        conversation = Conversation((*first.turns, "why?", *second.turns), "switch", first.domain)
        reached.append(list(chosen_cards(router, "default", conversation))[-1] == second.domain)
    assert np.mean(reached) >= 0.8


def test_the_phrases_of_both_halves_are_distinct() -> None:
    tune, report = (read_phrases(half) for half in ("tune", "report"))
    for kind in ("follow_up", "off_topic"):
        one, two = ({text.lower() for text in getattr(phrases, kind)} for phrases in (tune, report))
        assert min(len(one), len(two)) >= 40
        assert not one & two
