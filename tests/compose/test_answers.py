"""Final answers are read from texts as models write them, and compared by their value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.compose.answers import Answer, asks_for_answer, read_answer

READ = {
    '{"b": 1.0, "a": [true, null]}': Answer("json", '{"a":[true,null],"b":1}'),
    '```json\n{"a": 1}\n```': Answer("json", '{"a":1}'),
    "So we get \\boxed{42}.": Answer("number", "42"),
    "First \\boxed{1}, no: \\boxed{\\text{Paris}}": Answer("text", "paris"),
    "Let me think.\nThe answer is (B).": Answer("option", "B"),
    "The answer is B": Answer("option", "B"),
    "**Answer:** C": Answer("option", "C"),
    "Final answer: 1,234.50 dollars": Answer("number", "1234.5"),
    "answer: x = 7": Answer("number", "7"),
    "B": Answer("option", "B"),
    "(D)": Answer("option", "D"),
    "B. a whale": Answer("option", "B"),
    "A dog": Answer("text", "dog"),
    "Yes, it is.": Answer("boolean", "yes"),
    "False": Answer("boolean", "no"),
    "The capital is Canberra.": Answer("text", "capital is canberra"),
    "Canberra": Answer("text", "canberra"),
    "3/4": Answer("number", "0.75"),
    "−5": Answer("number", "-5"),
    "12 %": Answer("number", "12%"),
    "We add the two numbers, then we divide by the count of all the items.\nThat gives 17.": Answer("number", "17"),
    "I compared all of the options with the text above and the best match by far is (C).": Answer("option", "C"),
    "Die Antwort lautet: 12": Answer("number", "12"),
    "答案是 B": Answer("option", "B"),
}


def same_answer(first: str, second: str) -> bool:
    answer = read_answer(first)
    return answer is not None and answer == read_answer(second)


@pytest.mark.parametrize("text", READ)
def test_the_final_answer_of_a_text_is_read(text: str) -> None:
    assert read_answer(text) == READ[text]


@pytest.mark.parametrize(
    "text",
    ["", "   ", "There are many ways to see this, and each of them has advantages that depend on what you want to do."],
)
def test_a_text_without_a_final_answer_has_none(text: str) -> None:
    assert read_answer(text) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The answer is 0.50.", "\\boxed{1/2}"),
        ("Paris", "paris."),
        ("The answer is (A).", "A"),
        ('{"x": 1, "y": 2}', '{"y": 2, "x": 1.0}'),
    ],
)
def test_the_same_answer_in_other_words_agrees(first: str, second: str) -> None:
    assert same_answer(first, second)


@pytest.mark.parametrize(("first", "second"), [("A", "B"), ("3", "4"), ("yes", "no"), ("", ""), ("5", "5%")])
def test_different_answers_do_not_agree(first: str, second: str) -> None:
    assert not same_answer(first, second)


@given(st.text(max_size=400))
def test_any_text_can_be_read(text: str) -> None:
    read_answer(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_a_json_document_agrees_with_itself_however_it_is_written(document: object) -> None:
    document = {"answer": document}
    assert same_answer(json.dumps(document), json.dumps(document, indent=2))


@given(st.integers(-(10**12), 10**12))
def test_a_number_agrees_with_itself_with_separators(number: int) -> None:
    assert same_answer(f"The answer is {number}", f"{number:,}")


@pytest.mark.parametrize(
    "prompt",
    [
        "What is the capital of Australia?\nA. Sydney\nB. Canberra\nC. Perth",
        "Which of the following is a prime?\n(A) 4\n(B) 7",
        "How many legs do three spiders have?",
        "Is this sentence grammatical? Answer yes or no: He go home.",
        "Solve x² = 4 and put the result in \\boxed{}.",
        "Wie viele Tage hat ein Schaltjahr?",
    ],
)
def test_a_prompt_asks_for_an_answer_that_can_be_compared(prompt: str) -> None:
    assert asks_for_answer(prompt)


@pytest.mark.parametrize(
    "prompt",
    ["", "Write a poem about autumn.", "Explain how TCP works.", "A. Write a plan for the week.", "Refactor this."],
)
def test_a_prompt_asks_for_no_answer_that_can_be_compared(prompt: str) -> None:
    assert not asks_for_answer(prompt)


@pytest.mark.parametrize(
    "text",
    [
        "How to make the soup for a whole family:\n1. Chop the onions.\n2. Boil them.\n3. Serve warm with bread.",
        "Rome grew for centuries, was divided, and its western half ended, most historians agree, in 476 AD.",
        "A move takes a while, so begin early, and tell all:\n1. Pack what you need.\n2. Label the boxes.\n3. Go.",
    ],
)
def test_a_number_within_prose_is_no_final_answer(text: str) -> None:
    assert read_answer(text) is None
