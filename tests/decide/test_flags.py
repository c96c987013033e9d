from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decide.fields import FIELD_NAMES, NUMBERS, WORDS
from router.decide.flags import MAX_LENGTH, Flags, parse_flags
from router.decide.goals import GOALS
from router.decide.prompt_flags import extract_flags
from router.errors import CallerError, FlagError
from router.wire.chat.request import ChatRequest


def only_limit(text: str) -> tuple[str, str, float | str]:
    (limit,) = parse_flags(text).limits
    return limit.field, limit.op, limit.value


def error_of(text: str) -> FlagError:
    with pytest.raises(FlagError) as caught:
        parse_flags(text)
    return caught.value


@pytest.mark.parametrize("op", ["<", "<=", ">", ">=", "=", "!="])
def test_every_operator_reads(op: str) -> None:
    assert only_limit(f"size{op}7B") == ("size", op, 7e9)


@pytest.mark.parametrize(
    ("shell_safe", "plain"),
    [
        ("size.lt=7B", "size<7B"),
        ("size.le=7B", "size<=7B"),
        ("size.gt=7B", "size>7B"),
        ("size.ge=7B", "size>=7B"),
        ("size.eq=7B", "size=7B"),
        ("size.ne=7B", "size!=7B"),
        ("size.LT=7B", "size<7B"),
        ("size..7B", "size<=7B"),
        ("size==7B", "size=7B"),
        ("tag.ne=beta", "tag!=beta"),
        ("cheapest=0.5", "cheapest*0.5"),
        ("smallest model", "smallest"),
        ("Smallest Models * 2", "smallest*2"),
        (" size  <  7B , cheapest * 0.5 ", "size<7B,cheapest*0.5"),
        ("SIZE<7B", "size<7B"),
    ],
)
def test_another_spelling_means_the_same(shell_safe: str, plain: str) -> None:
    assert parse_flags(shell_safe) == parse_flags(plain)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("size<7B", 7e9),
        ("size<350M", 350e6),
        ("size<1.1T", 1.1e12),
        ("active<13b", 13e9),
        ("context>=128k", 128_000),
        ("max_output>=8192", 8192),
        ("cost<0.002$", 0.002),
        ("cost<$0.002", 0.002),
        ("price<=1", 1.0),
        ("latency<800ms", 800),
        ("ttft<1.5s", 1500),
        ("age<180d", 180),
        ("age<2w", 14),
        ("quality>=0.8", 0.8),
        ("quality>=80%", 0.8),
    ],
)
def test_a_number_is_read_in_its_unit(text: str, value: float) -> None:
    assert only_limit(text)[2] == value


def test_a_date_without_a_day_counts_as_the_first() -> None:
    assert only_limit("released>=2025-06")[2] == only_limit("released>=2025-06-01")[2]


@pytest.mark.parametrize("field", WORDS)
def test_every_word_field_takes_equal_and_unequal(field: str) -> None:
    assert only_limit(f"{field}=Some-Word") == (field, "=", "some-word")
    assert only_limit(f"{field}!=x") == (field, "!=", "x")


@pytest.mark.parametrize("goal", GOALS)
def test_every_goal_has_the_weight_one_unless_it_states_another(goal: str) -> None:
    assert parse_flags(goal).goals == {goal: 1.0}
    assert parse_flags(f"{goal}*0.25").goals == {goal: 0.25}


def test_a_goal_may_have_the_weight_zero() -> None:
    assert parse_flags("cheapest*0").goals == {"cheapest": 0.0}


def test_an_exclamation_mark_forbids_a_tag() -> None:
    assert only_limit("!Beta") == ("tag", "!=", "beta")


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_nothing_is_no_flags(text: str) -> None:
    assert parse_flags(text) == Flags()


