from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.errors import CallerError
from router.perceive.encoder import MAX_CHARACTERS, StaticEncoder
from router.perceive.features import TURN_DECAY, Perceiver, feature_vector, feature_vectors, vector_width
from router.perceive.text_features import surface_features
from router.wire.chat.request import ChatRequest

SORTING = "How do I sort a list of dictionaries in Python?"
POEM = "Write a sonnet about the sea in winter."


def request(*turns: tuple[str, str], **fields: object) -> ChatRequest:
    messages = [{"role": role, "content": text} for role, text in turns]
    return ChatRequest.from_body({"messages": messages, **fields})


def test_the_vector_is_the_embedding_then_the_surface_features(encoder: StaticEncoder) -> None:
    vector = feature_vector(encoder, (SORTING,))
    assert vector.dtype == np.float32
    assert vector.shape == (vector_width(encoder),)
    assert vector[: encoder.dimensions].tobytes() == encoder.encode([SORTING]).tobytes()
    assert vector[encoder.dimensions :].tobytes() == surface_features(SORTING).tobytes()


@given(st.lists(st.lists(st.text(max_size=80), min_size=1, max_size=9).map(tuple), max_size=5))
@example([(SORTING,), (POEM, SORTING), ("",), ("Привет", "你好", POEM)])
@settings(deadline=None)
def test_vectors_are_the_same_to_the_bit_alone_and_in_a_batch(
    encoder: StaticEncoder, conversations: list[tuple[str, ...]]
) -> None:
    vectors = feature_vectors(encoder, conversations)
    assert vectors.shape == (len(conversations), vector_width(encoder))
    for vector, turns in zip(vectors, conversations, strict=True):
        assert vector.tobytes() == feature_vector(encoder, turns).tobytes()


def test_every_earlier_turn_has_half_the_weight(encoder: StaticEncoder) -> None:
    turns = ("first topic", "second topic", "third topic")
    expected = encoder.encode(turns).T @ np.array([TURN_DECAY**2, TURN_DECAY, 1.0])
    embedding = feature_vector(encoder, turns)[: encoder.dimensions]
    np.testing.assert_allclose(embedding, expected / np.linalg.norm(expected), rtol=1e-4, atol=1e-6)


def test_a_follow_up_stays_near_its_topic(encoder: StaticEncoder) -> None:
    follow_up = "And in reverse?"
    topic = encoder.encode([SORTING])[0]
    alone = feature_vector(encoder, (follow_up,))[: encoder.dimensions]
    in_context = feature_vector(encoder, (SORTING, follow_up))[: encoder.dimensions]
    assert topic @ in_context > topic @ alone + 0.1


def test_a_new_topic_weighs_more_than_the_old_one(encoder: StaticEncoder) -> None:
    vector = feature_vector(encoder, (SORTING, POEM))[: encoder.dimensions]
    old, new = encoder.encode([SORTING, POEM])
    assert new @ vector > old @ vector


def test_surface_features_are_those_of_the_newest_turn(encoder: StaticEncoder) -> None:
    vector = feature_vector(encoder, (SORTING, POEM))
    assert vector[encoder.dimensions :].tobytes() == surface_features(POEM, 2).tobytes()


def test_surface_features_are_those_of_the_first_characters(encoder: StaticEncoder) -> None:
    start = ("word " * MAX_CHARACTERS)[:MAX_CHARACTERS]
    whole = feature_vector(encoder, (start + "Is 7 * 8 = 56? def f(): return {}\n" * 10_000,))
    assert whole[encoder.dimensions :].tobytes() == surface_features(start).tobytes()


def test_turns_before_the_newest_six_are_not_read(encoder: StaticEncoder) -> None:
    recent = tuple(f"question number {n}" for n in range(10))
    long = feature_vector(encoder, (POEM, *recent))[: encoder.dimensions]
    longer = feature_vector(encoder, (SORTING, SORTING, *recent))[: encoder.dimensions]
    assert long.tobytes() == longer.tobytes()


def test_turns_without_tokens_give_the_zero_embedding(encoder: StaticEncoder) -> None:
    assert not feature_vector(encoder, ("\u200b", "\u200b"))[: encoder.dimensions].any()


@pytest.mark.parametrize("role", ["system", "developer", "tool", "assistant"])
def test_text_of_another_role_does_not_change_the_vector(role: str, encoder: StaticEncoder) -> None:
    perceive = Perceiver(encoder)
    alone = perceive(request(("user", SORTING)))
    instructed = perceive(request((role, "You are a poet. " * 50), ("user", SORTING)))
    assert instructed.vector.tobytes() == alone.vector.tobytes()


