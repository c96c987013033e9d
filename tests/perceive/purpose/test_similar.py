"""Cards for nearly the same prompts, and the cards for a prompt."""

from __future__ import annotations

import msgspec

from router.loading import load_predictor
from router.perceive.purpose.density import TaskMean
from router.perceive.purpose.similar import CardViews
from router.settings import shipped_artifact_folder
from tests.perceive.purpose.tasks import adapter, adapters, prompts

SPACE = load_predictor(shipped_artifact_folder()).purpose_space


def test_a_copy_of_a_card_is_found() -> None:
    copy = msgspec.structs.replace(adapter("sql"), id="sql-v2", model="sql-v2")
    (pair,) = CardViews(SPACE, [*adapters(), copy]).pairs()
    assert (pair.one, pair.other, pair.cosine) == ("sql", "sql-v2", 1.0)


def test_cards_of_other_tasks_are_not_alike() -> None:
    assert CardViews(SPACE, adapters()).pairs() == ()


def test_cards_without_examples_are_not_compared() -> None:
    bare = [adapter("sql", shown=0), adapter("regex", shown=0)]
    assert CardViews(SPACE, bare).pairs(0.0) == ()


def test_a_profile_is_compared_with_examples() -> None:
    mean = TaskMean(SPACE.points_of([(text,) for text in prompts("sql")[:5]]).mean(axis=0), 5)
    other = msgspec.structs.replace(adapter("sql", shown=0), id="other", model="other")
    (pair,) = CardViews(SPACE, [adapter("sql"), other], {"other": mean}).pairs()
    assert {pair.one, pair.other} == {"sql", "other"}


def test_the_card_of_a_prompt_is_first_by_its_examples() -> None:
    views = CardViews(SPACE, adapters())
    for task in ("sql", "haiku", "recipe"):
        assert views.shortlist(prompts(task)[9])[0].card == task


def test_a_card_without_examples_is_found_by_its_name_and_its_description() -> None:
    named = msgspec.structs.replace(adapter("icd-code", shown=0), good_for=("ICD-10 codes of a diagnosis",))
    others = [adapter("haiku", shown=0), adapter("german", shown=0)]
    found = CardViews(SPACE, [named, *others]).shortlist("Which ICD-10 code has this diagnosis?")
    assert found[0].card == "icd-code"
    assert {"name", "description"} <= set(found[0].views)
    assert found[0].examples is None


def test_a_shortlist_has_at_most_as_many_cards_as_asked_for() -> None:
    assert len(CardViews(SPACE, adapters()).shortlist("an SQL query", most=3)) == 3
