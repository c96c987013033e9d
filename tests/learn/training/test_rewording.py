from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.learn.training.rewording import WORDINGS, reworded, with_other_names, without_options, wordy

QUESTION = "Which planet is the largest?"
OPTIONS = "\n(A) Mars\n(B) Jupiter\n(C) Venus\n(D) Saturn"


@pytest.mark.parametrize(
    "text",
    [
        QUESTION + OPTIONS,
        QUESTION + OPTIONS.replace("(", ""),
        QUESTION + "\nA. Mars\nB. Jupiter\nC. Venus",
    ],
)
def test_answer_options_are_left_out(text: str) -> None:
    assert without_options(text) == QUESTION


@pytest.mark.parametrize("text", [QUESTION, QUESTION + "\nA. Mars\nB. Jupiter", "1. a\n2. b\n3. c", ""])
def test_a_text_without_options_has_no_stem(text: str) -> None:
    assert without_options(text) is None


def test_a_name_is_replaced_by_the_same_name_wherever_it_stands() -> None:
    other = with_other_names("When did Marie leave Paris, and did Marie return?", 0)
    assert other is not None
    assert "Marie" not in other
    assert "Paris" not in other
    assert len(set(other.replace("?", "").replace(",", "").split())) == 7


@pytest.mark.parametrize("text", ["What is the time?", "When is it? Tomorrow?", "SQL or JSON"])
def test_a_text_without_names_in_its_sentences_is_left_alone(text: str) -> None:
    assert with_other_names(text, 0) is None


@given(st.text(min_size=1).map(str.strip).filter(bool), st.integers(0, 10**6), st.sampled_from(["en", "de", "es"]))
def test_a_wordy_text_has_the_whole_text(text: str, number: int, language: str) -> None:
    other = wordy(text, number, language)
    assert other is not None
    assert text in other


def test_a_language_without_phrases_has_no_wordy_text() -> None:
    assert wordy("Hvad er klokken?", 0, "da") is None


def test_only_the_newest_turn_is_worded_another_way() -> None:
    prompts = [("What is a moon?", f"And of Mars, number {number}?") for number in range(30)]
    found = reworded(prompts, ["en"] * 30)
    assert found
    assert all(other.turns[0] == "What is a moon?" for other in found)
    assert all(other.turns[1] != prompts[other.row][1] for other in found)


def test_wordings_are_the_same_in_every_run_and_no_more_than_asked_for() -> None:
    prompts = [(f"What is {number} plus one?",) for number in range(300)]
    found = reworded(prompts, ["en"] * 300, WORDINGS, most=50)
    assert found == reworded(prompts, ["en"] * 300, WORDINGS, most=50)
    assert len({other.row for other in found}) == 50
    assert max(other.row for other in found) > 270
