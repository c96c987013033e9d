from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.learn.onboarding.answers import exact_number, final_answer, options_in, read_number
from router.learn.onboarding.graders import GRADERS, grade

OPTIONS = {"A": "Berlin", "B": "Paris", "C": "a dog", "D": "vitamin C"}


def right(grader: str, reply: str, *answers: Any) -> bool:
    return grade(grader, reply, answers, OPTIONS).score == 1.0


@pytest.mark.parametrize(
    "reply",
    [
        "B",
        "b.",
        "(B)",
        "**B**",
        "B) Paris",
        "Paris",
        "The answer is **B**.",
        "Answer: B) Paris",
        "Answer: Paris.",
        "Answer: B because A is in Germany",
        "Answer: B, not A",
        "A is wrong, C is wrong.\n\n**Final Answer:** B",
        "**Answer**\nB",
        "### Answer\n\n(B)",
        r"So $\boxed{\text{B}}$",
        r"Therefore \boxed{B}.",
        "The correct option is B.",
        "Antwort: B",
        "Réponse : B",
        "Ответ: B",
        "答案:B",
        "所以答案是 B。",
        "答え:B",
        "الإجابة: B",
        "<think>Answer: A</think>\nAnswer: B",
        "It must be **B) Paris** here.",
        "Answer: <B>",
        "B) Paris\n\nParis is the capital of France, and has been for centuries.",
        "The answer to this question is: B",
        "Answer: [B]",
        "Answer - B",
        "✅ Answer: B",
    ],
)
def test_a_choice_is_recognised(reply: str) -> None:
    assert right("choice", reply, "B")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "   \n",
        "**",
        "I'm sorry, but I can't help with that.",
        "A dog walks by.",
        "Answer: A or B",
        "Answer: B or A",
        "Answer: A, B",
        "Answer: A and B",
        "Answer: both A and B",
        "Answer: B/C",
        "Answer: neither",
        "Answer: B) Berlin",
        "B is tempting at first.\nAnswer: A",
        "<think>Answer: B",
        "Answer: E",
        "Because B follows A, C and D come last.",
    ],
)
def test_other_replies_are_not_accepted_as_the_choice(reply: str) -> None:
    assert not right("choice", reply, "B")


def test_an_option_that_contains_a_letter_is_not_a_second_choice() -> None:
    assert right("choice", "Answer: D) vitamin C", "D")
    assert right("choice", "Answer: C) a dog", "C")


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("42", "42"),
        ("Answer: 42.", "42"),
        ("Answer: **42**", "42"),
        ("**Answer: 42 km/h**", "42"),
        ("Answer: 1,234", "1234"),
        ("Answer: 1.234", "1234"),
        ("Answer: 1 234 567 people", "1234567"),
        ("Answer: 1'234", "1234"),
        ("Answer: 12,34,567", "1234567"),
        ("Answer: 1.234,5", "1234.5"),
        ("Answer: 1,234.5", "1234.5"),
        ("Answer: 3,5", "3.5"),
        ("Answer: .5", "0.5"),
        ("Answer: $1,200.50", "1200.5"),
        ("Answer: 75 %", "75"),
        ("Answer: 50°C", "50"),
        ("Answer: 5 m²", "5"),
        ("Answer: −5", "-5"),
        ("Answer: minus 5", "-5"),
        ("Answer: 1.5 × 10^3", "1500"),
        ("Answer: 1.5e3", "1500"),
        ("Answer: 1.5×10⁻³", "0.0015"),
        ("Answer: 2 million", "2000000"),
        (r"\boxed{\frac{3}{4}}", "0.75"),
        ("Answer: 3/4", "0.75"),
        ("Answer: 1/3", "0.33"),
        ("Answer: 12{,}345".replace("12{,}345", r"$12{,}345$"), "12345"),
        ("Answer: x = 5", "5"),
        ("Answer: 6 × 7 = 42", "42"),
        ("Answer: 42 (that is 6 times 7)", "42"),
        ("First 5, then 7.\nSo she has 12 apples.", "12"),
        ("Half of 10 is 5.\nTherefore 5 + 7 = 12.", "12"),
        ("Answer: 42", "42"),
        ("Answer: ٤٢", "42"),
        ("Answer: ४२", "42"),
        ("一共有12个苹果。", "12"),
        ("#### 18", "18"),
        ("I get 10 at first, but that is wrong.\nAnswer: 11", "11"),
        ("Answer: 12", "12.0"),
    ],
)
def test_a_number_is_recognised(reply: str, answer: str) -> None:
    assert right("number", reply, answer)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("", "0"),
        ("I cannot answer that.", "0"),
        ("I get 10 at first.\nAnswer: 11", "10"),
        ("Answer: 42 or 43", "42"),
        ("Answer: 42 or 43", "43"),
        ("Answer: between 3 and 5", "5"),
        ("Answer: 12 apples and 13 pears", "12"),
        ("Answer: -5", "5"),
        ("Answer: 5", "-5"),
        ("Answer: 3", "3.14"),
        ("Answer: 3.14159", "3.14"),
        ("Answer: 0.54", "0.5"),
        ("Answer: 123", "1234"),
        ("Answer: 12345", "1234"),
        ("Answer: H2O", "2"),
        ("Answer: none", "0"),
        ("12\n\n13", "12"),
        ("12\nThat is eight and four, which makes 12, or 13 with the first.", "13"),
        ("<think>It is 7. Answer: 7</think>", "7"),
        ("Answer: 1e99999999", "1"),
    ],
)
def test_other_replies_are_not_accepted_as_the_number(reply: str, answer: str) -> None:
    assert not right("number", reply, answer)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Answer: The **Tuesday**.", "tuesday"),
        ("Answer: «Суббота»", "суббота"),
        ('Answer: "harbour"', "Harbour"),
        ("答え:月曜日", "月曜日"),
        ("الإجابة: الثلاثاء.", "الثلاثاء"),
        ("उत्तर: बुधवार।", "बुधवार"),
        ("Answer: the hat", "hat"),
        ("Answer: True", "True"),
        ("Answer: <hat>", "hat"),
        ("The answer to this question is: Ben owns a parrot.", "parrot"),
        ("Answer: Goran is the third tallest.", "Goran"),
        ("Answer: Karim is a knave", "knave"),
        ("Tuesday.\n\nBecause 57 days are eight weeks and one day.", "Tuesday"),
        ("Answer: knave (because he lies)", "knave"),
    ],
)
def test_words_are_recognised(reply: str, answer: str) -> None:
    assert right("text", reply, answer)


