from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from router.decide.policy import Policy
from router.errors import CallerError, NoCandidateError
from router.types import Rejection
from router.wire.reading.needs import WANTED
from tests.decide.cards import PLAIN, card, choose, features, forecast

SMALL, LARGE = card("small", size="1B", aliases=["tiny"]), card("large", size="70B")


def policy(**facts: Any) -> Policy:
    return msgspec.structs.replace(PLAIN, **facts)


def no_candidate(*arguments: Any, **named: Any) -> str:
    with pytest.raises(NoCandidateError) as caught:
        choose(*arguments, **named)
    return str(caught.value)


def test_a_filtered_card_is_reported_with_its_reason() -> None:
    decision = choose([SMALL, LARGE], flags="size<7B")
    assert dict(decision.rejections) == {"large": Rejection("size<7B", "size 70B > 7B")}


def test_the_fallbacks_are_other_models_not_other_efforts_of_the_same() -> None:
    cards = [card("a", efforts={"low": {}, "high": {}}), card("b", efforts={"low": {}}), card("c")]
    quality = [0.7, 0.9, 0.8, 0.5, 0.6, 0.4]
    decision = choose(cards, quality, policy=policy(fallbacks=3))
    assert (decision.card, decision.plan.fallbacks) == ("a@high", ("b@low", "c"))
    assert [candidate.card for candidate in decision.candidates][:3] == ["a@high", "a@low", "a"]


def test_a_decision_states_its_policy_artifact_and_flags() -> None:
    decision = choose([SMALL], flags="size.lt=7B, cheapest=0.5", policy=policy(id="mine"))
    assert (decision.policy, decision.artifact, decision.flags) == (
        "mine",
        "artifact",
        "size<7B,cheapest*0.5",
    )


def test_a_candidate_states_its_score_and_its_forecast() -> None:
    (candidate,) = choose([SMALL], forecast([0.7], cost_usd=[0.002], latency_ms=[300]), "smallest*0.5").candidates
    assert (candidate.card, candidate.quality, candidate.cost_usd, candidate.latency_ms) == (
        "small",
        0.7,
        0.002,
        300,
    )
    assert candidate.parts == {"loss": pytest.approx(0.3), "smallest": 0.0}


def test_an_unknown_forecast_of_a_candidate_is_none_not_nan() -> None:
    nan = float("nan")
    (candidate,) = choose([SMALL], forecast([0.7], cost_usd=[nan], latency_ms=[nan])).candidates
    assert (candidate.cost_usd, candidate.latency_ms) == (None, None)


def test_a_card_without_a_forecast_quality_counts_as_the_worst() -> None:
    decision = choose([SMALL, LARGE], [float("nan"), 0.1])  # large, small
    assert [(one.card, one.score) for one in decision.candidates] == [("small", 0.9), ("large", 1.0)]


def test_the_flags_weight_replaces_the_policys() -> None:
    expected = forecast([0.9, 0.6])  # large, small
    by_size = policy(goals={"smallest": 1.0})
    assert choose([SMALL, LARGE], expected, policy=by_size).card == "small"
    assert choose([SMALL, LARGE], expected, "smallest*0", policy=by_size).card == "large"


def test_the_policys_limits_apply_together_with_the_flags() -> None:
    assert choose([SMALL, LARGE], [0.9, 0.1], "size<100B", policy=policy(limits=("size<7B",))).card == "small"


def test_the_goal_best_raises_the_weight_of_quality() -> None:
    expected = forecast([0.9, 0.6])
    assert choose([SMALL, LARGE], expected, "smallest*0.4").card == "small"
    assert choose([SMALL, LARGE], expected, "smallest*0.4,best*1").card == "large"


def test_a_plan_has_as_many_fallbacks_as_the_policy_states() -> None:
    cards = [card(f"m{number}") for number in range(5)]
    quality = [0.1, 0.5, 0.3, 0.4, 0.2]
    assert choose(cards, quality, policy=policy(fallbacks=2)).plan.fallbacks == ("m3", "m2")
    assert choose(cards, quality, policy=policy(fallbacks=0)).plan.fallbacks == ()
    assert len(choose(cards, quality, policy=policy(fallbacks=20)).plan.fallbacks) == 4


def test_an_unavailable_card_is_rejected_with_the_reason_given() -> None:
    decision = choose([SMALL, LARGE], [0.9, 0.1], unavailable={"large": "cooling down for 30s", "unknown": "x"})
    assert decision.card == "small"
    assert dict(decision.rejections) == {"large": Rejection("available", "cooling down for 30s")}
    assert decision.binding == ("available",)