def test_a_limit_said_twice_counts_once() -> None:
    assert len(parse_flags("size<7B,size<7000M,!beta,tag!=beta").limits) == 2


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("size<7B,,cheapest", 8, "expected a field"),
        ("size<7B,", 7, 'expected a flag after ","'),
        (",size<7B", 0, "expected a field"),
        ("size", 4, "expected an operator"),
        ("size 7B", 5, "expected an operator"),
        ("size<", 5, "expected a value after size<"),
        ("size.lt=", 8, "expected a value after size.lt="),
        ("tag===x", 5, "expected a value after tag=="),
        ("size<seven", 5, "expected a size such as 7B"),
        ("size<7", 5, "no unit"),
        ("size<7GB", 5, "unit 'GB'"),
        ("latency<7B", 8, "expected a duration such as 250ms"),
        ("latency<0B", 8, "unit 'B'"),
        ("quality>1.5", 8, "between 0 and 1"),
        ("context>1e308M", 8, "expected a number of tokens"),
        ("size<1e999B", 5, "expected a size"),
        ("size<-7B", 5, "expected a size"),
        ("released>2025-13", 9, "expected a date such as 2025-03"),
        ("license<mit", 7, "license takes = or !=, not <"),
        ("cheapest*", 9, "expected a weight such as cheapest*0.5"),
        ("cheapest*much", 9, "expected a weight between 0 and 1000"),
        ("cheapest*-1", 9, "expected a weight between 0 and 1000"),
        ("cheapest*nan", 9, "expected a weight between 0 and 1000"),
        ("cheapest*1e6", 9, "expected a weight between 0 and 1000"),
        ("cheapest<0.5", 8, 'expected "," before the next flag'),
        ("!", 1, "expected a tag"),
        ("size<7B,siez<9B", 8, 'did you mean "size"?'),
        ("cheepest", 0, 'did you mean "cheapest"?'),
        ("zzzzzz", 0, "known: size"),
        ("🙂", 0, "expected a field"),
        ("[size<7B]", 0, "expected a field"),
    ],
)
def test_an_error_says_where_and_what_was_expected(text: str, position: int, expected: str) -> None:
    error = error_of(text)
    assert (error.position, expected in error.problem) == (position, True), error.problem


def test_an_error_points_at_its_position() -> None:
    message, source, caret = str(error_of("size<7B,siez<9B")).splitlines()
    assert message.startswith('unknown flag "siez"')
    assert source[caret.index("^") :] == "siez<9B"


def test_a_caret_stays_right_where_the_flags_have_several_lines() -> None:
    _, source, caret = str(error_of("size<7B,\nsiez<9B")).splitlines()
    assert source[caret.index("^") :] == "siez<9B"


def test_every_known_name_is_listed_where_none_is_near() -> None:
    problem = error_of("qqqqqq=1").problem
    assert all(name in problem for name in (*FIELD_NAMES, *GOALS))


@pytest.mark.parametrize(
    "text",
    [
        "size<7B,size>70B",
        "size>=7B,size<7B",
        "size=7B,size=8B",
        "size=7B,size!=7000M",
        "!beta,tag=beta",
        "license=mit,license=apache-2.0",
        "license=mit,license!=MIT",
        "cheapest,size>8B,fastest,size<8B",
    ],
)
def test_limits_that_no_card_can_meet_together_are_an_error_at_the_second(text: str) -> None:
    error = error_of(text)
    assert "no card can meet both" in error.problem
    assert error.position == text.rindex(",") + 1


@pytest.mark.parametrize(
    "text",
    ["size>=7B,size<=7B", "tag=a,tag=b", "language=en,language=fr", "!a,!b", "license!=mit,license!=x"],
)
def test_limits_that_a_card_can_meet_together_are_none(text: str) -> None:
    assert len(parse_flags(text).limits) == 2