def test_a_text_that_names_two_answers_is_wrong() -> None:
    assert not right("text", "Answer: Monday or Tuesday", "Tuesday")
    assert not right("text", "Answer: Monday (or Tuesday)", "Tuesday")
    assert not right("text", "", "Tuesday")


@pytest.mark.parametrize(
    "reply",
    [
        "Answer: It is not Goran",
        "Answer: Ada or Goran",
        "Answer: Ada and Goran",
        "Answer: Ada, Goran",
        "Answer: Ada is taller than Goran",
        "Answer: Goran is not the tallest",
        "Answer: It isn't Goran",
        "Answer: Goranson",
        "Everybody is as tall as Goran",
        "Answer: Ada, as everybody who reads this long story about the taller ones can see at once, is Goran",
    ],
)
def test_a_sentence_that_does_not_state_the_answer_is_wrong(reply: str) -> None:
    assert not right("text", reply, "Goran")


def test_any_of_several_answers_is_right() -> None:
    assert right("text", "Antwort: Sonnabend", "Samstag", "Sonnabend")


@pytest.mark.parametrize("reply", ["Answer: Ada, Ben and Cem", "Answer: [Ada, Ben, Cem]", "Answer: Ada > Ben > Cem"])
def test_a_list_is_recognised_with_any_separator(reply: str) -> None:
    assert right("list", reply, ("Ada", "Ben", "Cem"))


@pytest.mark.parametrize("reply", ["Answer: Ben, Ada, Cem", "Answer: Ada, Ben", "Answer: Ada, Ben, Cem, Dora", ""])
def test_a_list_in_another_order_or_length_is_wrong(reply: str) -> None:
    assert not right("list", reply, ("Ada", "Ben", "Cem"))


@pytest.mark.parametrize(
    ("reply", "printed"),
    [
        ("Answer: `[1,2]`", "[1, 2]"),
        ('Answer: ["a"]', "['a']"),
        ("Answer: [1,2] 5", "[1, 2] 5"),
        ("Answer: 45  6", "45 6"),
        ("Answer: ```[3]```", "[3]"),
        ("Answer:\n```python\n[3]\n```", "[3]"),
        ("It prints:\n```\n[3]\n```", "[3]"),
    ],
)
def test_program_output_is_compared_as_values(reply: str, printed: str) -> None:
    assert right("output", reply, printed)


@pytest.mark.parametrize(
    ("reply", "printed"),
    [
        ("Answer: True", "1"),
        ("Answer: (1, 2)", "[1, 2]"),
        ("Answer: Ab", "ab"),
        ("Answer: 456", "45 6"),
        ("Answer: [1, 2]", "[2, 1]"),
        ("Answer: " + "[" * 1000, "[1]"),
    ],
)
def test_other_program_output_is_wrong(reply: str, printed: str) -> None:
    assert not right("output", reply, printed)


@pytest.mark.parametrize("reply", ['{"a": 1, "b": [1.0]}', '```json\n{"b": [1], "a": 1}\n```', ' {"b":[1],"a":1}\n'])
def test_json_is_compared_by_value(reply: str) -> None:
    assert right("json", reply, {"a": 1, "b": [1]})


@pytest.mark.parametrize(
    "reply",
    [
        "",
        'Sure! {"a": 1, "b": [1]}',
        '{"a": true, "b": [1]}',
        '{"a": 1, "b": [1], "c": 0}',
        '{"a": "1", "b": [1]}',
        "{'a': 1, 'b': [1]}",
        '{"a": 1, "a": 1, "b": [1]}',
        '{"a": NaN, "b": [1]}',
        "[" * 100_000,
    ],
)
def test_a_reply_that_is_not_only_the_json_value_is_wrong(reply: str) -> None:
    assert not right("json", reply, {"a": 1, "b": [1]})