def test_where_no_card_is_available_the_error_states_the_reason() -> None:
    message = no_candidate([SMALL], unavailable={"small": "no API key in OPENAI_API_KEY"})
    assert message == (
        "no card meets every limit: available (rejects 1 of 1)\n  nearest is small: no API key in OPENAI_API_KEY"
    )


def test_the_prompt_and_the_answer_must_fit_the_context() -> None:
    cards = [card("long", context="32k"), card("short", context="8k")]
    decision = choose(cards, seen=features(tokens=6_000, output=4_000))
    assert dict(decision.rejections) == {"short": Rejection("context>=10000", "context 8k < 10k")}


def test_a_card_of_unknown_context_is_a_candidate_only_for_a_short_prompt() -> None:
    unstated = card("unstated", context=None)
    assert choose([unstated], seen=features(tokens=2_048)).card == "unstated"
    assert "context unknown" in no_candidate([unstated], seen=features(tokens=2_049))


def test_a_long_prompt_needs_a_stated_context_even_where_unknowns_pass() -> None:
    unstated = card("unstated", context=None)
    assert "context unknown" in no_candidate([unstated], seen=features(tokens=9_999), policy=policy(unknown="allow"))


@pytest.mark.parametrize(
    ("seen", "facts", "limit", "reason"),
    [
        (
            {"modalities": ["text", "image"]},
            {"modalities": ["text", "image"]},
            "modality=image",
            "does not have modality image",
        ),
        ({"needs": ["tools"]}, {"capabilities": ["tools"]}, "capability=tools", "capability unknown"),
        (
            {"needs": ["json_schema"]},
            {"capabilities": ["json_schema"]},
            "capability=json_schema",
            "capability unknown",
        ),
    ],
)
def test_a_card_must_be_able_to_do_what_the_request_needs(
    seen: dict[str, Any], facts: dict[str, Any], limit: str, reason: str
) -> None:
    decision = choose([card("able", **facts), card("plain")], [0.1, 0.9], seen=features(**seen))
    assert decision.card == "able"
    assert dict(decision.rejections) == {"plain": Rejection(limit, reason)}
    assert decision.binding == (limit,)


def test_a_card_whose_capabilities_lack_tools_is_rejected_as_not_having_them() -> None:
    cards = [card("able", capabilities=["tools"]), card("unable", capabilities=[])]
    decision = choose(cards, seen=features(needs=["tools"]))
    assert decision.rejections["unable"].reason == "does not have capability tools"


def test_a_card_is_rejected_where_the_answer_may_exceed_its_maximum_length() -> None:
    cards = [card("long", max_output="8k"), card("short", max_output="4k")]
    decision = choose(cards, [0.1, 0.9], seen=features(output=4_001))
    assert decision.card == "long"
    assert dict(decision.rejections) == {"short": Rejection("max_output>=4001", "max_output 4k < 4001")}
    assert decision.binding == ("max_output>=4001",)


def test_an_answer_of_exactly_the_cards_maximum_length_is_not_too_long() -> None:
    assert choose([card("a", max_output="4k")], seen=features(output=4_000)).card == "a"


def test_a_card_of_unknown_maximum_length_is_a_candidate_for_any_answer() -> None:
    assert choose([card("a")], seen=features(output=100_000)).card == "a"


def test_without_an_output_limit_in_the_request_the_maximum_length_does_not_matter() -> None:
    assert choose([card("a", max_output="1")]).card == "a"


def test_what_the_request_needs_is_never_relaxed() -> None:
    relaxing = policy(on_empty="relax", relax=("context", "capability", "modality"))
    assert "capability unknown" in no_candidate([card("a")], seen=features(needs=["tools"]), policy=relaxing)


def test_a_limit_of_the_flags_on_a_field_that_the_request_needs_too_is_relaxed() -> None:
    relaxing = policy(on_empty="relax", relax=("context",))
    decision = choose([card("a", context="8k")], flags="context>=1M", policy=relaxing)
    assert (decision.card, decision.relaxed) == ("a", ("context>=1M",))


def test_relaxing_stops_as_soon_as_a_card_passes() -> None:
    relaxing = policy(on_empty="relax", relax=("license", "size"), limits=("size<1M",))
    decision = choose([card("a", size="1B", license="mit")], flags="license=x", policy=relaxing)
    assert decision.relaxed == ("license=x", "size<1M")
    assert choose([card("a", size="1K")], flags="license=x", policy=relaxing).relaxed == ("license=x",)


