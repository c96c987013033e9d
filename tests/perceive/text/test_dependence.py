from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.perceive.text.dependence import DEPENDENT, INDEPENDENT, dependence, fillers, joined, references
from router.perceive.text.dependence.words import word_tables

QUESTION = "How do I sort a list of dictionaries in Python?"


@pytest.mark.parametrize(
    "turn",
    [
        "why?",
        "and now in Python?",
        "Can you shorten that?",
        "what about the second one?",
        "no, that's wrong",
        "more",
        "Warum?",
        "Und jetzt auf Englisch?",
        "Et en anglais ?",
        "¿Puedes acortarlo?",
        "E se fosse vuoto?",
        "A teraz krócej",
        "А теперь короче",
        "Bunu tabloya çevir",
        "اشرح ذلك أكثر",
        "और छोटा करो",
        "为什么？",
        "用Python呢？",
        "もっと短くして",
        "더 짧게 해줘",
        "สั้นลงหน่อย",
        "Как насчёт второго?",
    ],
)
def test_a_follow_up_is_dependent(turn: str) -> None:
    assert dependence(turn, (QUESTION,)) >= DEPENDENT


@pytest.mark.parametrize(
    "turn",
    [
        "capital of France?",
        "what's 12% of 80?",
        "translate 'good night' to Polish",
        "who wrote Hamlet?",
        "Hauptstadt von Frankreich?",
        "Wer erfand das Telefon?",
        "Combien font 7 fois 8 ?",
        "¿Quién pintó el Guernica?",
        "Столица Японии?",
        "法国的首都是哪里？",
        "富士山の高さは？",
        "Write a sonnet about the sea in winter.",
        "Sort the following words: syndrome, therefrom, banana, ostrich, violin",
    ],
)
def test_an_ask_of_its_own_is_independent(turn: str) -> None:
    assert dependence(turn, (QUESTION,)) <= INDEPENDENT


def test_this_points_forward_where_the_turn_brings_the_text_it_is_about() -> None:
    alone = dependence("Summarise this in one sentence, please.")
    text = "The committee met on Tuesday, heard two reports on the harbour and chose Ines Duarte as its chair."
    with_text = dependence(f"Summarise this in one sentence, please:\n\n{text}")
    assert alone >= DEPENDENT > INDEPENDENT >= with_text


def test_content_words_that_occurred_before_count_less() -> None:
    turn = "Which dictionary sorts first?"
    assert dependence(turn, (QUESTION,)) > dependence(turn, ("Write a sonnet about the sea.",))


def test_a_word_counts_as_in_the_language_of_the_turn() -> None:
    kinds = word_tables().kinds
    assert kinds(["when", "did", "mozart", "die"])[-1] == 0
    assert kinds(["wann", "ist", "die", "stunde"])[2] != 0


@given(st.text(), st.lists(st.text(), max_size=3))
@example("", [])
@example("", [""])
@example("？", ["。"])
@example("\ud83d", ["\udc4d"])
@example("'", ["'"])
@example("ﷺ" * 300, [])
@example("İ" * 300, [])
def test_the_dependence_of_any_text_is_in_the_unit_interval(turn: str, earlier: list[str]) -> None:
    found = dependence(turn, earlier)
    assert 0.0 < found < 1.0
    assert found == dependence(turn, earlier)


@given(st.text(min_size=1, max_size=60))
def test_only_the_beginning_of_a_turn_is_read(ending: str) -> None:
    start = "and why does the second example not work for them? " * 10
    assert dependence(start + ending) == dependence(start)


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_was_said_before_never_makes_a_turn_less_dependent(turn: str, before: str) -> None:
    assert dependence(turn, (before,)) >= dependence(turn)


def test_every_language_has_every_list() -> None:
    languages = references.OPENERS.keys()
    assert len(languages) >= 20
    assert references.POINTERS.keys() == references.EDITS.keys() == fillers.PARTS.keys() == languages
    assert fillers.FILLERS.keys() == languages
    assert joined.POINTERS.keys() == joined.EDITS.keys() == joined.PARTS.keys() == joined.FILLERS.keys()


@pytest.mark.parametrize("table", [references.OPENERS, references.POINTERS, references.EDITS, fillers.FILLERS])
def test_no_list_has_a_word_twice(table: dict[str, str]) -> None:
    for listed in table.values():
        words = listed.split()
        assert sorted(set(words)) == sorted(words)
        assert listed == listed.lower()
