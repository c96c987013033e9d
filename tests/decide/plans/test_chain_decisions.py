"""Chains beside cards in one decision."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.decide.plans.catalog import Plans
from router.decide.plans.spec import Chain, Stage
from router.types import ComposedPlan, Decision
from tests.decide.cards import PLAIN, card, choose, features, forecast

POLICY = msgspec.structs.replace(PLAIN, plans=("describe",), mistake_usd=1.0)


def reason(decision: Decision) -> str:
    return decision.rejections["plan/describe"].reason


def test_a_chain_converts_an_image_for_a_card_that_reads_only_text() -> None:
    cards = [card("blind"), card("seer", modalities=["text", "image"])]
    stages = (Stage("image", "text"), Stage("text", "text"))
    plans = Plans([Chain(id="describe", description="d", stages=stages)])
    seen = features(modalities=["text", "image"])
    decision = choose(cards, forecast([0.9, 0.5]), policy=POLICY, plans=plans, seen=seen, plan="describe")
    assert isinstance(decision.plan, ComposedPlan)
    assert (decision.plan.members, decision.plan.card) == (("seer", "blind"), "blind")
    assert decision.candidates[0].quality == pytest.approx(0.45)
    plain = choose(cards, forecast([0.9, 0.5]), policy=POLICY, plans=plans, plan="describe")
    assert (plain.plan.kind, plain.card) == ("single", "blind")
    assert reason(plain) == "the request contains no image, which the first stage consumes"


def described(cards: list[Any], quality: list[float], *stages: Stage, **named: Any) -> Decision:
    """The decision of a policy with a chain of these stages on a request with an image."""
    plans = Plans([Chain(id="describe", description="d", stages=stages)])
    seen = features(modalities=["text", "image"])
    return choose(cards, forecast(quality), policy=POLICY, plans=plans, seen=seen, **named)


SEER, EYES = card("seer", modalities=["text", "image"]), card("eyes", modalities=["text", "image"])
DESCRIBED = (Stage("image", "text"), Stage("text", "text"))


def test_a_card_that_reads_images_itself_gets_no_description_of_them() -> None:
    decision = described([card("blind"), SEER], [0.5, 0.9], *DESCRIBED)
    assert reason(decision) == "the card seer reads images itself"
    assert (decision.plan.kind, decision.card) == ("single", "seer")


def test_a_chain_that_is_named_gives_way_to_the_card_that_reads_images_itself() -> None:
    decision = described([EYES, SEER], [0.5, 0.9], *DESCRIBED, plan="describe")
    assert (decision.plan.kind, decision.card) == ("single", "seer")


def test_one_card_does_not_describe_for_itself() -> None:
    stages = (Stage("image", "text", card="seer"), Stage("text", "text", card="seer"))
    assert reason(described([card("blind"), SEER], [0.5, 0.9], *stages)).endswith("reads images itself")


def test_a_chain_may_name_a_card_that_reads_images_for_what_another_has_described() -> None:
    stages = (Stage("image", "text", card="eyes"), Stage("text", "text", card="seer"))
    assert "plan/describe" not in described([EYES, SEER], [0.5, 0.9], *stages).rejections


def test_a_card_may_read_its_own_thoughts() -> None:
    decision = described([SEER, EYES], [0.9, 0.5], Stage("text", "text", prompt="Plan."), Stage("text", "text"))
    assert "plan/describe" not in decision.rejections


def test_a_card_that_only_transcribes_does_not_answer_and_one_that_reads_no_text_is_not_asked() -> None:
    ocr = card("ocr", modalities=["text", "image"], consumes=["image"], produces=["text"])
    decision = described([ocr, card("blind")], [0.9, 0.4], *DESCRIBED, plan="describe")
    assert isinstance(decision.plan, ComposedPlan)
    assert decision.plan.members == ("ocr", "blind")


def test_a_stage_takes_only_cards_that_write_what_it_produces() -> None:
    painter = card("painter", modalities=["text", "image"], produces=["image"])
    decision = described([painter, EYES, card("blind")], [0.9, 0.2, 0.4], *DESCRIBED, plan="describe")
    assert isinstance(decision.plan, ComposedPlan)
    assert decision.plan.members[0] == "eyes"