@pytest.mark.parametrize(("relax", "relaxed"), [(("size", "license"), "size<1M"), (("license", "size"), "license=x")])
def test_fields_are_relaxed_in_the_order_stated(relax: tuple[str, ...], relaxed: str) -> None:
    cards = [card("licensed", size="1B", license="x"), card("tiny", size="1K", license="mit")]
    decision = choose(cards, flags="size<1M,license=x", policy=policy(on_empty="relax", relax=relax))
    assert decision.relaxed == (relaxed,)


def test_nothing_is_relaxed_while_a_card_passes() -> None:
    relaxing = policy(on_empty="relax", relax=("size",))
    decision = choose([SMALL, LARGE], flags="size<7B", policy=relaxing)
    assert (decision.card, decision.relaxed) == ("small", ())


def test_where_relaxing_is_not_enough_the_error_names_the_remaining_limits() -> None:
    relaxing = policy(on_empty="relax", relax=("size",))
    message = no_candidate([LARGE], flags="size<7B,tag=x", policy=relaxing)
    assert "tag=x (rejects 1 of 1)" in message
    assert "size" not in message


def test_the_error_names_the_limits_by_effect_and_the_nearest_card() -> None:
    cards = [card("a", size="8B", tags=["x"]), card("b", size="70B", tags=["x"]), card("c", size="7.5B")]
    assert no_candidate(cards, flags="size<7B,tag=x") == (
        "no card meets every limit: size<7B (rejects 3 of 3), tag=x (rejects 1 of 3)\n  nearest is a: size 8B > 7B"
    )


def test_the_nearest_card_fails_the_fewest_limits_then_by_the_smallest_gap() -> None:
    near, far = card("near", size="8B"), card("far", size="80B")
    assert "nearest is near: size 8B > 7B" in no_candidate([far, near], flags="size<7B")
    assert "nearest is near: size 8B > 7B" in no_candidate([card("a-unstated"), near], flags="size<7B")


def test_a_word_that_no_card_has_is_reported_with_the_known_words() -> None:
    cards = [card("a", capabilities=["tools", "json_schema"]), card("b", capabilities=["reasoning"])]
    assert no_candidate(cards, flags="capability=telepathy").endswith(
        "\n  no card has capability telepathy; known: json_schema, reasoning, tools"
    )


def test_a_word_that_no_card_has_is_reported_with_a_similar_word() -> None:
    message = no_candidate([card("a", tags=["code"]), card("b")], flags="tag=coed")
    assert message.endswith('\n  no card has tag coed; did you mean "code"?')


def test_where_no_card_states_a_field_no_known_words_are_listed() -> None:
    message = no_candidate([card("a")], seen=features(needs=["tools"]))
    assert message.endswith("\n  no card has capability tools")


@pytest.mark.parametrize("flags", ["tag=code,license=mit", "tag!=code,size<1B"])
def test_a_word_that_some_card_has_is_not_reported_as_unknown(flags: str) -> None:
    cards = [card("a", tags=["code"], size="7B"), card("b", license="mit", size="7B")]
    assert "no card has" not in no_candidate(cards, flags=flags)


def test_an_empty_catalogue_is_an_error_not_a_crash() -> None:
    assert no_candidate([]) == "the catalogue has no cards"


@pytest.mark.parametrize(
    ("overrides", "flags", "problem"),
    [
        ((), "size<7B", "does not let clients set limits: size<7B"),
        (("goals",), "size<7B", "does not let clients set limits, only goals: size<7B"),
        (("limits",), "cheapest", "does not let clients set goals, only limits: cheapest*1"),
    ],
)
def test_an_override_that_the_policy_forbids_is_rejected_not_ignored(
    overrides: tuple[str, ...], flags: str, problem: str
) -> None:
    with pytest.raises(CallerError) as caught:
        choose([SMALL], flags=flags, policy=policy(id="strict", overrides=overrides))
    assert str(caught.value) == f'the policy "strict" {problem}'


def test_a_policy_that_forbids_overrides_applies_its_limits_and_goals() -> None:
    strict = policy(overrides=(), limits=("size<7B",), goals={"smallest": 1.0})
    assert choose([SMALL, LARGE], policy=strict).card == "small"


def test_a_limit_without_effect_on_the_choice_does_not_bind() -> None:
    assert choose([SMALL, LARGE], [0.1, 0.9], "size<7B").binding == ()