def test_flags_of_the_greatest_length_are_read() -> None:
    text = ("!abcdefgh," * (MAX_LENGTH // 10))[:-1]
    assert len(text) <= MAX_LENGTH
    assert len(parse_flags(text).limits) == 1


def test_longer_flags_are_refused_without_repeating_them() -> None:
    error = error_of("a" * 1_000_000)
    assert "longer than 2000 characters" in error.problem
    assert len(str(error)) < 300


def test_words_may_be_of_any_script() -> None:
    assert only_limit("tag=größe")[2] == "größe"
    assert only_limit("family=模型")[2] == "模型"


def test_an_error_about_a_lone_surrogate_can_be_sent_as_json() -> None:
    error = error_of("size<\ud800")
    assert str(error).encode("utf-8")
    assert error.position == 5


words = st.text(st.characters(exclude_characters=",", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() and not text.strip().startswith("=")
)
numbers = {
    "size": ["7B", "1.5T", "350M", "0B"],
    "active": ["13B"],
    "context": ["128k", "1"],
    "max_output": ["8k"],
    "cost": ["0.002$", "$1"],
    "price": ["1", "0$"],
    "latency": ["800ms", "2s"],
    "ttft": ["1min"],
    "released": ["2025", "2025-06", "2025-06-30"],
    "age": ["180d", "1y"],
    "quality": ["0.8", "80%", "1"],
}
flag_texts = st.one_of(
    st.tuples(
        st.sampled_from(sorted(NUMBERS)), st.sampled_from(["<", "<=", ">", ">=", "=", "!=", ".lt=", ".."])
    ).flatmap(lambda pair: st.sampled_from(numbers[pair[0]]).map(lambda value: f"{pair[0]}{pair[1]}{value}")),
    st.tuples(st.sampled_from(WORDS), st.sampled_from(["=", "!=", ".ne="]), words).map("".join),
    words.map(lambda word: f"!{word}"),
    st.tuples(st.sampled_from(sorted(GOALS)), st.floats(0, 1000)).map(lambda pair: f"{pair[0]}*{pair[1]!r}"),
)


@given(st.lists(flag_texts, max_size=4))
def test_flags_read_back_as_they_are_printed(texts: list[str]) -> None:
    try:
        flags = parse_flags(",".join(texts))
    except FlagError as error:
        if "no card can meet both" in error.problem:
            return
        raise
    assert parse_flags(str(flags)) == flags


@given(st.text(max_size=40))
def test_any_text_is_read_or_answered_with_a_position_inside_it(text: str) -> None:
    position = 0
    try:
        parse_flags(text)
    except FlagError as error:
        position = error.position
    assert 0 <= position <= len(text)


@given(st.lists(flag_texts, max_size=3), st.lists(flag_texts, max_size=3))
def test_overriding_keeps_both_sets_of_limits_and_the_later_weights(one: list[str], two: list[str]) -> None:
    try:
        first, second = parse_flags(",".join(one)), parse_flags(",".join(two))
    except FlagError:
        return
    both = first.overridden_by(second)
    meant = {(limit.field, limit.op, limit.value) for limit in both.limits}
    assert meant == {(limit.field, limit.op, limit.value) for limit in (*first.limits, *second.limits)}
    assert both.goals == {**first.goals, **second.goals}


def request_of(*messages: tuple[str, Any]) -> ChatRequest:
    return ChatRequest.from_body(
        {
            "model": "auto",
            "messages": [{"role": role, "content": content} for role, content in messages],
            "seed": 7,
        }
    )


def said(request: ChatRequest) -> list[Any]:
    return [message["content"] for message in request.body["messages"]]


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("[Flag: smallest] Hello", "Hello"),
        ("Hello [Flag: smallest]", "Hello"),
        ("Hello [Flag: smallest] world", "Hello world"),
        ("Hello[Flag: smallest]world", "Helloworld"),
        ("Hello [Flag: smallest], world", "Hello, world"),
        ("[Flag: smallest]\nHello", "Hello"),
        ("[Flag: smallest]\r\nHello", "Hello"),
        ("Hello\n[Flag: smallest]\nworld", "Hello\nworld"),
        ("Hello [Flag: smallest]\nworld", "Hello\nworld"),
        ("Hello\n\n  [Flag: smallest]  \n\nworld", "Hello\n\n\nworld"),
        ("[Flag: smallest] [flag: best] Hello", "Hello"),
        ("Hello [Flag: smallest] [flag: best] world", "Hello world"),
        ("  def f():\n    pass  \n[Flag: smallest]", "  def f():\n    pass  \n"),
        ("[[Flag: smallest]] x", "[] x"),
        ("größe 🙂 [Flag: smallest] 模型", "größe 🙂 模型"),
    ],
)
def test_a_mark_leaves_the_text_around_it_as_it_was(prompt: str, left: str) -> None:
    request, flags = extract_flags(request_of(("user", prompt)))
    assert "smallest" in flags.goals
    assert said(request) == [left]
    assert request.turns[0].text == left


@pytest.mark.parametrize(
    "mark",
    [
        "[Flag: smallest]",
        "[flag:smallest]",
        "[FLAGS: smallest model]",
        "[ Flag : smallest ]",
        "[flags:\nsmallest]",
    ],
)
def test_a_mark_may_be_spelled_in_these_ways(mark: str) -> None:
    assert extract_flags(request_of(("user", f"{mark} Hi")))[1] == parse_flags("smallest")


@pytest.mark.parametrize(
    "prompt",
    [
        "no marks",
        "[Flag smallest]",
        "[Flagged: smallest]",
        "[Flag: a[0]]",
        "[Flag: smallest",
        "Flag: smallest]",
    ],
)
def test_what_is_no_mark_stays(prompt: str) -> None:
    request = request_of(("user", prompt))
    assert extract_flags(request) == (request, Flags())


@pytest.mark.parametrize(
    "prompt",
    [
        "[Flags: 0x002 (SYN)]",
        "IP 10.0.0.1 > 10.0.0.2: [flags: S., seq 1]",
        "arr[flag: 3]",
        "[flag: -x]",
        "[Flags: Germany, France]",
        "[flag: 模型]",
    ],
)
def test_a_mark_whose_first_word_is_no_flag_nor_nearly_one_stays_text(prompt: str) -> None:
    request = request_of(("user", prompt))
    assert extract_flags(request) == (request, Flags())


def test_beside_a_mark_of_flags_one_of_text_stays() -> None:
    request, flags = extract_flags(request_of(("user", "What is [Flags: 0x002]? [Flag: best]")))
    assert (said(request), flags) == (["What is [Flags: 0x002]?"], parse_flags("best"))


def test_a_mark_may_begin_with_an_exclusion() -> None:
    request, flags = extract_flags(request_of(("user", "[Flag: !beta] Hi")))
    assert (said(request), flags) == (["Hi"], parse_flags("!beta"))


@pytest.mark.parametrize("mark", ["size", "siez<7B", "size<7B, 3", "cheapest*much", "best, nonsense"])
def test_a_mark_that_begins_with_a_flag_is_read_whole_or_an_error(mark: str) -> None:
    with pytest.raises(FlagError):
        extract_flags(request_of(("user", f"[Flag: {mark}] Hi")))


def test_a_mark_without_flags_is_stripped_and_asks_for_nothing() -> None:
    request, flags = extract_flags(request_of(("user", "[Flag: ] Hi")))
    assert (said(request), flags) == (["Hi"], Flags())


def test_marks_in_the_text_parts_of_a_message_are_read_and_stripped() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,x"}}
    parts = [{"type": "text", "text": "What is this? [Flag: smallest]", "extra": 1}, image]
    request, flags = extract_flags(request_of(("user", parts)))
    assert flags == parse_flags("smallest")
    assert said(request) == [[{"type": "text", "text": "What is this?", "extra": 1}, image]]
    assert request.turns[0].text == "What is this?"
    assert request.modalities == {"text", "image"}


def test_a_part_that_held_only_a_mark_is_dropped_since_some_providers_refuse_empty_texts() -> None:
    parts = [{"type": "text", "text": "[Flag: smallest]"}, {"type": "text", "text": "Hi"}]
    request, _ = extract_flags(request_of(("user", parts)))
    assert said(request) == [[{"type": "text", "text": "Hi"}]]


def test_a_mark_does_not_span_parts() -> None:
    parts = [{"type": "text", "text": "[Flag: small"}, {"type": "text", "text": "est] Hi"}]
    request = request_of(("user", parts))
    assert extract_flags(request) == (request, Flags())


def test_only_what_the_user_says_counts() -> None:
    mark = "[Flag: smallest] x"
    request = request_of(("system", mark), ("developer", mark), ("assistant", mark), ("tool", mark), ("user", "Hi"))
    assert extract_flags(request) == (request, Flags())


def test_a_later_turn_overrides_an_earlier_one_and_every_turn_is_stripped() -> None:
    request, flags = extract_flags(
        request_of(
            ("user", "[Flag: cheapest*0.2, size<70B] One"),
            ("assistant", "[Flag: best] kept"),
            ("user", "Two [Flag: cheapest*0.7]"),
        )
    )
    assert flags == parse_flags("size<70B,cheapest*0.7")
    assert said(request) == ["One", "[Flag: best] kept", "Two"]
    assert [turn.text for turn in request.turns] == said(request)


def test_every_other_field_of_the_body_stays() -> None:
    before = request_of(("user", "[Flag: best] Hi"))
    after, _ = extract_flags(before)
    assert {**after.body, "messages": None} == {**before.body, "messages": None}


def test_the_request_given_is_not_changed() -> None:
    before = request_of(("user", [{"type": "text", "text": "[Flag: best] Hi"}]))
    extract_flags(before)
    assert before == request_of(("user", [{"type": "text", "text": "[Flag: best] Hi"}]))


def test_a_request_without_a_body_is_read_by_its_turns() -> None:
    turns = request_of(("user", "[Flag: best] Hi")).turns
    request, flags = extract_flags(ChatRequest(turns))
    assert (request.turns[0].text, flags) == ("Hi", parse_flags("best"))


def test_a_mark_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(FlagError, match='did you mean "smallest"'):
        extract_flags(request_of(("user", "[Flag: smalest] Hi")))


def test_a_prompt_of_flags_alone_is_empty() -> None:
    with pytest.raises(CallerError, match="the prompt is empty"):
        extract_flags(request_of(("user", "[Flag: smallest]")))


@pytest.mark.parametrize("text", [" " * 300_000, "[" * 300_000, "[flag:" + " " * 300_000, "[flag:" * 50_000])
def test_a_hostile_prompt_is_read_once(text: str) -> None:
    """Each of these took minutes where a pattern could match the same blanks in two ways."""
    request = request_of(("user", f"x{text}x"))
    assert extract_flags(request) == (request, Flags())


@given(st.text(max_size=30), st.text(max_size=30))
def test_text_without_brackets_loses_nothing_but_blanks(before: str, after: str) -> None:
    before, after = (text.replace("[", "(").replace("]", ")") for text in (before, after))
    request, _ = extract_flags(request_of(("user", f"word {before}[Flag: best]{after}")))
    assert "".join(request.turns[0].text.split()) == "".join(f"word {before}{after}".split())
