from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.errors import CallerError
from router.perceive.features import Perceiver, feature_vector, feature_vectors, vector_width
from router.perceive.text.dependence import DEPENDENT
from router.perceive.text.encoder import MAX_CHARACTERS, StaticEncoder
from router.perceive.text.human_text import human_text
from router.perceive.text.text_features import surface_features
from router.types import UNKNOWN_DEPENDENCE, Floats
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


def embedding(encoder: StaticEncoder, *turns: str) -> Floats:
    """The embedding of a conversation."""
    return feature_vector(encoder, turns)[: encoder.dimensions]


def test_a_follow_up_has_the_topic_of_the_turn_before(encoder: StaticEncoder) -> None:
    topic = encoder.encode([SORTING])[0]
    assert topic @ embedding(encoder, SORTING, "and in Java?") > 0.95
    assert topic @ embedding(encoder, "and in Java?") < 0.8


def test_earlier_follow_ups_do_not_take_the_conversation_from_its_topic(encoder: StaticEncoder) -> None:
    follow_ups = ("why?", "can you shorten that?", "and in Java?", "are you sure?", "once more, please", "ok, go on")
    topic = encoder.encode([SORTING])[0]
    for number in range(1, len(follow_ups)):
        assert topic @ embedding(encoder, SORTING, *follow_ups[:number]) > 0.95


def test_an_ask_of_its_own_has_only_its_own_topic(encoder: StaticEncoder) -> None:
    alone = encoder.encode([POEM])[0]
    assert alone @ embedding(encoder, SORTING, POEM) > 0.95
    assert alone @ embedding(encoder, SORTING, "why?", POEM) > 0.95


def test_a_follow_up_to_a_short_ask_has_the_topic_of_that_ask(encoder: StaticEncoder) -> None:
    capital = ("What is the capital of France?", "and of Spain?")
    assert embedding(encoder, SORTING, *capital) @ embedding(encoder, *capital) > 0.98


def test_surface_features_are_those_of_the_newest_turn(encoder: StaticEncoder) -> None:
    vector = feature_vector(encoder, (SORTING, POEM))
    assert vector[encoder.dimensions :].tobytes() == surface_features(POEM, 2).tobytes()


@given(st.text(max_size=200))
@example(POEM)
@example("and in Java?")
@settings(deadline=None)
def test_a_single_turn_is_embedded_as_it_is(encoder: StaticEncoder, turn: str) -> None:
    vector = feature_vector(encoder, (turn,))
    text = human_text(turn) or turn
    assert vector[: encoder.dimensions].tobytes() == encoder.encode([text])[0].tobytes()
    assert vector[encoder.dimensions :].tobytes() == surface_features(text).tobytes()


def test_surface_features_are_those_of_the_first_characters(encoder: StaticEncoder) -> None:
    start = ("word " * MAX_CHARACTERS)[:MAX_CHARACTERS]
    whole = feature_vector(encoder, (start + "Is 7 * 8 = 56? def f(): return {}\n" * 10_000,))
    assert whole[encoder.dimensions :].tobytes() == surface_features(start).tobytes()


def test_of_a_long_conversation_only_the_newest_turns_are_read(encoder: StaticEncoder) -> None:
    recent = ("and then?",) * 30
    vector = feature_vector(encoder, (POEM, *recent))
    assert vector.tobytes() == feature_vector(encoder, (SORTING, SORTING, *recent)).tobytes()


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


def dependence_of(encoder: StaticEncoder, *turns: tuple[str, str]) -> float:
    """The dependence of a request that continues a conversation."""
    return Perceiver(encoder)(request(*turns), continues=True).dependence


def test_a_turn_of_a_harness_is_counted_though_the_human_turn_is_as_long(encoder: StaticEncoder) -> None:
    harness = "<system-reminder>?!?!?!?!?!</system-reminder>"
    human = "word " * (len(harness) // 5) + "x" * (len(harness) % 5)
    features = Perceiver(encoder)(request(("user", human), ("user", harness)))
    assert len(human) == len(harness)
    assert features.input_tokens == encoder.count_tokens(harness) + -(-len(human) // 4)


def test_the_dependence_is_known_only_where_the_request_continues_a_conversation(encoder: StaticEncoder) -> None:
    turns = (("user", SORTING), ("assistant", "Use sorted()."), ("user", "and in Java?"))
    assert Perceiver(encoder)(request(*turns)).dependence == UNKNOWN_DEPENDENCE
    assert dependence_of(encoder, *turns) > DEPENDENT


def test_a_word_of_the_answer_makes_a_question_a_follow_up(encoder: StaticEncoder) -> None:
    question = ("user", "Where does the lambda come from?")
    answer = ("assistant", "Write sorted(rows, key=lambda row: row['name']).")
    with_answer = dependence_of(encoder, ("user", SORTING), answer, question)
    assert with_answer > dependence_of(encoder, ("user", SORTING), ("assistant", "Done."), question) + 0.1


@pytest.mark.parametrize(
    "newest", [("tool", "Paris"), ("assistant", "I will look."), ("user", "<system-reminder>3 files</system-reminder>")]
)
def test_a_step_of_an_agent_depends_on_the_ask_before_it(newest: tuple[str, str], encoder: StaticEncoder) -> None:
    assert dependence_of(encoder, ("user", POEM), ("assistant", "Let me see."), newest) == 1.0


def test_the_dependence_of_a_turn_without_text_is_unknown(encoder: StaticEncoder) -> None:
    assert dependence_of(encoder, ("user", SORTING), ("assistant", "Done."), ("user", "")) == UNKNOWN_DEPENDENCE