def test_a_limit_that_rejects_a_better_card_binds() -> None:
    assert choose([SMALL, LARGE], [0.9, 0.1], "size<7B").binding == ("size<7B",)


def test_where_a_better_card_fails_two_limits_neither_binds_alone() -> None:
    assert choose([SMALL, LARGE], [0.9, 0.1], "size<7B,active<7B").binding == ()


def test_a_limit_that_rejects_an_equal_card_of_a_lower_id_binds() -> None:
    assert choose([SMALL, LARGE], [0.5, 0.5], "size<7B").binding == ("size<7B",)


def test_neither_forecast_nor_catalogue_is_changed() -> None:
    expected = forecast([0.9, 0.6], cost_usd=[0.1, 0.2])
    before = [None if column is None else np.copy(column) for column in msgspec.structs.astuple(expected)]
    choose([SMALL, LARGE], expected, "cheapest*2,smallest,newest,private,fastest,concise,best,size<7B")
    after = msgspec.structs.astuple(expected)
    for one, two in zip(before, after, strict=True):
        assert one is two is None or np.array_equal(one, two, equal_nan=True)


def test_a_need_that_no_card_meets_is_named_with_what_to_state() -> None:
    message = no_candidate([card("a", capabilities=["tools"])], seen=features(needs=["logprobs"]))
    assert "nearest is a: does not have capability logprobs" in message
    assert "the request asks for log probabilities; add logprobs to the capabilities of a card that has it" in message


def test_spoken_answers_need_a_card_that_produces_audio() -> None:
    cards = [
        card("hears", modalities=["text", "audio"], outputs=["text"]),
        card("reads"),
        card("speaks", outputs=["text", "audio"]),
        card("unstated", modalities=["text", "audio"]),
    ]
    decision = choose(cards, seen=features(needs=["audio_output"]))
    assert {candidate.card for candidate in decision.candidates} == {"speaks", "unstated"}
    assert decision.rejections["hears"] == Rejection("output=audio", "does not have output audio")
    message = no_candidate(cards[:2], seen=features(needs=["audio_output"]))
    assert "the request asks for spoken answers; add audio to the outputs of a card that has it" in message


@pytest.mark.parametrize("need", ["logprobs", "web_search", "files", "reasoning"])
def test_a_card_without_stated_capabilities_is_assumed_to_have_what_requests_rarely_need(need: str) -> None:
    cards = [card("a"), card("b", capabilities=["tools"])]
    assert choose(cards, [0.1, 0.9], seen=features(needs=[need])).card == "a"


@pytest.mark.parametrize("need", sorted(WANTED))
def test_a_card_that_has_what_is_wanted_goes_before_a_better_one(need: str) -> None:
    cards = [card("able", capabilities=[need]), card("plain", capabilities=[])]
    decision = choose(cards, [0.1, 0.9], seen=features(needs=[need]))
    assert (decision.card, decision.relaxed) == ("able", ())
    assert decision.rejections["plain"].reason == f"does not have capability {need}"


@pytest.mark.parametrize("need", sorted(WANTED))
def test_what_is_wanted_is_left_out_where_no_card_has_it(need: str) -> None:
    decision = choose([card("plain", capabilities=[])], seen=features(needs=[need]))
    assert (decision.card, decision.relaxed) == ("plain", (f"capability={need}",))


def test_what_is_wanted_is_left_out_where_the_card_that_has_it_cannot_be_called() -> None:
    cards = [card("able", capabilities=["reasoning"]), card("plain", capabilities=[])]
    decision = choose(cards, seen=features(needs=["reasoning"]), unavailable={"able": "no key"})
    assert decision.card == "plain"


def test_a_card_that_was_ported_and_not_probed_is_never_chosen_nor_a_fallback() -> None:
    ported = card("ported", lineage={"state": "ported"})
    decision = choose([ported, LARGE, SMALL], [0.5, 0.9, 0.4])  # large, ported, small
    assert decision.card == "large"
    assert "ported" not in decision.plan.fallbacks
    assert decision.rejections["ported"].reason.startswith("ported to another base and not tried there")


@pytest.mark.parametrize("state", ["probed", "promoted", None])
def test_a_card_that_was_probed_is_a_candidate(state: str | None) -> None:
    tried = card("tried", lineage={"state": state} if state else {})
    assert choose([SMALL, tried], [0.4, 0.9]).card == "tried"