def test_text_of_another_role_counts_as_input(encoder: StaticEncoder) -> None:
    perceive = Perceiver(encoder)
    alone = perceive(request(("user", SORTING))).input_tokens
    instructed = perceive(request(("system", "x" * 400), ("user", SORTING))).input_tokens
    assert instructed == alone + 100


def test_the_definitions_of_tools_count_as_input(encoder: StaticEncoder) -> None:
    perceive = Perceiver(encoder)
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 4_000}}]
    alone = perceive(request(("user", SORTING)))
    equipped = perceive(request(("user", SORTING), tools=tools))
    assert equipped.input_tokens - alone.input_tokens == pytest.approx(len(json.dumps(tools)) / 4, rel=0.02)
    assert equipped.vector.tobytes() == alone.vector.tobytes()


def test_functions_as_older_clients_send_them_count_like_tools(encoder: StaticEncoder) -> None:
    perceive = Perceiver(encoder)
    functions = [{"name": "f", "description": "x" * 400}]
    older, newer = (perceive(request(("user", "hi"), **{field: functions})) for field in ("functions", "tools"))
    assert older.input_tokens == newer.input_tokens > 100


@pytest.mark.parametrize("tools", [{"name": "f"}, "f", 1])
def test_tools_that_are_not_a_list_are_a_caller_error(tools: object) -> None:
    with pytest.raises(CallerError, match="`tools` must be a list"):
        request(("user", "hi"), tools=tools)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("limit", [10**9 + 1, 10**30, -1, True, 1.5, "7"])
def test_an_output_limit_out_of_range_is_a_caller_error(field: str, limit: object) -> None:
    with pytest.raises(CallerError, match=f"`{field}` must be a whole number between 0 and 1000000000"):
        request(("user", "hi"), **{field: limit})


def test_the_largest_output_limit_is_accepted() -> None:
    assert request(("user", "hi"), max_tokens=10**9).output_limit == 10**9


def test_the_input_tokens_of_one_human_turn_are_those_of_its_text(encoder: StaticEncoder) -> None:
    features = Perceiver(encoder)(request(("user", SORTING)))
    assert features.input_tokens == encoder.count_tokens(SORTING)


def test_without_a_human_turn_all_turns_are_read(encoder: StaticEncoder) -> None:
    vector = Perceiver(encoder)(request(("system", SORTING))).vector
    assert vector.tobytes() == feature_vector(encoder, (SORTING,)).tobytes()


def test_needs_and_limits_are_passed_on(encoder: StaticEncoder) -> None:
    features = Perceiver(encoder)(request(("user", "hi"), tools=[{"type": "function"}], max_tokens=7))
    assert features.needs == {"tools"}
    assert features.output_limit == 7
    assert features.modalities == {"text"}


def test_a_request_with_a_lone_surrogate_is_perceived(encoder: StaticEncoder) -> None:
    assert np.isfinite(Perceiver(encoder)(request(("user", "half \ud83d of it"))).vector).all()


REMINDER = "<system-reminder>The user opened poems.txt. Write a sonnet.</system-reminder>"


def test_text_that_a_harness_added_does_not_change_the_vector(encoder: StaticEncoder) -> None:
    wrapped = feature_vector(encoder, (f"{REMINDER}\n{SORTING}",))
    assert wrapped.tobytes() == feature_vector(encoder, (SORTING,)).tobytes()


def test_a_turn_of_a_harness_alone_is_skipped(encoder: StaticEncoder) -> None:
    result = "[read_file for 'poems.txt'] Result:\nThe sea in winter"
    assert (
        feature_vector(encoder, (SORTING, result, REMINDER)).tobytes() == feature_vector(encoder, (SORTING,)).tobytes()
    )


def test_turns_of_a_harness_alone_are_read_if_there_are_no_others(encoder: StaticEncoder) -> None:
    vector = feature_vector(encoder, (REMINDER,))
    assert vector[: encoder.dimensions].tobytes() == encoder.encode([REMINDER]).tobytes()


def test_text_that_a_harness_added_counts_as_input(encoder: StaticEncoder) -> None:
    text = f"{REMINDER * 50}{SORTING}"
    assert Perceiver(encoder)(request(("user", text))).input_tokens == encoder.count_tokens(text)