def test_a_whole_reply_is_compared_exactly_except_for_spaces_at_the_ends() -> None:
    assert right("whole", "<think>easy</think>\nRIVER \n", "RIVER")
    assert not right("whole", "RIVER.", "RIVER")
    assert not right("whole", "River", "RIVER")
    assert not right("whole", "Answer: RIVER", "RIVER")


def test_the_last_mark_counts_and_a_separate_line_takes_precedence() -> None:
    assert final_answer("Answer: 1\nNo, wait.\nAnswer: 2") == ("2", True)
    assert final_answer("Answer: 2\nI hope that the answer is clear.") == ("2", True)
    assert final_answer(r"Answer: 1, or rather \boxed{2}") == ("2", True)
    assert final_answer("It is 2") == ("It is 2", False)


def test_options_are_read_from_the_prompt() -> None:
    assert options_in("Which?\n\nA) one\nB) two\n") == {"A": "one", "B": "two"}
    assert options_in("Example:\nA. x\nB. y\n\nWhich?\nA. one\nB. two\nC. three") == dict(
        zip("ABC", ("one", "two", "three"), strict=True)
    )
    assert options_in("A) alone") == {}
    assert options_in("I sing.\nB) flat") == {}


@given(st.sampled_from(GRADERS), st.text(), st.text(min_size=1))
def test_no_reply_makes_a_grader_fail(grader: str, reply: str, answer: str) -> None:
    answers = [tuple(answer)] if grader == "list" else [answer]
    graded = grade(grader, reply, answers, OPTIONS)
    assert graded.score in (0.0, 1.0)


@given(st.sampled_from(GRADERS), st.sampled_from(["", " ", "\n\n", "**", "``", "<think>hm</think>", "Answer:", "$$"]))
def test_an_empty_reply_is_never_right(grader: str, reply: str) -> None:
    answers: list[Any] = [("a",)] if grader == "list" else ["A"]
    assert grade(grader, reply, answers, OPTIONS).score == 0.0


NUMBERS = st.integers(-(10**12), 10**12)
FRAMES = st.sampled_from(
    ["Answer: {}", "**Answer:** {}.", r"So \boxed{{{}}}", "The answer is **{}**.", "答案:{}", "{}"]
)


@given(NUMBERS, FRAMES, st.sampled_from(["{}", "{:,}"]))
def test_a_number_is_right_in_every_frame_and_grouping(number: int, frame: str, form: str) -> None:
    assert right("number", frame.format(form.format(number)), str(number))


@given(NUMBERS, NUMBERS, FRAMES)
def test_another_number_is_never_right(number: int, other: int, frame: str) -> None:
    assert right("number", frame.format(number), str(other)) is (number == other)


@given(st.decimals(-1000, 1000, allow_nan=False, places=4), FRAMES)
def test_decimals_are_exact(number: Any, frame: str) -> None:
    # 1.2345 has four decimals, so that its point cannot be one of thousands.
    assert right("number", frame.format(f"{number:.4f}"), f"{number:.4f}")


@given(st.sampled_from("ABCD"), st.sampled_from("ABCD"), FRAMES, st.booleans())
def test_only_the_letter_of_the_answer_is_right(letter: str, answer: str, frame: str, worded: bool) -> None:
    content = f"{letter}) {OPTIONS[letter]}" if worded else letter
    assert right("choice", frame.format(content), answer) is (letter == answer)


@given(NUMBERS, st.integers(0, 9))
def test_reasoning_is_ignored(number: int, digit: int) -> None:
    assert right("number", f"<think>\nAnswer: {number}\n</think>\nAnswer: {digit}", str(digit))


@pytest.mark.parametrize(
    ("key", "value"),
    [("1,234.5", "1234.5"), ("-3/4", "-0.75"), ("2e-3", "0.002"), (" +7 ", "7"), ("7.", "7"), (".5", "0.5")],
)
def test_an_answer_key_is_read_exactly(key: str, value: str) -> None:
    assert exact_number(key) == Fraction(value)


@pytest.mark.parametrize("key", ["", "seven", "1,23", "1/0", "1.2.3", "12 km", "9" * 100, "٤"])
def test_an_answer_key_that_is_not_a_number_is_rejected(key: str) -> None:
    assert exact_number(key) is None


def test_a_point_before_three_digits_is_a_decimal_point_or_a_separator() -> None:
    assert read_number("1.234") == {Fraction("1.234"), Fraction(1234)}
    assert read_number("0.234") == {Fraction("0.234")}


@pytest.mark.parametrize("signs", ["*", "`", "_", "~", "\n", "()"])
@pytest.mark.parametrize("grader", ["text", "number"])
def test_a_long_run_of_signs_is_graded_and_keeps_nobody_waiting(grader: str, signs: str) -> None:
    # It would take minutes if the run were read again from each of its signs, and no thread runs meanwhile.
    assert grade(grader, signs * (60_000 // len(signs)) + "x", ["7"]).score == 0
