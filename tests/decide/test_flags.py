from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decide.fields import FIELD_NAMES, NUMBERS, WORDS
from router.decide.flags import MAX_LENGTH, Flags, parse_flags
from router.decide.goals import GOALS
from router.errors import FlagError


def only_limit(text: str) -> tuple[str, str, float | str]:
    (limit,) = parse_flags(text).limits
    return limit.field, limit.op, limit.value


def error_of(text: str) -> FlagError:
    with pytest.raises(FlagError) as caught:
        parse_flags(text)
    return caught.value


@pytest.mark.parametrize("op", ["<", "<=", ">", ">=", "=", "!="])
def test_every_operator_is_parsed(op: str) -> None:
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
def test_an_equivalent_spelling_means_the_same(shell_safe: str, plain: str) -> None:
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
def test_blank_text_has_no_flags(text: str) -> None:
    assert parse_flags(text) == Flags()


def test_a_duplicate_limit_counts_once() -> None:
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
def test_an_error_states_the_position_and_what_was_expected(text: str, position: int, expected: str) -> None:
    error = error_of(text)
    assert (error.position, expected in error.problem) == (position, True), error.problem


def test_an_error_points_at_its_position() -> None:
    message, source, caret = str(error_of("size<7B,siez<9B")).splitlines()
    assert message.startswith('unknown flag "siez"')
    assert source[caret.index("^") :] == "siez<9B"


def test_the_caret_is_at_the_position_where_the_flags_have_several_lines() -> None:
    _, source, caret = str(error_of("size<7B,\nsiez<9B")).splitlines()
    assert source[caret.index("^") :] == "siez<9B"


def test_every_known_name_is_listed_where_none_is_similar() -> None:
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
def test_contradictory_limits_are_an_error_at_the_second(text: str) -> None:
    error = error_of(text)
    assert "no card can meet both" in error.problem
    assert error.position == text.rindex(",") + 1


@pytest.mark.parametrize(
    "text",
    ["size>=7B,size<=7B", "tag=a,tag=b", "language=en,language=fr", "!a,!b", "license!=mit,license!=x"],
)
def test_limits_that_a_card_can_meet_together_are_no_error(text: str) -> None:
    assert len(parse_flags(text).limits) == 2


def test_flags_of_the_maximum_length_are_parsed() -> None:
    text = ("!abcdefgh," * (MAX_LENGTH // 10))[:-1]
    assert len(text) <= MAX_LENGTH
    assert len(parse_flags(text).limits) == 1


def test_longer_flags_are_rejected_without_repeating_them() -> None:
    error = error_of("a" * 1_000_000)
    assert "longer than 2000 characters" in error.problem
    assert len(str(error)) < 300


def test_words_may_be_in_any_script() -> None:
    assert only_limit("tag=größe")[2] == "größe"
    assert only_limit("family=模型")[2] == "模型"


def test_an_error_about_a_lone_surrogate_can_be_encoded_as_utf_8() -> None:
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
    "calls": ["1", "3"],
    "fits": ["yes", "no"],
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
def test_printed_flags_are_read_back_equal(texts: list[str]) -> None:
    try:
        flags = parse_flags(",".join(texts))
    except FlagError as error:
        if "no card can meet both" in error.problem:
            return
        raise
    assert parse_flags(str(flags)) == flags


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_an_error_with_a_position_inside_it(text: str) -> None:
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
